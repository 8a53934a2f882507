"""HashChecker (``check_hash``)."""

from __future__ import annotations

from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes.handle import StreamWrapper, open_binary

T = TypeVar("T")

_CHUNK_BYTES = 1 << 20


@functional_datapipe("check_hash")
class HashChecker(IterDataPipe[T]):
    """Check what files contain: ``(path, data)`` passes if its hash is right (functional name: ``check_hash``).

    Where ``open_files`` decompresses a file, the hash is that of the file as it is stored, which is what downloads are
    published with.

    Args:
        source_datapipe: pairs of a path and bytes or a binary stream.
        hash_dict: the hash of each path, in hexadecimal digits.
        hash_type: ``sha256`` or ``md5``.
        rewind: put a stream back to its beginning; else it is left at its end.

    Raises:
        ValueError: another type of hash; or (when run) a stream that cannot seek is to be rewound.
        TypeError: (when run) text, which has no hash until it is encoded.
        RuntimeError: (when run) a path is not in ``hash_dict``, or a hash is another.

    State: none of its own.

    Example:
        >>> import hashlib
        >>> from penstock.pipes import IterableWrapper
        >>> hashes = {"a": hashlib.sha256(b"hello").hexdigest()}
        >>> list(IterableWrapper([("a", b"hello")]).check_hash(hashes))
        [('a', b'hello')]
    """

    arity = ONE_TO_ONE

    def __init__(
        self,
        source_datapipe: IterDataPipe[T],
        hash_dict: dict[str, str],
        hash_type: str = "sha256",
        rewind: bool = True,
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if hash_type not in ("sha256", "md5"):
            raise ValueError(f"Invalid hash_type requested, should be one of sha256, md5: {hash_type!r}")
        self.source_datapipe = source_datapipe
        self.hash_dict = hash_dict
        self.hash_type = hash_type
        self.rewind = rewind

    def __len__(self) -> int:
        return len(self.source_datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        return ctx.each(self, self.source_datapipe, state, self._checked)

    def _checked(self, item: Any) -> Any:
        if not isinstance(item, tuple) or len(item) != 2:
            raise TypeError(f"a pair of a path and its data is expected, but got {type(item).__name__}")
        path, data = item
        if path not in self.hash_dict:
            raise RuntimeError(f"Unspecified hash for file {path}")
        expected = self.hash_dict[path]
        import hashlib

        digest = hashlib.new(self.hash_type, usedforsecurity=False)
        if isinstance(data, (bytes, bytearray, memoryview)):
            digest.update(data)
        elif isinstance(data, str):
            raise TypeError(f"{path}: check_hash needs bytes, but got text")
        else:
            _update(digest, path, data, self.rewind)
        if digest.hexdigest() != expected.lower():
            raise RuntimeError(
                f"The computed hash {digest.hexdigest()} of {path} does not match the expected hash {expected}. "
                "Delete the file manually and retry."
            )
        return item


def _update(digest: Any, path: str, stream: Any, rewind: bool) -> None:
    handle = stream if isinstance(stream, StreamWrapper) else None
    if handle is not None and "b" not in handle.mode:
        raise TypeError(f"{path}: check_hash needs bytes, but the file is opened as text: use open_files(mode='rb')")
    stored = handle is not None and (not handle.opened or handle.compression is not None)
    if stored:
        with open_binary(stream.name, None) as file:  # the handle itself stays unopened, and can travel
            _feed(digest, path, file)
    else:
        _feed(digest, path, stream)
    if not rewind:
        if stored:
            stream.seek(0, 2)
    elif handle is None or handle.opened:
        if not (hasattr(stream, "seekable") and stream.seekable()):
            raise ValueError(f"{path}: its stream cannot be rewound, so check_hash needs rewind=False")
        stream.seek(0)


def _feed(digest: Any, path: str, file: Any) -> None:
    while data := file.read(_CHUNK_BYTES):
        if isinstance(data, str):
            raise TypeError(f"{path}: check_hash needs bytes, but its stream gives text")
        digest.update(data)
