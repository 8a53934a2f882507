"""The graph as text and as a Mermaid drawing."""

from __future__ import annotations

from penstock.core.pipe import Pipe
from penstock.core.walk import describe, names, walk

__all__ = ["mermaid", "mimebundle", "text"]


def text(root: Pipe) -> str:
    """Return the graph as lines, sources first.

    A line names the pipes that it reads from where that is not the one above.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> print(text(IterableWrapper(["a", "bc"]).map(len).batch(2)))
        IterableWrapper  IterableWrapper() at ...
        map              map(len) at ...
        batch            batch() at ...
    """
    named = names(root)
    pipes = walk(root)
    width = max(len(named[id(pipe)]) for pipe in pipes)
    lines = []
    above: Pipe | None = None
    for pipe in pipes:
        sources = pipe.sources
        extra = ""
        if sources and (len(sources) > 1 or sources[0] is not above):
            extra = "  <- " + ", ".join(named[id(source)] for source in sources)
        lines.append(f"{named[id(pipe)]:{width}}  {describe(pipe)}{extra}")
        above = pipe
    return "\n".join(lines)


def mermaid(root: Pipe) -> str:
    """Return the graph as a Mermaid flowchart.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> print(mermaid(IterableWrapper(["a", "bc"]).map(len)))
        flowchart TD
            p0["IterableWrapper"]
            p1["map<br/>len"]
            p0 --> p1
    """
    named = names(root)
    pipes = walk(root)
    number = {id(pipe): i for i, pipe in enumerate(pipes)}
    lines = ["flowchart TD"]
    for pipe in pipes:
        inside = describe(pipe).split(" at ")[0].partition("(")[2].removesuffix(")")
        label = named[id(pipe)] + (f"<br/>{_escaped(inside)}" if inside else "")
        shape = f'{{{{"{label}"}}}}' if pipe.is_sharding_point else f'["{label}"]'
        lines.append(f"    p{number[id(pipe)]}{shape}")
    lines += [f"    p{number[id(source)]} --> p{number[id(pipe)]}" for pipe in pipes for source in pipe.sources]
    return "\n".join(lines)


def mimebundle(root: Pipe) -> dict[str, str]:
    """Return what a notebook shows: Mermaid where it can draw that, else text."""
    return {
        "text/plain": text(root),
        "text/vnd.mermaid": mermaid(root),
        "text/html": f"<pre>{_escaped(text(root))}</pre>",
    }


def _escaped(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
