"""Rewriting a program's text: only imports and dotted names change, and comments and layout stay.

Two passes over the syntax tree. The first one notes what each import binds, and which of its parts stay, move, or have
no counterpart. The second looks at every dotted name that begins at such an import (``dp.iter.Batcher``), and at which
modules it needs. Then the text is edited at the places that the tree tells, from its end to its beginning.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from penstock.cli.names import Missing, Module, Name, resolve

__all__ = ["Problem", "rewritten"]

Import: TypeAlias = ast.Import | ast.ImportFrom
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_WIDTH = 88  # an import that was rebuilt is wrapped beyond it
_NAMED_IN_A_STRING = re.compile(
    r"((torchdata|torch\.utils\.data)\.(datapipes|dataloader2)"
    r"|squirrel\.(catalog|driver|framework|fsspec|iterstream|serialization|store))(\.\w+)*"
)


@dataclass(frozen=True)
class Problem:
    """Something that is left to be done by hand."""

    line: int
    text: str


@dataclass
class _Bound:
    """A name that an import binds."""

    node: Import
    origin: tuple[str, ...]
    home: str | None  # the module of penstock's that the name stands for afterwards; None if it stands for no module
    again: bool = False  # whether the scope also binds it to something else


@dataclass
class _Work:
    """What the passes have found."""

    problems: list[Problem] = field(default_factory=list)
    edits: list[tuple[int, int, str]] = field(default_factory=list)  # from, to (in bytes), new text
    needed: dict[Import, dict[str, None]] = field(default_factory=dict)  # modules to import behind an import
    kept: set[tuple[Import, str]] = field(default_factory=set)  # what a program still uses of an import


def rewritten(source: str) -> tuple[str, list[Problem]]:
    """Return a program with penstock's imports, and what is left to be done. SyntaxError where it is no program."""
    tree = ast.parse(source)
    text = source.encode()
    places = _Places(text)
    work = _Work()
    _visit(tree, [_bindings(tree, work)], work, places)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAMED_IN_A_STRING.fullmatch(node.value):
            work.problems.append(Problem(node.lineno, f"a string names {node.value}: change it by hand"))
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            _edit_import(node, work, places)
    for start, end, new in sorted(work.edits, reverse=True):
        text = text[:start] + new.encode() + text[end:]
    return text.decode(), sorted(set(work.problems), key=lambda problem: problem.line)


class _Places:
    """Where a node stands in the text: the tree counts lines, and bytes within a line."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self._starts = [0]
        for line in text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def span(self, first: ast.AST, last: ast.AST | None = None) -> tuple[int, int]:
        begin, end = first, last or first
        start = self._starts[begin.lineno - 1] + begin.col_offset  # type: ignore[attr-defined]  # statements have them
        stop = self._starts[end.end_lineno - 1] + end.end_col_offset  # type: ignore[attr-defined]  # and expressions
        return start, stop

    def around(self, start: int, end: int) -> tuple[str, str]:
        """Return what stands on the same lines, in front and behind."""
        front = self.text[max(self.text.rfind(b"\n", 0, start), self.text.rfind(b"\r", 0, start)) + 1 : start]
        behind = re.split(rb"[\r\n]", self.text[end:], maxsplit=1)[0]
        return front.decode(), behind.decode()

    @property
    def newline(self) -> str:
        return "\r\n" if b"\r\n" in self.text else "\n"


# ------------------------------------------------------------------------------------------------- what imports bind


def _bindings(scope: ast.AST, work: _Work) -> dict[str, _Bound | None]:
    """Return the names that a module or function binds: those of its imports, and (None) those of its own."""
    found: dict[str, _Bound | None] = {}
    if isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        arguments = scope.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        found.update((argument.arg, None) for argument in every if argument is not None)
    own: set[str] = set()
    for node in _within(scope):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for name, bound in _bound_by(node, work):
                found[name] = bound
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            own.difference_update(node.names)
    for name in own:
        first = found.setdefault(name, None)
        if first is not None:
            first.again = True
    return found


def _within(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a scope, without those of the functions in it."""
    stack = list(ast.iter_child_nodes(scope))
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            stack.extend(ast.iter_child_nodes(node))


