"""to_graph: the graph as a drawing of graphviz. `text` and `mermaid` need nothing to be installed."""

from __future__ import annotations

from typing import Any

from penstock.core.errors import MissingExtra
from penstock.core.pipe import Pipe
from penstock.core.sharing import Child
from penstock.core.walk import describe, names, walk

__all__ = ["to_graph"]


class _MissingGraphviz(MissingExtra, ModuleNotFoundError):
    """Also a ModuleNotFoundError, which torchdata raises here."""


def to_graph(dp: Pipe, *, debug: bool = False) -> Any:
    """Return the graph that ends in a pipe as a ``graphviz.Digraph``, sources at the top.

    Args:
        dp: the last pipe.
        debug: show the pipes of a fork, a demux and an unzip one by one, too. Else each is drawn as the one pipe that
            they read from.

    Raises:
        MissingExtra: graphviz is not installed (also a ModuleNotFoundError).
    """
    try:
        import graphviz
    except ImportError:
        raise _MissingGraphviz("to_graph needs graphviz: pip install 'penstock[graph]'") from None
    drawing = graphviz.Digraph(node_attr={"fontsize": "10"})
    named = names(dp)
    drawn: dict[int, str] = {}  # what stands for a pipe: itself, or what a hidden one reads from
    for pipe in walk(dp):
        sources = [drawn[id(source)] for source in pipe.sources]
        # The last pipe is always drawn: it may be one of a fork's.
        if isinstance(pipe, Child) and not debug and pipe is not dp:
            drawn[id(pipe)] = sources[0]
            continue
        node = drawn[id(pipe)] = f"p{len(drawn)}"
        inside = describe(pipe).split(" at ")[0].partition("(")[2].removesuffix(")")
        label = named[id(pipe)]
        shape = "hexagon" if pipe.is_sharding_point else "box"
        drawing.node(node, label=f"{label}\n{inside}" if inside else label, shape=shape)
        for source in dict.fromkeys(sources):
            drawing.edge(source, node)
    return drawing
