"""LanceReader (``read_lance``) and FragmentLister (``list_fragments``)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from penstock.core.pipe import IterDataPipe
from penstock.core.registry import functional_datapipe
from penstock.core.walk import walk
from penstock.pipes._condition import Condition, as_expression, check_condition
from penstock.pipes._group_lister import GroupLister, count_of_groups
from penstock.pipes._lance import LanceData, note_lance
from penstock.pipes._lance_file import LanceFile
from penstock.pipes._table_columns import check_columns, listed_urls
from penstock.pipes._table_reader import TableReader

if TYPE_CHECKING:
    from penstock.serialization.columns import Conversion

__all__ = ["FragmentLister", "LanceReader"]

P = TypeVar("P", "FragmentLister", "LanceReader")


@functional_datapipe("list_fragments")
class FragmentLister(GroupLister):
    """List fragments of Lance data sets: ``uri`` becomes ``(uri, first, stop)`` (functional name: ``list_fragments``).

    What ``list_row_groups`` is to Parquet, for ``read_lance``. The numbers count the fragments that there are.

    Args:
        source_datapipe: paths or URIs.
        groups: how many fragments make a span.
        version: of the data sets, a number or a tag; the latest one unless given. Say the same to ``read_lance``.
        storage_options: of the connection, as Lance has them.

    Raises:
        MissingExtra: (when run) pylance is not installed: ``pip install 'penstock[lance]'``.
        FileNotFoundError: (when run) there is no such data set, or no such version of it.

    State: the index of the span, and how many there are; another number on restoring is a StateError.

    Example:
        >>> import os, tempfile
        >>> import lance, pyarrow
        >>> path = os.path.join(tempfile.mkdtemp(), "a.lance")
        >>> _ = lance.write_dataset(pyarrow.table({"x": [1, 2, 3]}), path, max_rows_per_file=2)
        >>> from penstock.pipes import IterableWrapper
        >>> [(first, stop) for uri, first, stop in IterableWrapper([path]).list_fragments()]
        [(0, 1), (1, 2)]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[Any],
        groups: int = 1,
        *,
        version: int | str | None = None,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(source_datapipe, groups, storage_options)
        self._version = version
        self.versions: dict[str, int] = {}
        note_lance()

    def __len__(self) -> int:
        return count_of_groups(self)

    def frozen(self) -> FragmentLister:
        return _pinned(self)

    def holds(self) -> Any:
        return list(self.versions.values()) or None

    def found(self, url: str) -> tuple[int, Any]:
        count = len(_data(self, url).fragments)
        return count, range(count)


