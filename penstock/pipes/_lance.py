"""Lance data sets: opened once in each process, at one version, and never used across a fork.

Lance runs threads of its own, and locks that they hold at the moment of a fork are held in the child for ever. A child
that was forked from a process with Lance in it either works, or crashes, or hangs, by chance; so ours refuses.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from penstock.core.errors import DecodeError, ForkedProcess, MissingExtra, PenstockError

__all__ = ["LanceData", "is_lance", "loaded_lance", "naming_lance", "note_lance", "projected"]

_RUST_PLACE = re.compile(r",? ?(?:/|[A-Za-z]:\\)?[\w./\\-]+\.rs:\d+(?::\d+)?")


def note_lance() -> None:
    """Note that this process has Lance, if it has, so that a fork of it can tell."""
    if "lance" in sys.modules:
        _home()


if hasattr(os, "register_at_fork"):  # the program may load Lance itself, behind this
    os.register_at_fork(before=note_lance)


@cache
def _home() -> int:
    """Return the process in which Lance was first seen; a fork of it inherits the answer."""
    return os.getpid()


def _check_process() -> None:
    if _home() != os.getpid():
        raise ForkedProcess(
            f"Lance cannot be used here: process {os.getpid()} was forked from process {_home()}, which has Lance "
            "loaded, and Lance is not fork-safe. Start workers by 'forkserver' (the default of "
            "MultiProcessingReadingService) or 'spawn', in torch's DataLoader with "
            "multiprocessing_context='forkserver'; or use threads (ThreadingReadingService)"
        )


def loaded_lance() -> Any:
    """Return the module, where it may be used."""
    try:
        import lance
    except ImportError:
        raise MissingExtra("reading Lance data sets needs pylance: pip install 'penstock[lance]'") from None
    _check_process()
    return lance


class LanceData:
    """A Lance data set at one version. A copy of it in another process opens the same version there.

    Args:
        dataset: a path or URI, or an opened `lance.LanceDataset`, whose version counts then.
        version: a number or a tag; the latest version, found now, unless given.
        options: others of ``lance.dataset``.

    Attributes:
        uri: where it is.
        version: its number.

    Raises:
        FileNotFoundError: nothing of Lance's is there, or it has no such version.
    """

    def __init__(
        self, dataset: Any, version: int | str | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        lance = loaded_lance()
        self._options = dict(options or {})
        self._opened: Any = None
        self._fragments: list[Any] | None = None
        if isinstance(dataset, lance.LanceDataset):
            if version is not None and version != dataset.version:
                dataset = dataset.checkout_version(version)
            self._given: Any = dataset
            self._opened = dataset
            self.uri = str(dataset.uri)
        elif isinstance(dataset, (str, os.PathLike)):
            self._given = None
            self.uri = os.fspath(dataset)
            self._opened = self._at(version)
        else:
            raise TypeError(f"a path, a URI or a lance.LanceDataset is expected, got {type(dataset).__name__}")
        self.version: int = self._opened.version

    def _at(self, version: int | str | None) -> Any:
        options = {**self._options, **({} if version is None else {"version": version})}
        try:
            return loaded_lance().dataset(self.uri, **options)
        except (ValueError, OSError) as error:
            if "not found" in str(error):
                what = "no Lance data set is there" if version is None else f"it has no version {version}"
                raise FileNotFoundError(f"{self.uri}: {what}") from error
            raise DecodeError(f"{self.uri}: {said(error)}") from error

    @property
    def dataset(self) -> Any:
        """The `lance.LanceDataset`, opened in this process."""
        _check_process()
        if self._opened is None:
            self._opened = self._given or self._at(self.version)
        return self._opened

    @property
    def fragments(self) -> list[Any]:
        """Its fragments, in order."""
        if self._fragments is None:
            self._fragments = self.dataset.get_fragments()
        return self._fragments

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None, "_fragments": None}

    def __deepcopy__(self, memo: Any) -> LanceData:
        return self


def is_lance(dataset: object) -> bool:
    """Tell whether something is an opened data set of Lance's."""
    lance: Any = sys.modules.get("lance")
    return lance is not None and isinstance(dataset, lance.LanceDataset)


def projected(data: LanceData, columns: Sequence[str] | Mapping[str, str] | None, with_row_id: bool = False) -> Any:
    """Return the schema of some columns. DecodeError where one of them cannot be had."""
    with naming_lance(data.uri):
        wanted = dict(columns) if isinstance(columns, Mapping) else None if columns is None else list(columns)
        return data.dataset.scanner(
            columns=wanted, with_row_id=with_row_id, blob_handling="all_binary"
        ).projected_schema


@contextmanager
def naming_lance(what: str) -> Iterator[None]:
    """Raise what Lance says of its data as DecodeErrors that begin with ``what``; the system's errors stay."""
    import pyarrow as pa

    try:
        yield
    except (PenstockError, pa.ArrowCancelled):
        raise
    except (pa.ArrowException, ValueError, OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DecodeError(f"{what}: {said(error)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # Rust's: no Exception, and as little of a reason to end
            raise
        raise DecodeError(f"{what}: {said(error)}") from error


def said(error: BaseException) -> str:
    """Return what an error of Lance's says, without the places in Lance's own source."""
    return _RUST_PLACE.sub("", str(error)).strip() or type(error).__name__
