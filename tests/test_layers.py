"""The layers of the package: what may import what at run time, and when; and that no file grows too big.

The table is the one in CONTRIBUTING.md. An import counts wherever it stands, also inside a function; one under
`if TYPE_CHECKING:` does not, because types may be named anywhere.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# layer: what of penstock it may import (a layer, or one module of it), besides itself.
MAY_IMPORT = {
    "core": (),
    "files": ("core.errors",),
    "serialization": ("core.errors", "files"),
    "stores": ("core.errors", "files", "serialization"),
    "pipes": ("core", "files", "serialization"),
    "graph": ("core",),
    "transport": ("core.errors", "core.leaving"),
    "state": ("core", "graph"),
    "reading_service": ("core", "pipes", "graph", "transport", "state"),
    "loader2": ("core", "graph", "state", "reading_service"),
    "monitor": ("core", "graph", "pipes"),
    "iterstream": ("core", "pipes", "monitor"),
    "drivers": ("core", "files", "pipes", "iterstream", "stores", "serialization"),
    "catalog": ("core", "files", "iterstream", "drivers"),
    "lance": ("core", "pipes", "serialization", "transport.codec"),
}
# May import all of the above, and the facade; nothing imports them.
LEAVES = ("integrations", "cli", "testing", "__main__")
# `penstock/__init__.py`: gathers what is public, from any layer but the leaves.
FACADE = ""

# Heavy dependencies and extras are imported by the function that needs them, never with the module.
ONLY_IN_FUNCTIONS = {
    *("torch", "pyarrow", "zarr", "fsspec"),
    *(
        "PIL",
        "dask",
        "datasets",
        "distributed",
        "google_crc32c",
        "graphviz",
        "lance",
        "mlflow",
        "numba",
        "openpyxl",
        "orjson",
        "pyspark",
    ),
    *("rarfile", "requests", "tensorboard", "urllib3", "wandb", "yaml", "zlib_ng", "zstandard"),
}
LIGHT = {"numpy", "msgpack", "cloudpickle", "tqdm"}
# The core knows numpy only; these of its files meet torch's and Arrow's objects, where those are loaded.
CORE_MAY_MEET = {"core.leaving", "core.pipe", "core.seeds"}

MAX_LINES = 400
GENERATED = "core._fluent"


@dataclass(frozen=True)
class Import:
    target: str  # dotted and absolute: "penstock.core.errors", "torch.utils.data"
    line: int
    in_function: bool


def faults(module: str, source: str) -> list[str]:
    """What the table forbids in one module (named below penstock: "core.pipe"; "" is the facade)."""
    layer = "cli" if module == "__main__" else module.partition(".")[0]
    if layer not in MAY_IMPORT and layer not in LEAVES and layer != FACADE:
        return [f"{module}: {layer!r} is no layer of the table"]
    found = []
    for imported in imports(module, source):
        package, _, below = imported.target.partition(".")
        if package == "penstock":
            fault = _inside_fault(layer, below)
        elif package in sys.stdlib_module_names:
            fault = ""
        else:
            fault = _third_party_fault(module, layer, package, imported.in_function)
        if fault:
            found.append(f"{module}:{imported.line}: {fault}")
    return found


def _inside_fault(layer: str, target: str) -> str:
    to = target.partition(".")[0]
    if to == layer and layer != FACADE:
        return ""
    if to in LEAVES and layer != "__main__":  # `python -m penstock` is the command
        return f"imports {target}, and nothing may import a leaf"
    if layer in LEAVES:
        return ""
    if to == FACADE:
        return "imports the facade; name the module instead" if layer != FACADE else ""
    if layer == FACADE:
        return "" if to in MAY_IMPORT else f"imports {target}, which is no layer of the table"
    allowed = MAY_IMPORT[layer]
    if any(target == name or target.startswith(f"{name}.") for name in allowed):
        return ""
    return f"imports {target}; {layer} may import {', '.join(allowed) or 'no other layer'}"


def _third_party_fault(module: str, layer: str, package: str, in_function: bool) -> str:
    if package in ONLY_IN_FUNCTIONS:
        if not in_function:
            return f"imports {package} with the module; import it in the function that needs it"
        if layer == "core" and module not in CORE_MAY_MEET:
            return f"imports {package}, and core knows numpy only (but for {', '.join(sorted(CORE_MAY_MEET))})"
    elif package not in LIGHT and layer not in LEAVES:
        return f"imports {package}, which is no dependency"
    elif layer == "core" and package != "numpy":
        return f"imports {package}, and core knows numpy only"
    return ""


def imports(module: str, source: str) -> Iterator[Import]:
    """Every import in a module that can happen at run time. Modules end in their name, packages in `.__init__`."""
    package = module.split(".")[:-1]
    yield from _imports(ast.parse(source).body, ["penstock", *package], in_function=False)


def _imports(nodes: list[ast.stmt] | list[ast.AST], package: list[str], in_function: bool) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, in_function)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                # `from penstock import graph` names a layer; what `from penstock.graph import` names may be a module.
                target = f"{start}.{alias.name}" if _is_module(start, alias.name) else start
                yield Import(target, node.lineno, in_function)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            yield from _imports(node.orelse, package, in_function)
        else:
            if isinstance(node, ast.Call) and (name := _imported_by_call(node)):
                yield Import(name, node.lineno, in_function)
            inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _imports(list(ast.iter_child_nodes(node)), package, in_function or inside)


def _is_module(package: str, name: str) -> bool:
    if package == "penstock":
        return name in MAY_IMPORT or name in LEAVES
    path = ROOT.joinpath(*package.split("."), name)
    return path.is_dir() or path.with_suffix(".py").is_file()


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _imported_by_call(node: ast.Call) -> str:
    """The module in `import_module("penstock.graph")` and `__import__("torch")`; "" for any other call."""
    function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if function in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
        return str(node.args[0].value)
    return ""


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / "penstock").rglob("*.py")):
        parts = path.relative_to(ROOT / "penstock").with_suffix("").parts
        found["" if parts == ("__init__",) else ".".join(parts)] = path
    return found


def test_every_import_is_one_that_the_table_allows() -> None:
    found = [fault for module, path in modules().items() for fault in faults(module, path.read_text())]
    assert not found, "\n".join(found)


def test_no_file_is_too_long() -> None:
    lengths = {module: len(path.read_text().splitlines()) for module, path in modules().items() if module != GENERATED}
    too_long = {module: lines for module, lines in lengths.items() if lines > MAX_LINES}
    assert not too_long, f"over {MAX_LINES} lines; find the second idea in: {too_long}"


def test_the_table_has_no_cycle() -> None:
    seen: set[str] = set()
    for layer, allowed in MAY_IMPORT.items():
        later = {name.partition(".")[0] for name in allowed} - seen
        assert not later, f"{layer} stands before {later}, which it may import"
        seen.add(layer)


def test_import_penstock_loads_nothing_heavy() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, penstock, penstock.pipes, penstock.pipes.map; print(*sys.modules)"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout.split()  # fmt: skip
    assert "penstock" in loaded
    assert not ONLY_IN_FUNCTIONS.intersection(loaded)
    assert not {"numpy", "asyncio", "email"}.intersection(loaded), "these take half of the time that it may take"


# The checker itself: each line of a source that it must refuse, and its neighbours that it must not.

FORBIDDEN = {
    "another layer": ("pipes.mapper", "from penstock.graph import walk"),
    "a layer above": ("core.pipe", "import penstock.pipes"),
    "a layer named from the package": ("pipes.mapper", "from penstock import loader2"),
    "the facade": ("pipes.mapper", "from penstock import DataLoader2"),
    "the facade, whole": ("pipes.mapper", "import penstock"),
    "inside a function": ("core.pipe", "def f():\n    from penstock.graph import walk"),
    "inside a method": ("core.pipe", "class A:\n    def f(self):\n        import penstock.graph.walk"),
    "under any other if": ("core.pipe", "if True:\n    import penstock.graph"),
    "under the else of TYPE_CHECKING": ("core.pipe", "if TYPE_CHECKING:\n    pass\nelse:\n    import penstock.graph"),
    "in a try": ("core.pipe", "try:\n    import penstock.graph\nexcept ImportError:\n    pass"),
    "relative": ("pipes.mapper", "from ..graph import walk"),
    "relative, by name": ("pipes.mapper", "from .. import graph"),
    "relative, out of a package": ("pipes.map.__init__", "from ...graph import walk"),
    "by a call": ("core.pipe", "import importlib\nimportlib.import_module('penstock.graph')"),
    "more of a layer than the one module": ("transport.ring", "from penstock.core.pipe import Pipe"),
    "a name that begins alike": ("transport.ring", "import penstock.core.errors_of_others"),
    "a leaf": ("loader2.loader", "from penstock.testing import check"),
    "a leaf, from a leaf": ("cli.main", "from penstock.testing import check"),
    "a leaf, from the facade": ("", "from penstock import testing"),
    "no layer": ("helpers.misc", ""),
    "torch with the module": ("pipes.collator", "import torch"),
    "torch with a class": ("pipes.collator", "class A:\n    import torch.utils.data"),
    "an extra with an integration": ("integrations.spark", "from pyspark import RDD"),
    "an extra, guarded": ("pipes.jsonl", "try:\n    import orjson\nexcept ImportError:\n    orjson = None"),
    "torch anywhere else in core": ("core.stream", "def f():\n    import torch"),
    "a small dependency in core": ("core.stream", "import msgpack"),
    "what is no dependency": ("pipes.mapper", "def f():\n    import pandas"),
}

ALLOWED = {
    "its own layer": ("pipes.mapper", "from penstock.pipes.batcher import Batcher\nfrom .batcher import Batcher"),
    "a layer below": ("pipes.mapper", "from penstock.core.pipe import IterDataPipe\nfrom ..core import pipe"),
    "the one module": ("transport.ring", "from penstock.core.errors import TransportError"),
    "the one module, by name": ("transport.ring", "from penstock.core import errors"),
    "types": ("core.pipe", "if TYPE_CHECKING:\n    import torch\n    from penstock.pipes import Mapper"),
    "types, by the module's name": ("core.pipe", "import typing\nif typing.TYPE_CHECKING:\n    import penstock.pipes"),
    "the standard library": ("core.pipe", "import os.path, sys\nfrom collections import abc"),
    "numpy in core": ("core.stream", "import numpy as np"),
    "torch where core meets it": ("core.seeds", "def f():\n    import torch"),
    "torch where it is needed": ("pipes.collator", "def f():\n    from torch.utils import data"),
    "a small dependency": ("reading_service.processes", "import cloudpickle"),
    "all layers, by the facade": ("", "from penstock.loader2 import DataLoader2\nfrom .pipes import Mapper"),
    "all layers, by a leaf": ("testing.check", "import penstock\nfrom penstock.loader2 import DataLoader2"),
    "what is no dependency, by a leaf": ("testing.check", "import hypothesis"),
}


@pytest.mark.parametrize(("module", "source"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_the_checker_refuses(module: str, source: str) -> None:
    assert len(faults(module, source)) == 1


@pytest.mark.parametrize(("module", "source"), ALLOWED.values(), ids=ALLOWED)
def test_the_checker_allows(module: str, source: str) -> None:
    assert faults(module, source) == []