@functional_datapipe("read_lance")
class LanceReader(TableReader):
    """Read Lance data sets: ``uri`` becomes batches of its columns (functional name: ``read_lance``).

    As ``read_parquet``, with fragments in place of row groups. The source may give paths and URIs, then each is read
    from its first row to the last; or the spans of ``list_fragments``, which can be shuffled and dealt to workers. No
    batch has rows of two fragments: ``rebatch`` makes batches of exactly one size.

    Data sets that a list names are read at one version: where workers read, the one that there was when they began; a
    rank that has begun with another version than rank 0 is told so, by a RankError. To take rows by number, in any
    order, there is `penstock.pipes.map.LanceTable`.

    Args:
        source_datapipe: paths or URIs, or spans: ``(uri, first, stop)``.
        columns: read only these, and give them in this order; or a dict of names and expressions of SQL; all unless
            given.
        filter: give only the rows for which this holds: SQL, a `pyarrow.compute.Expression`, or a list of (column, op,
            value) that must all hold, or a list of such lists, one of which must. Lance applies it, by an index where
            it has one.
        batch_size: rows per batch, fewer at the end of a fragment; unless given, as many as 16 MiB have, at most
            65,536.
        as_: ``numpy``, ``torch`` or ``arrow``. Arrays and tensors can be written into.
        version: of the data sets, a number or a tag; the latest one unless given.
        with_row_id: give Lance's ``_rowid`` as well, a uint64.
        batch_readahead: how many blocks Lance decodes ahead, in its own threads.
        storage_options: of the connection, as Lance has them.
        conversion: what becomes of each of Arrow's types, and of nulls, which are an error unless it says otherwise.

    Raises:
        ValueError: a number below 1; ``columns`` is empty or has a name twice; no such form or operator.
        MissingExtra: (when run) pylance is not installed: ``pip install 'penstock[lance]'``.
        ForkedProcess: (when run) this process was forked from one that has Lance loaded.
        FileNotFoundError: (when run) there is no such data set, or no such version of it.
        DecodeError: (when run) names the data set, the fragment, and what is wrong. Where bad samples are skipped, such
            a fragment counts as one.
        StateError: (when run) a place that was saved at another version.

    State: the fragment and how many of its rows have been given, the version, and the first data set. Restoring begins
    at the very row, if there is no filter.

    Example:
        >>> import os, tempfile
        >>> import lance, pyarrow
        >>> path = os.path.join(tempfile.mkdtemp(), "a.lance")
        >>> _ = lance.write_dataset(pyarrow.table({"x": [1, 2, 3], "y": list("abc")}), path)
        >>> from penstock.pipes import IterableWrapper
        >>> [batch["x"] for batch in IterableWrapper([path]).read_lance(["x"], batch_size=2, as_="torch")]
        [tensor([1, 2]), tensor([3])]
        >>> [batch["y"] for batch in IterableWrapper([path]).read_lance(filter="x > 1")]
        [['b', 'c']]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[Any],
        columns: Sequence[str] | Mapping[str, str] | None = None,
        filter: Condition | str | None = None,
        *,
        batch_size: int | None = None,
        as_: Literal["numpy", "torch", "arrow"] = "numpy",
        version: int | str | None = None,
        with_row_id: bool = False,
        batch_readahead: int = 16,
        storage_options: dict[str, Any] | None = None,
        conversion: Conversion | None = None,
    ) -> None:
        super().__init__(source_datapipe, None, None, batch_size, as_, storage_options, conversion)
        self.selection, self.pushed = checked(columns, filter)
        if batch_readahead < 1:
            raise ValueError(f"batch_readahead must be at least 1, got {batch_readahead}")
        self._version = version
        self.versions: dict[str, int] = {}
        self.with_row_id = with_row_id
        self.batch_readahead = batch_readahead
        note_lance()

    def frozen(self) -> LanceReader:
        return _pinned(self)

    def holds(self) -> Any:
        return list(self.versions.values()) or None

    def opened(self, url: str, patient: Callable[[Any], Any], footer: Any) -> LanceFile:
        data = footer or _data(self, url)
        return LanceFile(data, self.selection, as_filter(self.pushed), self.with_row_id, self.batch_readahead)


def checked(columns: Any, filter: Any) -> tuple[Any, Any]:
    """Return the columns and the filter that a pipe is given. TypeError and ValueError for what they cannot be."""
    selection = dict(columns) if isinstance(columns, Mapping) else check_columns(columns)
    if isinstance(selection, dict) and not selection:
        raise ValueError("columns must have at least one, got {}")
    return selection, filter if isinstance(filter, str) else check_condition(filter)


def as_filter(condition: Any) -> Any:
    """Return a condition as Lance takes it: SQL or an expression."""
    return condition if condition is None or isinstance(condition, str) else as_expression(condition)


def _data(pipe: FragmentLister | LanceReader, url: str) -> LanceData:
    options = {"storage_options": pipe.storage_options} if pipe.storage_options else {}
    return LanceData(url, pipe.versions.get(url, pipe._version), options)


def _pinned(pipe: P) -> P:
    """Return a copy that reads each listed data set at one version: that of who lists its fragments, or of now."""
    listed: dict[str, int] = {}
    for other in walk(pipe.source_datapipe):
        if isinstance(other, FragmentLister) and other._version == pipe._version:
            listed.update(other.versions)
    found = {url: listed.get(url) or _data(pipe, url).version for url in listed_urls(pipe.source_datapipe)}
    if found == pipe.versions:
        return pipe
    new = copy.copy(pipe)
    new.versions = found
    return new
