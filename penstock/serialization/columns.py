"""A batch of Arrow's, of any types, as arrays or tensors by column: `Conversion`. docs/types.md has the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.core.errors import DecodeError
from penstock.serialization._arrow_dense import kind
from penstock.serialization._arrow_images import features
from penstock.serialization._arrow_nulls import MASK, Column, for_column, policy_of
from penstock.serialization._arrow_types import convert, finished_mask, put

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Conversion"]


@dataclass(frozen=True)
class Conversion:
    """How the columns of an Arrow batch become numpy's arrays, or torch's tensors.

    What comes out has memory of its own, and can be written to: Arrow's is never written to, and need not be kept. A
    column of numbers costs one copy, and no Python object per value.

    Args:
        nulls: what a null is to be. ``"error"``: an error that names the column and the row. ``"mask"``: zeros (an
            empty string or list), and a second column, ``"<name>_is_null"``, tells where; each column that may hold a
            null by its schema has one, whether this batch has any or not. Anything else is the value that takes a
            null's place, such as ``0`` or ``float("nan")``; it must be one of the column's type, and None is one for
            what becomes a list. In a column of lists it takes the place of null elements, and a null list is an empty
            one; if it is itself a list, it takes the place of null lists. A dict has one of these by column, for a
            struct again a dict by field; columns that it does not name have ``"error"``.
        images: ``"decode"`` makes what Hugging Face's features say are images arrays of (height, width, channels);
            ``"encoded"`` leaves their bytes.
        decimals: ``"exact"`` makes decimals Python's, which torch has no place for, so that is an error there;
            ``"float64"`` the nearest floats.

    Raises:
        ValueError: an option that there is not.

    Example:
        >>> import pyarrow as pa
        >>> batch = pa.record_batch({"id": pa.array([1, 2], pa.uint16()), "age": [30, None], "name": ["a", "b"]})
        >>> Conversion(nulls={"age": -1}).to_numpy(batch)
        {'id': array([1, 2], dtype=uint16), 'age': array([30, -1]), 'name': ['a', 'b']}
        >>> Conversion(nulls={"age": "mask"}).to_torch(batch, names=["age"])
        {'age': tensor([30,  0]), 'age_is_null': tensor([False,  True])}
    """

    nulls: Any = "error"
    images: str = "decode"
    decimals: str = "exact"

    def __post_init__(self) -> None:
        if self.images not in ("decode", "encoded"):
            raise ValueError(f"images must be 'decode' or 'encoded', got {self.images!r}")
        if self.decimals not in ("exact", "float64"):
            raise ValueError(f"decimals must be 'exact' or 'float64', got {self.decimals!r}")

    def to_numpy(self, batch: pa.RecordBatch | pa.Table, *, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Return a batch's columns as arrays, lists, and dicts of them, by name.

        Args:
            batch: a record batch, or a table of any number of chunks.
            names: the columns that are wanted, in the order that is wanted. Default: all.

        Raises:
            DecodeError: (a ValueError) a null where none is allowed, a damaged image, two columns of one name.
            KeyError: the batch has no column of a name.
            TypeError: a column cannot be converted as asked.

        Example:
            >>> import pyarrow as pa
            >>> batch = pa.record_batch({"box": [{"x": 1.5, "tags": ["a"]}, {"x": 2.5, "tags": []}]})
            >>> Conversion().to_numpy(batch)
            {'box': {'x': array([1.5, 2.5]), 'tags': [['a'], []]}}
        """
        return self._columns(batch, names, torch=False)

    def to_torch(self, batch: pa.RecordBatch | pa.Table, *, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Return what `to_numpy` does, with a tensor for each array. Times become their counts of units, as int64.

        Example:
            >>> import pyarrow as pa
            >>> batch = pa.record_batch({"tokens": [[1, 2, 3], [4]], "label": pa.array([0, 1], pa.uint8())})
            >>> Conversion().to_torch(batch)
            {'tokens': [tensor([1, 2, 3]), tensor([4])], 'label': tensor([0, 1], dtype=torch.uint8)}
        """
        return self._columns(batch, names, torch=True)

    def _columns(self, batch: Any, names: Sequence[str] | None, torch: bool) -> dict[str, Any]:
        import pyarrow as pa

        if not isinstance(batch, (pa.RecordBatch, pa.Table)):
            raise TypeError(f"a RecordBatch or a Table is expected, got {type(batch).__name__}")
        plain, finished = _looked_into(), _tensor() if torch else _itself
        by_column = isinstance(self.nulls, dict)
        masked = isinstance(self.nulls, str) and self.nulls == MASK
        schema, found = batch.schema, dict[str, Any]()
        for index, name, array in _chosen(batch, schema.names, names):
            stated = masked or (by_column and name in self.nulls)
            # Nine columns of 1,024 rows take 20 us here, and 60 us below, which knows every type.
            if array.type.id in plain and not stated and not array.null_count:
                if name in found:
                    raise DecodeError(f"the columns of nulls include {name!r}, and the batch has a column of that name")
                found[name] = finished(_copied(array))
                continue
            field = schema.field(index)
            column = Column(
                name=name,
                type=field.type,
                nulls=policy_of(for_column(self.nulls, name), field),
                metadata=field.metadata or {},
                feature=features((schema.metadata or {}).get(b"huggingface")).get(name),
                row=_itself,
                torch=torch,
                decode_images=self.images == "decode",
                decimals_as_float=self.decimals == "float64",
            )
            try:
                values, mask = _converted(array, column)
            except KeyError:
                _check(name, field.type)
                raise
            put(found, name, values, finished_mask(mask, field, column))
        return found


def _chosen(batch: Any, has: list[str], names: Sequence[str] | None) -> list[tuple[int, str, Any]]:
    places = {name: index for index, name in enumerate(has)}
    if len(places) < len(has):
        twice = next(name for index, name in enumerate(has) if places[name] != index)
        raise DecodeError(f"two columns are named {twice!r}, and a dict has room for one")
    missing = [name for name in names or () if name not in places]
    if missing:
        raise KeyError(f"no column {missing[0]!r}; there are {', '.join(map(repr, has))}")
    wanted = has if names is None else names
    try:
        columns = batch.columns if names is None else [batch.column(places[name]) for name in names]
    except KeyError:
        for name in wanted:
            _check(name, batch.schema.field(places[name]).type)
        raise
    return [(places[name], name, array) for name, array in zip(wanted, columns, strict=True)]


def _check(name: str, type_: Any) -> None:
    """Refuse the types of which pyarrow has no arrays, and says so with a KeyError."""
    if kind(type_) in ("INTERVAL_MONTHS", "INTERVAL_DAY_TIME"):
        raise TypeError(f"column {name!r} ({type_}): pyarrow itself cannot read this type")
    for number in range(type_.num_fields):
        _check(f"{name}.{type_.field(number).name}", type_.field(number).type)


@cache
def _looked_into() -> frozenset[int]:
    """Return the ids of the types whose arrays numpy can look into as they are: most columns of most tables."""
    import pyarrow.lib as lib

    ints = [f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]
    return frozenset(getattr(lib, f"Type_{name}") for name in (*ints, "FLOAT", "DOUBLE"))


def _copied(array: Any) -> np.ndarray[Any, Any]:
    chunks = getattr(array, "num_chunks", None)
    if chunks is None:
        copied: np.ndarray[Any, Any] = array.to_numpy().copy()
    elif chunks == 1:
        copied = array.chunk(0).to_numpy().copy()
    else:
        copied = array.to_numpy()  # which joins chunks into new memory
    return copied


def _converted(array: Any, column: Column) -> tuple[Any, np.ndarray[Any, Any] | None]:
    """Convert an array, or each chunk of one."""
    if not hasattr(array, "chunks"):
        return convert(array, column)
    import pyarrow as pa

    parts, start = [], 0
    for chunk in array.chunks or [pa.nulls(0, array.type)]:
        parts.append(convert(chunk, replace(column, row=start.__add__)))
        start += len(chunk)
    if len(parts) == 1:
        return parts[0]
    masks = [mask for _, mask in parts if mask is not None]
    return _joined([values for values, _ in parts]), np.concatenate(masks) if masks else None


def _joined(parts: list[Any]) -> Any:
    first = parts[0]
    if isinstance(first, dict):
        return {name: _joined([part[name] for part in parts]) for name in first}
    if isinstance(first, list):
        return list(chain.from_iterable(parts))
    if isinstance(first, np.ndarray):
        return np.concatenate(parts)
    import torch

    return torch.cat(parts)


def _itself(value: Any) -> Any:
    return value


def _tensor() -> Callable[[Any], Any]:
    import torch

    return torch.from_numpy
