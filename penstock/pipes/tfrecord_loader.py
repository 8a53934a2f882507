"""TFRecordLoader (``load_from_tfrecord``)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from penstock.core.context import Context
from penstock.core.errors import DecodeError, StateError
from penstock.core.leaving import Deferred, as_tensor
from penstock.core.pipe import IterDataPipe, check_source, no_length
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._lines import is_damage
from penstock.pipes._nested import nested_parts
from penstock.pipes._streams import buffered, fresh, named_stream, pass_over
from penstock.pipes._tensors_later import leaves_from
from penstock.pipes._tfexample import Malformed, Value, parsed


@functional_datapipe("load_from_tfrecord")
class TFRecordLoader(IterDataPipe[dict[str, Any]]):
    """Read TFRecord files: ``(path, stream)`` becomes a dict per example (functional name: ``load_from_tfrecord``).

    A feature of numbers becomes a tensor, float32 or int64, one of bytes a list of bytes. A feature list (of a
    ``SequenceExample``) becomes a list of those, one for each step. TensorFlow and protobuf are not needed. Each
    record's two checksums are verified.

    Args:
        datapipe: pairs of a path and a binary stream: ``open_files(mode="rb")``.
        spec: ``{feature: (shape, dtype)}``: only these features are given, in these shapes and torch dtypes. Shape
            ``()`` makes a list of one bytes object that object. In a feature list's shape the first number is that of
            the steps, or -1. None in place of a shape, a dtype, or both leaves them as they are.
        length: what ``len`` should say; unknown if negative.

    Raises:
        DecodeError: (when run) names the file and the byte at which the bad record begins. It is also a RuntimeError.
        RuntimeError: (when run) an example does not have a feature of the spec, or its shape does not fit.

    State: the byte at which the next record begins. Restoring seeks there; in a compressed file it reads up to there.

    Example:
        >>> import io, struct, google_crc32c
        >>> def masked(data):
        ...     crc = google_crc32c.value(data)
        ...     return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
        >>> example = bytes([10, 12, 10, 10, 10, 1, 120, 18, 5, 26, 3, 10, 1, 7])  # {"x": [7]}
        >>> size = struct.pack("<Q", len(example))
        >>> file = io.BytesIO(size + masked(size) + example + masked(example))
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([("a.tfrecord", file)], deepcopy=False).load_from_tfrecord())
        [{'x': tensor([7])}]
    """

    def __init__(
        self, datapipe: IterDataPipe[tuple[str, Any]], spec: dict[str, Any] | None = None, length: int = -1
    ) -> None:
        datapipe = check_source(self, datapipe)
        self.datapipe = datapipe
        self.spec = spec
        self.length = length

    def __len__(self) -> int:
        if self.length < 0:
            raise no_length(self)
        return self.length

    def build(self, ctx: Context, state: State = None) -> Stream[dict[str, Any]]:
        leaves = leaves_from(ctx, self)  # then tensors are made where they arrive
        wrap: Callable[[Any], Any] = Deferred if leaves and self.spec is None else as_tensor
        return nested_parts(self, self.datapipe, lambda item, place: _Part(self.spec, wrap, item, place), ctx, state)


class _BadRecord(DecodeError, RuntimeError):
    """What torchdata's programs catch, too."""


class _Part:
    """One file, being read."""

    def __init__(self, spec: dict[str, Any] | None, wrap: Callable[[Any], Any], item: Any, place: Any) -> None:
        self._at = place or 0
        self._spec = spec
        self._wrap = wrap
        path, stream = named_stream(item)
        self.it = self._run(path, stream)

    def tell(self) -> int:
        return int(self._at)

    def _run(self, path: str, stream: Any) -> Iterator[dict[str, Any]]:
        file = buffered(fresh(stream))
        try:
            if self._at and not pass_over(file, self._at):
                raise StateError(f"{path} ends ahead of byte {self._at}, its saved place: it is another file")
            while head := file.read(12):
                record = _record(head, file.read)
                item = self._item(*parsed(record))
                self._at += len(record) + 16
                yield item
        except Exception as error:
            if isinstance(error, (Malformed, UnicodeDecodeError)) or is_damage(error):
                raise _BadRecord(f"{path}: the record at byte {self._at}: {error}") from error
            if isinstance(error, _Unfit):
                raise RuntimeError(f"{path}: the record at byte {self._at}: {error}") from None
            raise
        finally:
            file.close()

    def _item(self, features: dict[str, Value], lists: dict[str, list[Value]]) -> dict[str, Any]:
        if both := features.keys() & lists.keys():
            raise _Unfit(f"{sorted(both)} are features of the context and feature lists as well")
        if self._spec is None:
            wrap = self._as_is
            single: dict[str, Any] = {key: wrap(value) for key, value in features.items()}
            return single | {key: [wrap(value) for value in steps] for key, steps in lists.items()}
        item: dict[str, Any] = {}
        for key, spec in self._spec.items():
            shape, dtype = spec or (None, None)
            if key in features:
                item[key] = _fitted(key, features[key], shape, dtype)
            elif key in lists:
                steps = lists[key]
                if shape and shape[0] not in (-1, len(steps)):
                    raise _Unfit(f"{key!r} has {len(steps)} steps, where the spec has {shape[0]}")
                inner = shape[1:] if shape is not None else None
                item[key] = [_fitted(key, step, inner, dtype) for step in steps]
            else:
                raise _Unfit(f"it has no feature {key!r}")
        return item

    def _as_is(self, value: Value) -> Any:
        return value if isinstance(value, list) else self._wrap(value)


class _Unfit(Exception):
    """An example is not what the spec says."""


def _record(head: bytes, read: Callable[[int], bytes]) -> bytes:
    """Return a record: 8 bytes of size and 4 of checksum stand ahead of it, and 4 of checksum behind it."""
    if len(head) < 12:
        raise Malformed("the file ends within the record's size")
    (size,) = struct.unpack("<Q", head[:8])
    if head[8:] != _masked_crc(head[:8]):
        raise Malformed("the checksum of its size is wrong")
    record = read(size)
    crc = read(4)
    if len(crc) < 4:
        raise Malformed(f"the file ends within the record, of {size} bytes")
    if crc != _masked_crc(record):
        raise Malformed("its checksum is wrong")
    return record


def _masked_crc(data: bytes) -> bytes:
    import google_crc32c

    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _fitted(key: str, value: Value, shape: tuple[int, ...] | None, dtype: Any) -> Any:
    if isinstance(value, list):
        return value if shape is None else _nested(key, value, shape)
    tensor = as_tensor(value)
    if dtype is not None:
        tensor = tensor.to(dtype)
    if shape is None:
        return tensor
    try:
        return tensor.reshape(shape)
    except RuntimeError as error:
        raise _Unfit(f"{key!r}: {error}") from None


def _nested(key: str, values: list[bytes], shape: tuple[int, ...]) -> Any:
    """Return a list of bytes as nested lists of a shape: one object if it is ``()``."""
    import numpy as np

    boxed = np.empty(len(values), object)
    boxed[:] = values
    try:
        return boxed.reshape(shape).tolist()
    except ValueError:
        raise _Unfit(f"{key!r} has {len(values)} values, which do not make the shape {shape}") from None
