"""``penstock convert``: a data set in another format, in shards; it goes on where it was stopped."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

from penstock.cli._sinks import Sink, sink
from penstock.cli.formats import FAULTS, FORMATS, Dataset, find
from penstock.files.remote import connected
from penstock.files.saving import put
from penstock.loader2 import DataLoader2

__all__ = ["convert"]

PROGRESS = "_convert.json"  # in the folder that is written, until it is whole


def convert(
    source: str,
    target: str,
    *,
    from_format: str | None,
    to_format: str | None,
    shard_samples: int,
    compression: str,
    restart: bool,
) -> int:
    """Read a data set, write it in another format, and return the exit status.

    Each shard is written whole, and then where to go on is noted in the target's folder; the same command goes on from
    there. The note is removed in the end: a folder without it is complete.
    """
    try:
        if shard_samples < 1:
            raise ValueError(f"--shard-samples must be at least 1, got {shard_samples}")
        found = find(source, from_format)
        format = to_format or _format_of(target)
        said = {"sources": found.urls, "format": format, "shard_samples": shard_samples, "compression": compression}
        progress = _Progress(target, said, restart=restart)
        written = _run(found, sink(target, format, compression), progress, shard_samples)
    except FAULTS as error:
        print(f"penstock convert: {error}", file=sys.stderr)
        return 1
    print(f"{written} samples in {target}")
    return 0


def _run(found: Dataset, to: Sink, progress: _Progress, shard_samples: int) -> int:
    from tqdm import tqdm

    batches = found.batches() if to.columnar else None
    pipe = found.pipe() if batches is None else batches.rebatch(shard_samples)
    loader: DataLoader2[Any]
    with (
        DataLoader2(pipe) as loader,
        tqdm(total=found.count(), initial=progress.samples, unit=" samples", disable=None) as bar,
    ):
        loader.seed(0)
        if progress.state is not None:
            loader.load_state_dict(progress.state)
        it: Iterator[Any] = iter(loader)
        shards: Iterator[Any] = iter(lambda: list(islice(it, shard_samples)), []) if batches is None else it
        for samples in shards:
            count = len(samples) if batches is None else samples.num_rows
            to.write(progress.shards, progress.samples, samples)
            progress.note(count, loader.state_dict())
            bar.update(count)
        if not progress.shards:
            to.write(0, 0, found.empty())
            progress.note(0, loader.state_dict())
    progress.end()
    return progress.samples


class _Progress:
    """How far it has come, in a file in the target's folder.

    Raises:
        FileExistsError: something else is in the folder. ValueError: what was begun there has other arguments.
    """

    def __init__(self, target: str, said: dict[str, Any], *, restart: bool) -> None:
        self._fs, folder = connected(target.rstrip("/"), {})
        self._path = f"{folder}/{PROGRESS}"
        self._said = said
        self.shards = self.samples = 0
        self.state: dict[str, Any] | None = None
        if restart and self._fs.exists(folder):
            if not self._fs.exists(self._path):
                raise FileExistsError(f"{target} has no {PROGRESS}: it was not begun by this command, or is complete")
            self._fs.rm(folder, recursive=True)
        if self._fs.exists(self._path):
            self._resume(target)
        elif self._fs.exists(folder) and self._fs.ls(folder):
            raise FileExistsError(
                f"{target} is there already, without a {PROGRESS}: it is complete, or nothing that this command began; "
                "nothing was written"
            )
        else:
            self._save()

    def note(self, samples: int, state: dict[str, Any]) -> None:
        """Note that a shard was written, and where to go on."""
        self.shards += 1
        self.samples += samples
        self.state = state
        self._save()

    def end(self) -> None:
        """Say that all is written."""
        self._fs.rm(self._path)

    def _save(self) -> None:
        found = {"begun": self._said, "shards": self.shards, "samples": self.samples, "state": self.state}
        put(self._fs, self._path, json.dumps(found).encode())

    def _resume(self, target: str) -> None:
        found = json.loads(self._fs.cat_file(self._path))
        for key, value in self._said.items():
            if found["begun"][key] != value:
                raise ValueError(
                    f"{target} was begun with another {key}: {found['begun'][key]!r:.200}, now {value!r:.200}; "
                    "--restart begins anew"
                )
        self.shards, self.samples, self.state = found["shards"], found["samples"], found["state"]
        for path in self._fs.ls(os.path.dirname(self._path), detail=False):
            if path.endswith(".part"):  # what was being written when the process was killed
                self._fs.rm(path)


def _format_of(target: str) -> str:
    for format in FORMATS:
        if target.rstrip("/").lower().endswith((f".{format}", f"-{format}", f"/{format}", f"_{format}")):
            return format
    raise ValueError(f"{target}: its name tells no format; say it with --to")
