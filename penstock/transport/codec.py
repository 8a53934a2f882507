"""Items as bytes: pickle protocol 5, with the large buffers (numpy, Arrow, torch) beside the pickle and not in it.

Long lists of strings, which are what becomes of a table's words, go as one string: see `penstock.transport.texts`.
"""

from __future__ import annotations

import io
import operator
import pickle
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

from penstock.core.errors import TransportError
from penstock.transport.texts import dump

__all__ = ["encode", "encode_error"]

_MAIN = ("__main__", "__mp_main__")  # the latter in a process that multiprocessing has spawned, where both are the same
_NUMBERS = frozenset("?bBhHiIlLqQefdgFDG")  # numpy's characters of the types that need no parameters


def encode(item: object, *, in_band: bool = False) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """Return the pickle of an item, and its buffers in order; none of them if ``in_band``, as the pickle holds all.

    Classes and functions that pickle cannot name (of a notebook, of ``__main__``) are handed to cloudpickle, which
    knows that they came from the main process and makes them the same objects again there.
    """
    buffers: list[pickle.PickleBuffer] = []
    file = io.BytesIO()
    try:
        dump(_Pickler(file, 5, buffer_callback=None if in_band else buffers.append), file, item)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        buffers.clear()
        file = io.BytesIO()
        try:
            dump(_by_value(file, None if in_band else buffers.append), file, item)
        except Exception as again:
            raise TransportError(f"an item cannot be sent to another process: {again}") from error
    return file.getvalue(), buffers


_Parts: TypeAlias = tuple[type[BaseException], tuple[Any, ...], dict[str, Any]]  # what an exception is made of again


def encode_error(error: BaseException, traceback: str) -> bytes:
    """Return an exception as bytes that load as the same type, with its notes and ``traceback`` as the last of them.

    The class's own ``__init__`` is not called on arrival: it may want other arguments than those that were kept.
    """
    state = dict(vars(error))
    notes = [*state.pop("__notes__", []), traceback]
    args: Any = _builtin_base(type(error)).__reduce__(error)[1]  # OSError's file name is not among its `args`
    attempts: list[_Parts] = [(type(error), args, state), (type(error), tuple(map(str, error.args)), {})]
    for attempt in attempts:
        try:
            data, _ = encode((_rebuilt_error, (*attempt, notes)), in_band=True)
            function, arguments = pickle.loads(data)
            function(*arguments)
        except Exception:
            continue
        return data
    substitute: _Parts = (RuntimeError, (f"{type(error).__name__}: {error}",), {})
    return encode((_rebuilt_error, (*substitute, notes)), in_band=True)[0]


def _builtin_base(cls: type[BaseException]) -> type[BaseException]:
    """Return the class whose ``__init__`` is known: a user's own may want anything."""
    return next(base for base in cls.__mro__ if base.__module__ == "builtins")


def _rebuilt_error(
    cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any], notes: list[str]
) -> BaseException:
    error = cls.__new__(cls, *args)
    _builtin_base(cls).__init__(error, *args)  # UnicodeDecodeError and its like keep their fields in C
    vars(error).update(state)
    for note in notes:
        error.add_note(note)
    return error


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        return _reduced(obj)


def _by_value(file: io.BytesIO, callback: Callable[[pickle.PickleBuffer], Any] | None) -> Any:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
        def reducer_override(self, obj: Any) -> Any:
            reduced = _reduced(obj)
            return super().reducer_override(obj) if reduced is NotImplemented else reduced

    return Pickler(file, 5, buffer_callback=callback)


def _reduced(obj: Any) -> Any:
    cls = type(obj)
    if issubclass(cls, type):
        return _reduced_class(obj)
    name = f"{cls.__module__}.{cls.__qualname__}"
    if name == "numpy.ndarray":
        return _reduced_array(obj)
    if name == "torch.Tensor":
        return _reduced_tensor(obj)
    if name == "pyarrow.lib.RecordBatch":
        return _reduced_batch(obj)
    return NotImplemented


