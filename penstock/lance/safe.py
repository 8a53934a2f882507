"""SafeLanceDataset and get_safe_loader: rows by number, for torch's DataLoader."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.lance._noted import Noted, says_version
from penstock.lance.collate import Row, Rows, know_collate
from penstock.pipes._lance import LanceData
from penstock.pipes.map.lance_table import LanceTable

if TYPE_CHECKING:
    from penstock.serialization.columns import Conversion

__all__ = ["SafeLanceDataset", "get_safe_loader"]


class SafeLanceDataset(LanceTable):
    """The rows of a Lance data set, by number, for torch's ``DataLoader`` with workers that spawn.

    A row is a dict of Python's values. The rows of a batch are taken in one go, and where ``default_collate`` collates
    them they are never made: it gives the columns, as tensors in their own types, a matrix for each column of vectors.

    It is a `penstock.pipes.map.LanceTable`: pinned to the version that there is when it is made, and the source of a
    graph for `DataLoader2`, with state and a shuffle of all rows.

    Args:
        uri: a path or URI, or an opened `lance.LanceDataset`.
        dataset_options: those of ``lance.dataset`` (version, storage_options ...).
        columns: read only these, and give them in this order; or a dict of names and expressions of SQL; all unless
            given.
        filter: only the rows for which this SQL (or `pyarrow.compute.Expression`) holds.
        conversion: what becomes of each of Arrow's types, and of nulls, which are an error unless it says otherwise.

    Raises:
        FileNotFoundError: there is no such data set, or no such version of it.
        DecodeError: there is no such column; (when asked) what is wrong with the data.
        IndexError: (when asked) no such row.

    Example:
        >>> import os, tempfile
        >>> import lance, pyarrow
        >>> from torch.utils.data import DataLoader
        >>> path = os.path.join(tempfile.mkdtemp(), "a.lance")
        >>> _ = lance.write_dataset(pyarrow.table({"x": [1, 2, 3], "y": list("abc")}), path)
        >>> dataset = SafeLanceDataset(path)
        >>> len(dataset), dataset[-1]
        (3, {'x': 3, 'y': 'c'})
        >>> list(DataLoader(dataset, batch_size=2))
        [{'x': tensor([1, 2]), 'y': ['a', 'b']}, {'x': tensor([3]), 'y': ['c']}]
    """

    def __init__(
        self,
        uri: Any,
        *,
        dataset_options: Mapping[str, Any] | None = None,
        columns: Sequence[str] | Mapping[str, str] | None = None,
        filter: Any = None,
        conversion: Conversion | None = None,
    ) -> None:
        options = dict(dataset_options or {})
        is_said = says_version(uri, options)
        data = LanceData(uri, options.pop("version", None), options)
        noted = Noted(data, ("safe", columns, str(filter)))
        other = noted.other()
        if other is not None and not is_said:  # only one rank may read it, so this need be no mistake
            warnings.warn(str(noted.different(other[0])), stacklevel=2)
        super().__init__(data, columns, filter, as_="torch", conversion=conversion)

    def __add__(self, other: Any) -> Any:
        from torch.utils.data import ConcatDataset

        return ConcatDataset([self, other])  # type: ignore[list-item]  # a Dataset for torch

    def __getitem__(self, index: Any) -> Row:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[Any]) -> Rows:  # type: ignore[override]  # a sequence will do
        know_collate()
        return Rows(self.take_arrow(indices), self.converted)


def get_safe_loader(dataset: Any, batch_size: int | None = 32, num_workers: int = 4, **kwargs: Any) -> Any:
    """Return torch's ``DataLoader`` over a data set, with workers that spawn, and stay for the next epoch.

    Args:
        dataset: a `SafeLanceDataset`, or a `LanceDataset` with ``batch_size=None``.
        batch_size: rows per batch.
        num_workers: how many processes read; 0 reads in this one.
        **kwargs: others of ``DataLoader``; they go first.

    Example:
        >>> import os, tempfile
        >>> import lance, pyarrow
        >>> path = os.path.join(tempfile.mkdtemp(), "a.lance")
        >>> _ = lance.write_dataset(pyarrow.table({"x": range(5)}), path)
        >>> loader = get_safe_loader(SafeLanceDataset(path), batch_size=2, num_workers=0, drop_last=True)
        >>> [batch["x"] for batch in loader]
        [tensor([0, 1]), tensor([2, 3])]
    """
    from torch.utils.data import DataLoader

    know_collate()
    workers = {"multiprocessing_context": "spawn", "persistent_workers": True} if num_workers else {}
    return DataLoader(dataset, batch_size=batch_size, num_workers=num_workers, **{**workers, **kwargs})