def _bound_by(node: Import, work: _Work) -> Iterator[tuple[str, _Bound]]:
    for alias in node.names:
        origin = _origin(node, alias)
        target = resolve(origin)
        if isinstance(target, Missing) and alias.name != "*":
            work.problems.append(Problem(node.lineno, target.reason))
        elif target is None or isinstance(target, Module):
            home = target.path if target is not None else None
            if isinstance(node, ast.Import) and alias.asname is None:
                yield origin[0], _Bound(node, origin[:1], None)
            else:
                yield alias.asname or alias.name, _Bound(node, origin, home)


def _origin(node: Import, alias: ast.alias) -> tuple[str, ...]:
    if isinstance(node, ast.Import):
        return tuple(alias.name.split("."))
    if node.level or node.module is None:
        return ("",)  # a relative import is the program's own
    return (*node.module.split("."), *([] if alias.name == "*" else [alias.name]))


# -------------------------------------------------------------------------------------------------------- their uses


def _visit(node: ast.AST, scopes: list[dict[str, _Bound | None]], work: _Work, places: _Places) -> None:
    """Look at every dotted name below a node."""
    for child in ast.iter_child_nodes(node):
        chain = _chain(child)
        if chain is not None:
            _look(chain, scopes, work, places)
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            inner = [*scopes, _bindings(child, work)]
            for field_, value in ast.iter_fields(child):
                # Defaults, decorators and annotations belong to the scope around.
                where = inner if field_ == "body" else scopes
                parts = value if isinstance(value, list) else [value]
                _visit(_Holder([part for part in parts if isinstance(part, ast.AST)]), where, work, places)
        else:
            _visit(child, scopes, work, places)


class _Holder(ast.AST):
    """A node around others, so that `_visit` looks at them themselves."""

    _fields = ("body",)

    def __init__(self, body: list[ast.AST]) -> None:
        self.body = body


def _chain(node: ast.AST) -> list[ast.expr] | None:
    """Return the nodes of ``a.b.c``: those of a, of a.b and of a.b.c. None for anything else."""
    nodes: list[ast.expr] = []
    while isinstance(node, ast.Attribute):
        nodes.append(node)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return [node, *reversed(nodes)]


def _look(chain: list[ast.expr], scopes: list[dict[str, _Bound | None]], work: _Work, places: _Places) -> None:
    root = chain[0]
    assert isinstance(root, ast.Name)
    bound = next((scope[root.id] for scope in reversed(scopes) if root.id in scope), None)
    if bound is None:
        return
    attributes = tuple(node.attr for node in chain[1:] if isinstance(node, ast.Attribute))
    target = resolve((*bound.origin, *attributes))
    if target is None:
        work.kept.add((bound.node, root.id))
    elif isinstance(target, Missing):
        if not bound.again:  # else it may be an attribute of what the name was bound to then
            work.kept.add((bound.node, root.id))
            work.problems.append(Problem(root.lineno, target.reason))
    else:
        module = target.module if isinstance(target, Name) else target.path
        tail = len(target.tail) if isinstance(target, Name) else 0
        new = _reached(root.id, bound, module, work) + (f".{target.name}" if isinstance(target, Name) else "")
        last = chain[len(chain) - 1 - tail]
        start, end = places.span(root, last)
        old = re.sub(r"[\s\\]", "", places.text[start:end].decode(errors="replace"))
        if old != ".".join([root.id, *attributes[: len(attributes) - tail]]):
            # Until Python 3.12 the tree does not tell where something is inside an f-string.
            work.problems.append(Problem(root.lineno, f"{new} is what should stand here: change it by hand"))
        elif old != new:
            work.edits.append((start, end, new))


def _reached(local: str, bound: _Bound, module: str, work: _Work) -> str:
    """Return how a program can name a module: by the name that it has, or in full, with an import of it."""
    if bound.home is not None and f"{module}.".startswith(f"{bound.home}."):
        return local + module.removeprefix(bound.home)
    work.needed.setdefault(bound.node, {})[module] = None
    return module


# ------------------------------------------------------------------------------------------------ the imports' own text


