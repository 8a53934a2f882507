"""ParagraphAggregator (``lines_to_paragraphs``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.core.tape import Tape
from penstock.pipes._columns import check_callable
from penstock.pipes._held import holding


@functional_datapipe("lines_to_paragraphs")
class ParagraphAggregator(IterDataPipe[tuple[str, Any]]):
    r"""Join ``(file, line)`` items into ``(file, paragraph)`` items (functional name: ``lines_to_paragraphs``).

    A paragraph ends at an empty line, and where another file begins.

    Args:
        source_datapipe: the source, of pairs.
        joiner: makes a paragraph of a list of lines, with newlines between them unless given.

    State: the source's place, and where the line is that belongs to the next paragraph.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> lines = [("a", "one"), ("a", "two"), ("a", ""), ("a", "three"), ("b", "four")]
        >>> list(IterableWrapper(lines).lines_to_paragraphs())
        [('a', 'one\ntwo'), ('a', 'three'), ('b', 'four')]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[tuple[str, Any]],
        joiner: Callable[[list[Any]], Any] = "\n".join,
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        check_callable(joiner)
        self.datapipe = source_datapipe
        self.joiner = joiner

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[str, Any]]:
        return holding(self, self.datapipe, _Paragraph(self.joiner), ctx, state)


class _Paragraph:
    """The paragraph that is being read."""

    def __init__(self, joiner: Callable[[list[Any]], Any]) -> None:
        self._joiner = joiner
        self._lines: dict[int, Any] = {}  # by number

    def run(self, found: dict[int, Any], tape: Tape[Any], own: list[Any]) -> Iterator[Any]:
        file: Any = None
        for number, (file, line) in found.items():  # noqa: B007  # all held lines are of one file
            self._lines[number] = line
        for number, (its_file, line) in enumerate(tape.it, tape.number):
            if self._lines and (not line or its_file != file):
                done, self._lines = self._lines, {number: line} if line else {}
                yield file, self._joiner(list(done.values()))
            elif line:
                self._lines[number] = line
            file = its_file
        if self._lines:
            done, self._lines = self._lines, {}
            yield file, self._joiner(list(done.values()))

    def held(self) -> Iterable[int]:
        return self._lines

    def own(self) -> list[Any]:
        return []
