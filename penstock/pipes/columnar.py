"""Rows2Columnar (``rows2columnar``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from penstock.core.context import Context
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream


@functional_datapipe("rows2columnar")
class Rows2Columnar(IterDataPipe[defaultdict[Any, list[Any]]]):
    """Turn a batch of rows into a dict of columns, each a list (functional name: ``rows2columnar``).

    Args:
        source_datapipe: the source, of batches of dicts or of lists.
        column_names: the columns to take from dicts, all unless given (a set will do); of lists, their columns' names.

    Raises:
        KeyError: (when run) a dict lacks a named column.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> rows = IterableWrapper([{"a": 1, "b": 2}, {"a": 3, "b": 4}])
        >>> [dict(batch) for batch in rows.batch(2).rows2columnar()]
        [{'a': [1, 3], 'b': [2, 4]}]
        >>> [dict(batch) for batch in IterableWrapper([[1, 2], [3, 4]]).batch(2).rows2columnar(["a", "b"])]
        [{'a': [1, 3], 'b': [2, 4]}]
    """

    arity = ONE_TO_ONE

    def __init__(
        self, source_datapipe: IterDataPipe[Sequence[Any]], column_names: Collection[Any] | None = None
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        self.datapipe: IterDataPipe[Sequence[Any]] = source_datapipe
        self.column_names: Collection[Any] = () if column_names is None else column_names

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[defaultdict[Any, list[Any]]]:
        return ctx.each(self, self.datapipe, state, lambda batch: _columns(batch, self.column_names))


def _columns(batch: Sequence[Any], names: Collection[Any]) -> defaultdict[Any, list[Any]]:
    columns: defaultdict[Any, list[Any]] = defaultdict(list)
    for row in batch:
        if not isinstance(row, dict):
            for name, value in zip(names, row, strict=False):
                columns[name].append(value)
        elif names:
            for name in names:
                columns[name].append(row[name])
        else:
            for name, value in row.items():
                columns[name].append(value)
    return columns
