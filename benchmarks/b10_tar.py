"""B10: members a second of a tar of 10,000 small files, each one read."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from benchmarks._pair import Side
from benchmarks._side import expect, rates, torchdata_09

FILES, SIZE_BYTES = 10_000, 1_000
UNIT = "files/s"


def groups(quick: bool) -> list[list[Side]]:
    files = {"files": 1_000 if quick else FILES}
    return [
        [
            Side("penstock", UNIT, penstock, files),
            Side("torchdata 0.9", UNIT, torchdata, files, peer=True),
            Side("WebDataset", UNIT, webdataset, files, peer=True),
        ]
    ]


def penstock(files: int) -> Iterator[float]:
    from penstock.pipes import IterableWrapper

    pipe = IterableWrapper([str(_tar(files))]).open_files("rb").load_from_tar()
    return _rounds(files, lambda: ((name, stream.read()) for name, stream in pipe))


def torchdata(files: int) -> Iterator[float]:
    torchdata_09()
    from torchdata.datapipes.iter import (  # type: ignore[import-not-found, unused-ignore]  # only the peers have it
        FileOpener,
        IterableWrapper,
    )

    pipe = FileOpener(IterableWrapper([str(_tar(files))]), mode="rb").load_from_tar()
    return _rounds(files, lambda: ((name, stream.read()) for name, stream in pipe))


def webdataset(files: int) -> Iterator[float]:
    from webdataset.tariterators import (  # type: ignore[import-not-found, unused-ignore]  # only the peers have it
        tar_file_expander,
        url_opener,
    )

    urls = [{"url": str(_tar(files))}]
    return _rounds(
        files, lambda: ((m["fname"], m["data"]) for m in tar_file_expander(url_opener(iter(urls))) if "fname" in m)
    )


def _rounds(files: int, members: Callable[[], Iterable[tuple[str, bytes]]]) -> Iterator[float]:
    names = [name for name, _ in members()]
    expect([Path(name).name for name in names], [_name(i) for i in range(files)], "the names, in order")

    def work() -> float:
        expect(sum(len(data) for _, data in members()), files * SIZE_BYTES, "bytes")
        return files

    return rates(work)


def _name(number: int) -> str:
    return f"{number:06}.bin"


def _tar(files: int) -> Path:
    path = Path(tempfile.gettempdir()) / f"penstock-bench-{files}.tar"
    if not path.exists():
        made = path.with_suffix(f".{os.getpid()}")
        with tarfile.open(made, "w") as tar:
            for number in range(files):
                member = tarfile.TarInfo(f"data/{_name(number)}")
                member.size = SIZE_BYTES
                tar.addfile(member, io.BytesIO(number.to_bytes(4, "big") * (SIZE_BYTES // 4)))
        made.rename(path)
    return path
