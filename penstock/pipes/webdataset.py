"""WebDataset (``webdataset``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.core.tape import Tape
from penstock.pipes._held import holding


@functional_datapipe("webdataset")
class WebDataset(IterDataPipe[dict[str, Any]]):
    """Gather the files of a sample: ``(path, data)`` items become dicts by suffix (functional name: ``webdataset``).

    Consecutive items whose paths agree up to the first dot of the file's name are one sample. Its ``"__key__"`` is what
    they agree in, and the rest of each path, with the dot, is the key of its data. Files without a suffix are left out.

    Args:
        source_datapipe: the source, of pairs.

    State: the source's place, and where the first file of the next sample is.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> files = [("a.tar/0.jpg", b"J"), ("a.tar/0.cls", b"7"), ("a.tar/README", b""), ("a.tar/1.jpg", b"K")]
        >>> for sample in IterableWrapper(files).webdataset():
        ...     print(sample)
        {'__key__': 'a.tar/0', '.jpg': b'J', '.cls': b'7'}
        {'__key__': 'a.tar/1', '.jpg': b'K'}
    """

    def __init__(self, source_datapipe: IterDataPipe[tuple[str, Any]]) -> None:
        source_datapipe = check_source(self, source_datapipe)
        self.datapipe = source_datapipe

    def build(self, ctx: Context, state: State = None) -> Stream[dict[str, Any]]:
        return holding(self, self.datapipe, _Samples(), ctx, state)


class _Samples:
    """Between two samples, the first file of the next one is all that is held: the item that was read last."""

    def __init__(self) -> None:
        self._first: tuple[int, ...] = ()

    def run(self, found: dict[int, Any], tape: Tape[Any], own: list[Any]) -> Iterator[dict[str, Any]]:
        key: str | None = None
        sample: dict[str, Any] = {}
        for path, data in chain(found.values(), tape.it):
            if "\\" in path:
                path = path.replace("\\", "/")
            dot = path.find(".", path.rfind("/") + 1)
            if dot < 0:
                continue
            prefix = path[:dot]
            if prefix != key:
                if sample:
                    self._first = (tape.number - 1,)
                    yield sample
                key = prefix
                sample = {"__key__": prefix}
            sample[path[dot:]] = data
        self._first = ()
        if sample:
            yield sample

    def held(self) -> Iterable[int]:
        return self._first

    def own(self) -> list[Any]:
        return []
