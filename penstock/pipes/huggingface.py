"""HuggingFaceHubReader: a data set of the Hugging Face hub, or of a local folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sized
from typing import Any

from penstock.core.context import Context
from penstock.core.errors import StateError
from penstock.core.pipe import IterDataPipe
from penstock.core.stream import State, Stream, consume, counted, sequence_stream
from penstock.pipes._huggingface import imported


class HuggingFaceHubReader(IterDataPipe[dict[str, Any]]):
    """Read a data set of Hugging Face's: yields its rows, dicts.

    Needs datasets: ``pip install 'penstock[huggingface]'``.

    Args:
        dataset: a name on the hub, a folder of files, a folder that ``Dataset.save_to_disk`` wrote, or a format
            (``json``, ``csv``, ``parquet``) with ``data_files=``.
        config_kwargs: those of `datasets.load_dataset` (``split``, ``revision``, ``data_files`` ...). Rows are streamed
            unless ``streaming=False``. The split may be left out where there is only one, or one called ``train``.

    Raises:
        MissingExtra: (when run) datasets is not installed.
        TypeError: (when run) ``dataset`` is not a str.
        ValueError: (when run) there are several splits, and none is named.

    State: that of the data set where it has one; else the index of the next row.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "rows.jsonl")
        >>> with open(path, "w") as file:
        ...     _ = file.write('{"x": 1}' + chr(10) + '{"x": 2}')
        >>> from penstock.pipes import HuggingFaceHubReader
        >>> list(HuggingFaceHubReader("json", data_files=path))
        [{'x': 1}, {'x': 2}]
    """

    def __init__(self, dataset: str, **config_kwargs: Any) -> None:
        self.dataset = dataset
        self.config_kwargs = config_kwargs

    def build(self, ctx: Context, state: State = None) -> Stream[dict[str, Any]]:
        name = ctx.name(self)
        saved = ctx.own(self, state)
        rows = _loaded(self.dataset, self.config_kwargs)
        if _is_indexed(rows):
            where = sequence_stream(range(len(rows)), saved or 0, lambda n: {name: n} if n else None)
            return where.onward((rows[i] for i in where.it), skip=where.skip)
        if not hasattr(rows, "state_dict"):
            return _counted(iter(rows), saved or 0, name)
        if saved is not None:
            rows.load_state_dict(json.loads(json.dumps(saved)))  # it keeps, and changes, what it is given
        it: Iterator[dict[str, Any]] = iter(rows)
        begun, given = counted(it)

        def tell() -> State:
            if not given():
                return state
            return {name: json.loads(json.dumps(rows.state_dict()))}

        return Stream(begun, tell, closers=(it,) if hasattr(it, "close") else ())


def _is_indexed(rows: object) -> bool:
    """Whether rows can be asked for by number; a streamed data set has ``__getitem__`` as well, but no length."""
    return isinstance(rows, Sized)


def _loaded(name: object, options: dict[str, Any]) -> Any:
    if not isinstance(name, str):
        raise TypeError(f"the name of a data set, of type str, is expected, but got {type(name).__name__}")
    datasets = imported()
    if os.path.isdir(name) and {"state.json", "dataset_dict.json"} & set(os.listdir(name)):
        found = datasets.load_from_disk(name)
        wanted = options.get("split")
        if wanted is not None and isinstance(found, dict):
            return found[wanted]
    else:
        found = datasets.load_dataset(name, **{"streaming": True, **options})
    if not isinstance(found, dict):
        return found
    if len(found) > 1 and "train" not in found:
        raise ValueError(f"{name!r} has several splits: give split= one of {', '.join(found)}")
    return found["train"] if "train" in found else next(iter(found.values()))


def _counted(it: Iterator[Any], begun: int, name: str) -> Stream[Any]:
    if begun:
        passed, seen = counted(it)
        consume(passed, begun)
        if seen() < begun:
            raise StateError(f"{name!r} gave {begun} rows when the state was saved, and now only {seen()}")
    rows, count = counted(it, begun)
    return Stream(rows, lambda: {name: count()} if count() else None, closers=(it,) if hasattr(it, "close") else ())