def _reduced_class(cls: Any) -> Any:
    if cls.__module__ in _MAIN and "<locals>" not in cls.__qualname__:
        return _of_main, (_tracker("CLASS").get(cls), cls.__qualname__)
    return NotImplemented


def _of_main(number: str | None, qualname: str) -> Any:
    """Return the main program's own class: in a worker it is a copy, made from its source by cloudpickle.

    The copy of a class inside another one has lost its qualified name, so cloudpickle's number for it goes first. A
    forked worker has the class itself, and no number.
    """
    cls = None if number is None else _tracker("ID").get(number)
    return operator.attrgetter(qualname)(sys.modules["__main__"]) if cls is None else cls


def _tracker(key: str) -> Any:
    """Return cloudpickle's table of the classes that it has sent or received, by CLASS or by ID."""
    return getattr(sys.modules.get("cloudpickle.cloudpickle"), f"_DYNAMIC_CLASS_TRACKER_BY_{key}", {})


def _reduced_array(array: Any) -> Any:
    """Reduce an array of numbers to what takes half of numpy's own time on arrival, and leave others to numpy."""
    flags = array.flags
    if not flags.writeable:
        # Who receives an array may write into it, so pickle must not say otherwise.
        array = array.copy("K")
        flags = array.flags
    dtype = array.dtype
    if dtype.char not in _NUMBERS or not dtype.isnative or not flags.c_contiguous:
        return array.__reduce_ex__(5)
    return _rebuilt_array, (pickle.PickleBuffer(array), dtype.char, array.shape)


def _rebuilt_array(data: Any, char: str, shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.ndarray(shape, char, data)


def _reduced_batch(batch: Any) -> Any:
    """Reduce a record batch: a slice takes only its own part of the buffers, where Arrow would send them whole.

    1,024 rows of a batch of 65,536 are 18 kB and not 1.1 MB. So are batches with a type that pickle does not keep.
    """
    if 2 * batch.nbytes >= batch.get_total_buffer_size() and all(map(_is_kept, batch.schema.types)):
        return NotImplemented
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return _rebuilt_batch, (pickle.PickleBuffer(sink.getvalue()),)


@lru_cache(256)
def _is_kept(kind: Any) -> bool:
    """Whether a type of Arrow's is the same behind pickle, which leaves out how a fixed-size list calls its values."""
    import pyarrow

    if pyarrow.types.is_fixed_size_list(kind):
        values = kind.value_field
        if not values.equals(pyarrow.field("item", values.type), check_metadata=True):
            return False
    return all(_is_kept(kind.field(number).type) for number in range(kind.num_fields))


def _rebuilt_batch(data: Any) -> Any:
    import pyarrow

    return pyarrow.ipc.open_stream(pyarrow.py_buffer(data)).read_next_batch()


def _reduced_tensor(tensor: Any) -> Any:
    import torch

    plain = tensor.is_cpu and tensor.layout == torch.strided and not tensor.is_quantized
    if not plain or tensor.requires_grad:
        return NotImplemented
    tensor = tensor.resolve_conj().resolve_neg().contiguous()
    try:
        array = tensor.numpy()
    except TypeError:  # numpy has no such type
        data = pickle.PickleBuffer(tensor.reshape(-1).view(torch.uint8).numpy())
        return _rebuilt_other, (data, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
    return _rebuilt_tensor, (pickle.PickleBuffer(array), array.dtype.char, array.shape)


def _rebuilt_tensor(data: Any, char: str, shape: tuple[int, ...]) -> Any:
    import torch

    return torch.from_numpy(_rebuilt_array(data, char, shape))


def _rebuilt_other(data: Any, dtype: str, shape: tuple[int, ...]) -> Any:
    import torch

    return torch.from_numpy(_rebuilt_array(data, "B", (len(memoryview(data)),))).view(getattr(torch, dtype)).view(shape)
