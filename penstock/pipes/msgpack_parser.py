"""MessagePackParser (``parse_msgpack``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.core.context import Context
from penstock.core.errors import DecodeError, StateError
from penstock.core.pipe import IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._lines import is_damage, path_and_stream, unreadable
from penstock.pipes._nested import nested_parts
from penstock.pipes.handle import StreamWrapper, open_binary
from penstock.serialization.formats import torn


@functional_datapipe("parse_msgpack")
class MessagePackParser(IterDataPipe[Any]):
    """Parse MessagePack files: ``(path, handle)`` becomes each object in the file (functional name: ``parse_msgpack``).

    Nothing in the file is executed: extension types come as `msgpack.ExtType` unless ``ext_hook`` says otherwise.

    Args:
        source_datapipe: pairs of a path and a binary stream: ``open_files(mode="rb")``.
        return_path: yield ``(path, value)``.
        unpacker_params: those of `msgpack.Unpacker` (``raw``, ``ext_hook`` ...).

    Raises:
        DecodeError: (when run) names the file and the byte; a file that ends within an object too.

    State: the byte at which the next object begins. Restoring seeks there; in a compressed file it reads up to there.

    Example:
        >>> import io, msgpack
        >>> from penstock.pipes import IterableWrapper
        >>> file = io.BytesIO(msgpack.packb({"x": 1}) + msgpack.packb([2]))
        >>> list(IterableWrapper([("a.msgpack", file)], deepcopy=False).parse_msgpack())
        [{'x': 1}, [2]]
    """

    def __init__(
        self, source_datapipe: IterDataPipe[tuple[str, Any]], *, return_path: bool = False, **unpacker_params: Any
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        self.source_datapipe = source_datapipe
        self.return_path = return_path
        self.unpacker_params = unpacker_params

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        return nested_parts(self, self.source_datapipe, lambda item, place: _Part(self, item, place), ctx, state)


class _Part:
    """One file, being parsed."""

    def __init__(self, pipe: MessagePackParser, item: Any, place: Any) -> None:
        import msgpack

        path, stream = path_and_stream(item)
        if isinstance(stream, StreamWrapper) and not stream.opened:
            stream = open_binary(stream.name, stream.compression)
        self._begin = place or 0
        if self._begin:
            stream.seek(self._begin - 1)
            if not stream.read(1):
                stream.close()
                raise StateError(f"{path} ends ahead of byte {self._begin}, its saved place: it is another file")
        self._file = _Measured(stream)
        params = {"strict_map_key": False, **pipe.unpacker_params}
        self._unpacker = msgpack.Unpacker(self._file, **params)
        self.it = self._run(pipe, path, stream)

    def tell(self) -> int:
        at: int = self._unpacker.tell()
        return self._begin + min(at, self._file.size)  # `torn` gives it one byte more

    def _run(self, pipe: MessagePackParser, path: str, stream: Any) -> Iterator[Any]:
        try:
            values: Iterator[Any] = self._unpacker
            yield from ((path, value) for value in values) if pipe.return_path else values
            if torn(self._unpacker, self._file.size):
                raise DecodeError(f"{path}: the file ends within an object, at byte {self._begin + self._file.size}")
        except Exception as error:
            import msgpack

            malformed = isinstance(error, (ValueError, msgpack.UnpackException)) and not isinstance(error, DecodeError)
            malformed = malformed or str(error).startswith("unhashable type")  # a key that is a map or an array
            if malformed or is_damage(error):
                raise unreadable(path, f"the object at byte {self.tell()}", error) from error
            raise
        finally:
            stream.close()


class _Measured:
    """A stream that knows how many bytes have been read from it."""

    def __init__(self, stream: Any) -> None:
        self._read = stream.read
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._read(size)
        self.size += len(data)
        return data
