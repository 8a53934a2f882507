"""Write `penstock/core/_fluent.py`: the functional API as real, typed methods, made from the pipes' own signatures.

    python -m tools.gen_fluent            write the file
    python -m tools.gen_fluent --check    fail if it is not what would be written

A pipe's ``__init__`` gives the method its parameters (the first one, the source, becomes ``self``), the class's base
gives it the return type (an overload may annotate ``self`` with another one), and the class's docstring gives it the
first paragraph of its own. What a pipe calls ``T``, the type of its source's items, is the type variable of the
method's class.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

TARGET = Path(__file__).parent.parent / "penstock" / "core" / "_fluent.py"
HEADER = '''"""The functional API: every built-in pipe as a method.

Made by ``make fluent`` (tools/gen_fluent.py); do not edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from penstock.core.chunk import DataChunk
from penstock.core.metrics import MetricsConf

if TYPE_CHECKING:
    from collections import defaultdict
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

    import numpy as np

    from penstock.core.pipe import IterDataPipe, MapDataPipe
    from penstock.pipes._agreement import Policy
    from penstock.pipes._columns import Columns
    from penstock.pipes._condition import Condition
    from penstock.pipes.handle import StreamWrapper
    from penstock.pipes.sharding import SHARDING_PRIORITIES
    from penstock.serialization.columns import Conversion

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")
'''


def main() -> int:
    """Write or check the file."""
    text = generated()
    if "--check" in sys.argv[1:]:
        if TARGET.read_text() != text:
            print(f"{TARGET} is stale: run `make fluent`", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(text)
    return 0


def generated() -> str:
    """Return the text of the file."""
    core = importlib.import_module("penstock.core.pipe")
    importlib.import_module("penstock.pipes")
    parts = [HEADER]
    for family, fluent in ((core.IterDataPipe, "IterFluent"), (core.MapDataPipe, "MapFluent")):
        parts.append(f'\n\nclass {fluent}(Generic[T_co]):\n    """The functional API of {family.__name__}s."""\n\n')
        make = "def _make(self, function: str, name: str | None, *args: Any, **kwargs: Any) -> Any: ..."
        parts.append(f"    if TYPE_CHECKING:\n\n        {make}\n")
        for name, cls in sorted(family.functions.items()):
            if cls.__module__.startswith("penstock."):
                parts.append("\n" + textwrap.indent("\n".join(methods(name, cls)), "    ") + "\n")
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    return subprocess.run(command, input="".join(parts), capture_output=True, text=True, check=True).stdout


def methods(name: str, cls: type) -> Iterator[str]:
    """Yield the source of a method, overloads first."""
    inits, returned = constructors(cls)
    for init in inits[:-1]:
        yield f"@overload\n{signature(name, init, returned)}: ..."
    yield f"{signature(name, inits[-1], returned)}:"
    doc = inspect.getdoc(cls) or ""
    yield textwrap.indent(
        f'"""{doc.partition(chr(10) + chr(10))[0]}\n\nSee `{cls.__module__}.{cls.__qualname__}`.\n"""', "    "
    )
    made = "".join(renamed(returned))
    yield f"    made: {made} = self._make({', '.join([repr(name), 'name', *forwarded(inits[-1].args)])})"
    yield "    return made"


def constructors(cls: type) -> tuple[list[ast.FunctionDef], str]:
    """Return the signatures that make the class, and what they make: a list of pipes where ``__new__`` says so."""
    functions = [node for node in parsed(cls).body if isinstance(node, ast.FunctionDef)]
    if news := [node for node in functions if node.name == "__new__"]:
        assert news[-1].returns is not None
        return news, ast.unparse(news[-1].returns)
    return [node for node in functions if node.name == "__init__"], family_of(cls)


def parsed(cls: type) -> ast.ClassDef:
    """Return the source of a class."""
    source = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(source, ast.ClassDef)
    return source


def family_of(cls: type) -> str:
    """Return what a class is in the end, past bases of ours: ``IterDataPipe[...]`` or ``MapDataPipe[...]``."""
    for base in map(ast.unparse, parsed(cls).bases):
        if base.startswith(("IterDataPipe[", "MapDataPipe[")):
            return base
    return next(family_of(base) for base in cls.__bases__ if hasattr(base, "functions"))


def signature(name: str, init: ast.FunctionDef, returned: str) -> str:
    """Return ``def name(self, ...) -> ...``."""
    arguments = init.args
    arguments = ast.arguments(
        posonlyargs=[],
        args=[ast.arg("self"), *(arguments.args[2:] if not arguments.vararg else [])],
        vararg=arguments.vararg,
        kwonlyargs=[*arguments.kwonlyargs, ast.arg("name", ast.parse("str | None", mode="eval").body)],
        kw_defaults=[*arguments.kw_defaults, ast.Constant(None)],
        kwarg=arguments.kwarg,
        defaults=arguments.defaults[-len(arguments.args[2:]) :] if len(arguments.args) > 2 else [],
    )
    itself = init.args.args[0].annotation  # ``self: Mapper[Any]`` in an overload whose result has another type
    if init.name == "__new__" and init.returns is not None:
        returned = ast.unparse(init.returns)
    elif isinstance(itself, ast.Subscript):
        family = returned.partition("[")[0]
        returned = f"{family}[{ast.unparse(itself.slice)}]"
    text = f"def {name}({ast.unparse(arguments)}) -> {returned}"
    return "".join(renamed(text))


def renamed(text: str) -> Iterator[str]:
    """Replace the name ``T`` by ``T_co``."""
    for i, char in enumerate(text):
        alone = char == "T" and not (text[i - 1].isidentifier() or text[i + 1].isidentifier() or text[i + 1] == "_")
        yield "T_co" if alone else char


def forwarded(arguments: ast.arguments) -> list[str]:
    """Return the arguments with which a method calls the class."""
    given = [] if arguments.vararg else [arg.arg for arg in arguments.args[2:]]
    if arguments.vararg:
        given.append(f"*{arguments.vararg.arg}")
    given += [f"{arg.arg}={arg.arg}" for arg in arguments.kwonlyargs]
    return given + ([f"**{arguments.kwarg.arg}"] if arguments.kwarg else [])


if __name__ == "__main__":
    sys.exit(main())