def _edit_import(node: Import, work: _Work, places: _Places) -> None:
    lines = _new_from(node) if isinstance(node, ast.ImportFrom) else _new_import(node, work)
    needed = [f"import {module}" for module in work.needed.get(node, {})]
    if lines is None and not needed:
        return
    start, end = places.span(node)
    old = places.text[start:end].decode()
    front, behind = places.around(start, end)
    if isinstance(node, ast.ImportFrom) and lines is not None and len(lines) == 1 and not needed:
        module, names = lines[0]
        if (
            module
            and [alias.name for alias in node.names] == [name for name, _ in names]
            and all(alias.asname == asname for alias, (_, asname) in zip(node.names, names, strict=True))
        ):  # only the module's name changes: the layout and the comments stay
            work.edits.append((start, end, re.sub(r"^from(\s+)[\w.]+", rf"from\g<1>{module}", old, count=1)))
            return
    shared = bool(front.strip()) or behind.lstrip().startswith(";")
    indent = "" if shared else front
    made = [old] if lines is None else [_statement(*line, indent, places.newline, wrap=not shared) for line in lines]
    comments = [] if shared or lines is None else _comments(old)
    made += [line for line in needed if line not in made]
    work.edits.append((start, end, ("; " if shared else places.newline + indent).join([*comments, *made])))


Line: TypeAlias = tuple[str, list[tuple[str, str | None]]]  # from what ("" for a plain import), names and their aliases


def _new_from(node: ast.ImportFrom) -> list[Line] | None:
    """Return what a ``from`` import becomes; None where it stays as it is."""
    moved: dict[str, list[tuple[str, str | None]]] = {}
    stays: list[tuple[str, str | None]] = []
    for alias in node.names:
        target = resolve(_origin(node, alias))
        if isinstance(target, Name) and not target.tail:
            kept = alias.asname or (alias.name if target.name != alias.name else None)
            moved.setdefault(target.module, []).append((target.name, kept))
        elif isinstance(target, Module) and alias.name == "*":
            moved.setdefault(target.path, []).append(("*", None))
        elif isinstance(target, Module):
            package, _, last = target.path.rpartition(".")
            kept = alias.asname or (alias.name if last != alias.name else None)
            if package:
                moved.setdefault(package, []).append((last, kept))
            else:
                moved.setdefault("", []).append((last, kept))
        else:
            stays.append((alias.name, alias.asname))
    if not moved:
        return None
    return [*([(node.module or "", stays)] if stays else []), *sorted(moved.items())]


def _new_import(node: ast.Import, work: _Work) -> list[Line] | None:
    """Return what a plain import becomes; None where it stays as it is."""
    lines: list[Line] = []
    changed = False
    needed = work.needed.get(node, {})
    for alias in node.names:
        origin = _origin(node, alias)
        target = resolve(origin)
        if isinstance(target, Module) and alias.asname is not None:
            lines.append(("", [(target.path, alias.asname)]))
            changed = True
        elif isinstance(target, Module):
            changed = True
            if (node, origin[0]) in work.kept:  # `import torch.utils.data.graph` also binds torch
                lines.append(("", [("torch.utils.data" if origin[0] == "torch" else alias.name, None)]))
            if not needed:
                lines.append(("", [(target.path, None)]))
        elif (
            origin in (("squirrel",), ("torchdata",)) and needed and (node, alias.asname or alias.name) not in work.kept
        ):
            changed = True  # all that was used of it has moved
        else:
            lines.append(("", [(alias.name, alias.asname)]))
    return lines if changed else None


def _statement(module: str, names: list[tuple[str, str | None]], indent: str, newline: str, *, wrap: bool) -> str:
    words = [name if asname is None else f"{name} as {asname}" for name, asname in names]
    if not module:
        return f"import {', '.join(words)}"
    line = f"from {module} import {', '.join(words)}"
    if not wrap or len(indent + line) <= _WIDTH:
        return line
    inside = "".join(f"{indent}    {word},{newline}" for word in words)
    return f"from {module} import ({newline}{inside}{indent})"


def _comments(statement: str) -> list[str]:
    """Return the comments inside a statement: the statements that take its place stand below them."""
    tokens = tokenize.generate_tokens(io.StringIO(statement).readline)
    return [token.string for token in tokens if token.type == tokenize.COMMENT]
