"""StreamReader (``read_from_stream``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.core.context import Context
from penstock.core.errors import StateError
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._lines import is_damage, unreadable
from penstock.pipes._nested import nested_parts
from penstock.pipes._streams import fresh, named_stream, pass_over


@functional_datapipe("read_from_stream")
class StreamReader(IterDataPipe[tuple[str, Any]]):
    """Read streams: ``(path, stream)`` becomes pairs ``(path, data)`` (functional name: ``read_from_stream``).

    An empty stream gives no item. Streams are closed behind their last chunk.

    Args:
        datapipe: pairs of a path and a stream.
        chunk: how many bytes (or characters, of a text stream) to read at once; the whole stream unless given.

    Raises:
        ValueError: a chunk is less than 1.
        DecodeError: (when run) names a file that is damaged.

    State: how much of the stream has been given. Restoring seeks there in a stream of bytes that can; else it reads up
    to there.

    Example:
        >>> import io
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([("a", io.BytesIO(b"abcde"))], deepcopy=False).read_from_stream(chunk=3))
        [('a', b'abc'), ('a', b'de')]
    """

    def __init__(self, datapipe: IterDataPipe[tuple[str, Any]], chunk: int | None = None) -> None:
        datapipe = check_source(self, datapipe)
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk must be at least 1, or None, got {chunk}")
        self.datapipe = datapipe
        self.chunk = chunk

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[str, Any]]:
        return nested_parts(self, self.datapipe, lambda item, place: _Part(self.chunk, item, place), ctx, state)


class _Part:
    """One stream, being read."""

    def __init__(self, chunk: int | None, item: Any, place: Any) -> None:
        self._given = place or 0
        path, stream = named_stream(item)
        self.it = self._run(path, stream, chunk)

    def tell(self) -> int:
        return int(self._given)

    def _run(self, path: str, stream: Any, chunk: int | None) -> Iterator[tuple[str, Any]]:
        file = fresh(stream, binary=False)
        try:
            if self._given:
                first = file.read(1)  # tells whether it gives bytes: in a text, places are not counts of characters
                if not first or not pass_over(file, self._given - 1, seek=isinstance(first, bytes)):
                    raise StateError(f"{path} ends ahead of its saved place, {self._given}: it is another file")
            while data := file.read() if chunk is None else file.read(chunk):
                self._given += len(data)
                yield path, data
        except Exception as error:
            if is_damage(error):
                raise unreadable(path, f"behind {self._given}", error) from error
            raise
        finally:
            file.close()
