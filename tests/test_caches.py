"""in_memory_cache and on_disk_cache ... end_caching: read or made once, the same afterwards, also across a crash."""

from __future__ import annotations

import gc
import hashlib
import io
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from penstock import DataLoader2, MultiProcessingReadingService
from penstock.core.pipe import IterDataPipe
from penstock.pipes import IterableWrapper
from penstock.pipes._sizes import size_bytes
from running import context, copied, restores_at_every_index, run, trip


def wrap(n: int) -> IterableWrapper[int]:
    return IterableWrapper(range(n))


def counting(n: int, read: list[int]) -> IterDataPipe[int]:
    return wrap(n).map(lambda x: read.append(x) or x)  # type: ignore[func-returns-value]


# ----------------------------------------------------------------------------------------------------- in_memory_cache


def test_later_epochs_repeat_the_first_and_read_nothing() -> None:
    read: list[int] = []
    pipe = counting(100, read).shuffle(buffer_size=30).in_memory_cache()
    first = run(pipe, epoch=1)
    assert sorted(first) == list(range(100)) and len(read) == 100
    assert run(pipe, epoch=2) == run(pipe, epoch=3, seed=9) == first
    assert len(read) == 100


def test_a_pass_that_is_left_early_is_not_kept() -> None:
    read: list[int] = []
    pipe = counting(100, read).shuffle(buffer_size=30).in_memory_cache()
    for taken, _ in enumerate(pipe):
        if taken == 98:
            break
    read.clear()
    second = run(pipe, epoch=2)
    assert len(read) == 100
    assert run(pipe, epoch=3) == second != run(copied(pipe), epoch=1)
    assert len(read) == 100


def test_items_of_one_epoch_are_those_of_the_source() -> None:
    source = wrap(70).shuffle(buffer_size=20)
    assert run(source.in_memory_cache()) == run(source)
    for n in (0, 1, 31, 32, 33, 64):
        pipe = wrap(n).in_memory_cache()
        assert run(pipe) == run(pipe, epoch=7) == list(range(n))


def test_a_cycle_reads_its_source_once_and_repeats_it() -> None:
    read: list[int] = []
    pipe = counting(10, read).shuffle().in_memory_cache().cycle(3)
    items = run(pipe)
    assert items == items[:10] * 3
    assert len(read) == 10
    restores_at_every_index(pipe)


def test_memory_is_bounded_by_the_size_of_the_items_and_the_rest_is_read_again() -> None:
    read: list[int] = []
    pipe = counting(40, read).map(lambda x: np.full(100_000, x, dtype=np.uint8)).in_memory_cache(size=1)
    first = [int(item[0]) for item in pipe]
    read.clear()
    assert [int(item[0]) for item in pipe] == first == list(range(40))
    assert read[-30:] == list(range(10, 40))  # ten of 100 kB fit into 1 MB
    assert len(read) <= 40
    held = next(iter(pipe._memory.held.values()))  # type: ignore[attr-defined]
    assert held.kept is not None and sum(item.nbytes for item in held.kept.items) <= 1024 * 1024


def test_no_room_at_all_still_repeats_the_first_pass() -> None:
    pipe = wrap(50).shuffle(buffer_size=20).in_memory_cache(size=0)
    first = run(pipe, epoch=1)
    assert run(pipe, epoch=2) == first != run(wrap(50).shuffle(buffer_size=20), epoch=2)
    with pytest.raises(ValueError, match="negative"):
        wrap(3).in_memory_cache(-1)


def test_memory_that_a_broken_pass_took_is_given_back() -> None:
    pipe: Any = IterableWrapper([bytes(300_000)] * 3).in_memory_cache(size=1)
    for _ in range(5):
        for _ in zip(range(2), pipe, strict=False):
            pass
        gc.collect()
    assert list(map(len, pipe)) == [300_000] * 3
    (held,) = pipe._memory.held.values()
    assert held.kept is not None and len(held.kept.items) == 3


def test_two_passes_side_by_side_are_both_right() -> None:
    pipe = wrap(70).shuffle(buffer_size=20).in_memory_cache()
    plain = wrap(70).shuffle(buffer_size=20)
    a, b = context(pipe, seed=1).build(pipe), context(pipe, seed=2).build(pipe)
    pairs = list(zip(a.it, b.it, strict=True))
    assert [x for x, _ in pairs] == run(plain, seed=1)
    assert [y for _, y in pairs] == run(plain, seed=2)
    assert run(pipe, seed=3) in (run(plain, seed=1), run(plain, seed=2))


def test_shares_of_the_work_are_kept_apart() -> None:
    pipe = wrap(20).sharding_filter().in_memory_cache()
    for epoch in (1, 2):
        assert [run(pipe, count=2, index=i, epoch=epoch) for i in (0, 1)] == [[*range(0, 20, 2)], [*range(1, 20, 2)]]
    assert run(pipe, epoch=3) == list(range(20))


def test_its_length_is_the_sources_or_known_once_it_is_loaded() -> None:
    assert len(wrap(7).in_memory_cache()) == 7
    pipe = wrap(7).filter(lambda x: x % 2).in_memory_cache()
    with pytest.raises(TypeError, match="doesn't have valid length until the cache is loaded"):
        len(pipe)
    assert list(pipe) == [1, 3, 5]
    assert len(pipe) == 3


def test_a_copy_and_a_pickled_pipe_begin_empty() -> None:
    pipe = wrap(7).filter(lambda x: x % 2).in_memory_cache()
    list(pipe)
    for other in (copied(pipe), pipe.named("other"), pipe.with_sources(wrap(9).filter(bool))):
        with pytest.raises(TypeError, match="until the cache is loaded"):
            len(other)
    assert list(pipe.with_sources(wrap(9))) == list(range(9))
    assert list(pipe) == [1, 3, 5]


EPOCHS = (1, 2, 3)
CACHED = {
    "shuffled": lambda: wrap(70).shuffle(buffer_size=20).in_memory_cache(),
    "little room": lambda: wrap(70).map(lambda x: bytes([x]) * 50_000).shuffle(buffer_size=20).in_memory_cache(1),
    "no room": lambda: wrap(40).shuffle(buffer_size=20).in_memory_cache(0),
    "one piece": lambda: wrap(32).shuffle(buffer_size=9).in_memory_cache(),
    "of parts": lambda: wrap(20).shuffle().flatmap(lambda x: [x] * (x % 4)).in_memory_cache(),
    "two caches": lambda: wrap(40).shuffle(buffer_size=9).in_memory_cache().shuffle(buffer_size=9).in_memory_cache(),
    "behind it a shuffle": lambda: wrap(40).shuffle(buffer_size=9).in_memory_cache().shuffle(buffer_size=7).batch(3),
    "of a fork": lambda: forked(),
}


def forked() -> Any:
    a, b = wrap(60).shuffle(buffer_size=9).fork(2, buffer_size=20)
    return a.in_memory_cache().zip(b)


@pytest.mark.parametrize("name", CACHED)
def test_a_run_of_three_epochs_goes_on_in_a_fresh_process_wherever_it_was_interrupted(name: str) -> None:
    make = CACHED[name]
    pipe = make()
    whole = {epoch: run(pipe, epoch=epoch) for epoch in EPOCHS}
    for interrupted in EPOCHS:
        pipe = make()
        for epoch in range(1, interrupted):
            run(pipe, epoch=epoch)
        stream = context(pipe, epoch=interrupted).build(pipe)
        states, items = [trip(stream.state())], []
        for item in stream.it:
            items.append(item)
            states.append(trip(stream.state()))
        for i in range(0, len(states), 1 if name == "shuffled" else 5):
            fresh = copied(make())
            restored = context(fresh, epoch=interrupted).build(fresh, states[i])
            assert trip(restored.state()) == states[i]
            assert [*map(_plain, items[:i]), *map(_plain, restored.it)] == whole[interrupted], f"from {i} on"
            restored.close()
            for epoch in range(interrupted + 1, 4):
                assert run(fresh, epoch=epoch) == whole[epoch], f"epoch {epoch}, after an interruption at {i}"


def _plain(item: Any) -> Any:
    return list(item) if isinstance(item, (list, tuple)) else item


@pytest.mark.parametrize("name", CACHED)
def test_it_restores_at_every_index_from_memory_too(name: str) -> None:
    pipe = CACHED[name]()
    restores_at_every_index(pipe)
    restores_at_every_index(pipe, epoch=9)
    restores_at_every_index(pipe, epoch=9)


def test_restoring_in_a_fresh_process_reads_at_most_32_items_again() -> None:
    read: list[int] = []
    pipe = counting(1000, read).in_memory_cache()
    run(pipe, epoch=1)
    stream = context(pipe, epoch=2).build(pipe)
    for _ in range(900):
        next(stream.it)
    state = trip(stream.state())
    other: list[int] = []
    fresh = counting(1000, other).in_memory_cache()
    restored = context(fresh, epoch=2).build(fresh, state)
    assert next(restored.it) == 900
    assert 1 <= len(other) <= 33


def test_an_error_while_filling_names_the_pipe_and_keeps_nothing() -> None:
    broken = [True]

    def fail(x: int) -> int:
        if x == 5 and broken:
            raise KeyError("boom")
        return x

    pipe = wrap(9).map(fail).in_memory_cache()
    with pytest.raises(KeyError) as raised:
        list(pipe)
    assert "raised in pipe 'map'" in "\n".join(raised.value.__notes__)
    broken.clear()
    assert list(pipe) == list(pipe) == list(range(9))


def test_worker_processes_keep_their_own_from_epoch_to_epoch(tmp_path: Path) -> None:
    log = tmp_path / "read"

    def note(x: int) -> int:
        with log.open("a") as file:
            file.write(f"{x}\n")
        return x

    pipe = wrap(20).sharding_filter().map(note).in_memory_cache()
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as loader:
        loader.seed(1)
        epochs = [list(loader) for _ in range(3)]
    assert epochs == [list(range(20))] * 3
    assert sorted(map(int, log.read_text().split())) == list(range(20))


@pytest.mark.parametrize(
    ("item", "least"),
    [
        (np.zeros(10_000), 80_000),
        (torch.zeros(10_000), 40_000),
        (torch.eye(1000).to_sparse(), 20_000),  # which has no ``nbytes``
        (b"x" * 5000, 5000),
        ("x" * 5000, 5000),
        ({"a": [np.zeros(1000), (b"x" * 1000,)]}, 9000),
        (memoryview(bytes(5000)), 5000),
        (np.array(["x" * 1000] * 3 + ["y" * 1000], dtype=object), 2000),
        (type("Thing", (), {})(), 10),
        (io.BytesIO(bytes(5000)), 5000),
        ([1] * 1000, 8000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_items_are_measured_with_all_that_is_in_them(item: Any, least: int) -> None:
    assert least <= size_bytes(item) < 1.5 * least + 500


def test_measuring_follows_attributes_and_counts_nothing_twice() -> None:
    class Sample:
        __slots__ = ("__dict__", "label")

        def __init__(self) -> None:
            self.label = b"x" * 1000
            self.image = np.zeros(1000)
            self.me = self

    assert 9000 < size_bytes(Sample()) < 10_500

    class Refuses:
        def __init__(self) -> None:
            self.image = np.zeros(1000)

        @property
        def nbytes(self) -> int:
            raise ValueError("not now")

    assert 8000 < size_bytes(Refuses()) < 9_500
    big = np.zeros(1000)
    assert size_bytes([big] * 100) < 8000 + 1500


# ------------------------------------------------------------------------------------------------------- on_disk_cache


class Section:
    """What the section of a cache does: text of an item, and a note that it ran."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ran: list[Any] = []

    def path(self, x: Any) -> str:
        return str(self.folder / f"{x}.txt")

    def __call__(self, x: Any) -> Any:
        self.ran.append(x)
        return x, f"text of {x}"

    def pipe(self, n: int = 5, **options: Any) -> Any:
        return wrap(n).on_disk_cache(self.path).map(self).end_caching("w", same_filepath_fn=True, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_each_file_is_made_once_and_paths_come_in_the_sources_order(tmp_path: Path) -> None:
    section = Section(tmp_path / "made" / "here")
    paths = [section.path(x) for x in range(5)]
    section.folder.mkdir(parents=True)
    Path(paths[3]).write_text("was here")
    assert list(section.pipe()) == paths
    assert section.ran == [0, 1, 2, 4]
    assert list(section.pipe()) == paths
    assert section.ran == [0, 1, 2, 4]
    assert [Path(path).read_text() for path in paths[2:]] == ["text of 2", "was here", "text of 4"]
    assert names(tmp_path) == [f"{x}.txt" for x in range(5)]


def test_without_filepath_fn_the_item_is_the_path(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    assert list(IterableWrapper([path]).on_disk_cache().map(lambda p: (p, b"data")).end_caching()) == [path]
    assert Path(path).read_bytes() == b"data"


def test_it_restores_at_every_index_whatever_is_cached(tmp_path: Path) -> None:
    section = Section(tmp_path)
    restores_at_every_index(section.pipe())
    for path in (section.path(1), section.path(3)):
        Path(path).unlink()
    restores_at_every_index(section.pipe().shuffle(buffer_size=2))
    several = wrap(4).on_disk_cache(lambda x: [section.path(f"{x}a"), section.path(f"{x}b")])
    restores_at_every_index(
        several.flatmap(lambda x: [section(f"{x}a"), section(f"{x}b")]).end_caching("w", section.path)
    )


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_an_item_may_have_several_files(kind: Any, tmp_path: Path) -> None:
    section = Section(tmp_path)
    pipe = (
        wrap(2)
        .on_disk_cache(lambda x: kind([section.path(f"{x}a"), section.path(f"{x}b")]))
        .flatmap(lambda x: [section(f"{x}b"), section(f"{x}a")])
        .end_caching("w", section.path)
    )
    expected = [section.path(name) for name in ("0a", "0b", "1a", "1b")]
    assert list(pipe) == list(pipe) == expected
    assert section.ran == ["0b", "0a", "1b", "1a"]
    Path(section.path("1b")).unlink()
    assert list(pipe) == expected
    assert section.ran[4:] == ["1b", "1a"]


def test_files_that_only_the_section_knows_are_listed_beside_the_declared_path(tmp_path: Path) -> None:
    section = Section(tmp_path)
    pipe = (
        wrap(2)
        .on_disk_cache(section.path)
        .flatmap(lambda x: [section(f"{x}/{part}") for part in range(x + 1)])
        .end_caching("w", section.path)
    )
    expected = [section.path(name) for name in ("0/0", "1/0", "1/1")]
    assert list(pipe) == list(pipe) == expected
    assert section.ran == ["0/0", "1/0", "1/1"]
    assert Path(section.path(1) + ".torchdata_list").read_text() == "".join(f"{path}\n" for path in expected[1:])
    Path(expected[2]).unlink()
    assert list(pipe) == expected
    assert section.ran[3:] == ["1/0", "1/1"]


def test_a_declared_file_among_others_is_listed_too(tmp_path: Path) -> None:
    section = Section(tmp_path)
    pipe = (
        IterableWrapper(["a"])
        .on_disk_cache(section.path)
        .flatmap(lambda x: [section(f"{x}1"), section(x), section(f"{x}2")])
        .end_caching("w", section.path)
    )
    assert list(pipe) == list(pipe) == [section.path(name) for name in ("a1", "a", "a2")]
    assert len(section.ran) == 3


def test_a_list_that_torchdata_left_serves(tmp_path: Path) -> None:
    section = Section(tmp_path)
    files = [tmp_path / "x", tmp_path / "y"]
    for file in files:
        file.write_text("old")
    Path(section.path(0) + ".torchdata_list").write_text("\n".join(map(str, files)))
    assert list(section.pipe(1)) == list(map(str, files))
    assert section.ran == []


@pytest.mark.parametrize("hash_type", ["sha256", "md5"])
def test_a_file_with_another_hash_is_made_anew(hash_type: str, tmp_path: Path) -> None:
    section = Section(tmp_path)
    digest = hashlib.new(hash_type, b"text of 0").hexdigest()
    holder = wrap(2).on_disk_cache(section.path, {section.path(0): digest}, hash_type)
    pipe = holder.map(section).end_caching("w", same_filepath_fn=True)
    Path(section.path(0)).write_text("torn")
    Path(section.path(1)).write_text("has no hash")
    assert list(pipe) == list(pipe) == [section.path(0), section.path(1)]
    assert section.ran == [0]
    assert Path(section.path(0)).read_text() == "text of 0"


def test_a_section_that_makes_a_file_of_another_hash_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    section = Section(tmp_path)
    pipe = wrap(1).on_disk_cache(section.path, {section.path(0): "0" * 64}).map(section)
    with pytest.raises(RuntimeError, match="does not match the expected hash"):
        list(pipe.end_caching("w", same_filepath_fn=True))
    assert names(tmp_path) == []
    with pytest.raises(ValueError, match="Invalid hash_type"):
        wrap(1).on_disk_cache(section.path, {}, "crc")


def test_a_file_that_an_extra_check_rejects_is_made_anew(tmp_path: Path) -> None:
    section = Section(tmp_path)
    Path(section.path(0)).write_text("")
    holder = wrap(2).on_disk_cache(section.path, extra_check_fn=lambda path: os.path.getsize(path) > 0)
    assert len(list(holder.map(section).end_caching("w", same_filepath_fn=True))) == 2
    assert section.ran == [0, 1]


DATA: dict[str, Any] = {
    "bytes": lambda: b"ab",
    "text": lambda: "ab",
    "a file": lambda: io.BytesIO(b"ab"),
    "a text file": lambda: io.StringIO("ab"),
    "pieces": lambda: [b"a", b"b"],
    "a generator": lambda: (piece for piece in ("a", "b")),
    "a memoryview": lambda: memoryview(b"ab"),
}


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("mode", ["wb", "w", "t", "wt"])
def test_data_may_be_bytes_or_text_or_a_stream(name: str, mode: str, tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    cached = IterableWrapper([path]).on_disk_cache().map(lambda p: (p, DATA[name]())).end_caching(mode)
    assert [Path(p).read_bytes() for p in cached] == [b"ab"]


def test_skip_read_reads_from_nothing(tmp_path: Path) -> None:
    holder = IterableWrapper([str(tmp_path / "a")]).on_disk_cache()
    with pytest.raises(TypeError, match="bytes or text"):
        list(holder.map(lambda p: (p, io.BytesIO(b"ab"))).end_caching(skip_read=True))
    assert names(tmp_path) == []
    assert len(list(holder.map(lambda p: (p, b"ab")).end_caching(skip_read=True))) == 1


def test_a_stream_is_closed_when_it_has_been_read(tmp_path: Path) -> None:
    stream = io.BytesIO(b"ab")
    list(IterableWrapper([str(tmp_path / "a")]).on_disk_cache().map(lambda p: (p, stream)).end_caching())
    assert stream.closed


def test_a_section_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def torn(x: str) -> Any:
        yield b"half"
        raise OSError("connection lost")

    path = str(tmp_path / "a")
    pipe = IterableWrapper([path]).on_disk_cache().map(lambda p: (p, torn(p))).end_caching()
    with pytest.raises(OSError, match="connection lost") as raised:
        list(pipe)
    assert "raised in pipe 'end_caching'" in "\n".join(raised.value.__notes__)
    assert names(tmp_path) == []
    assert list(IterableWrapper([path]).on_disk_cache().map(lambda p: (p, b"")).end_caching()) == [path]


def test_an_error_in_the_section_names_its_pipe(tmp_path: Path) -> None:
    pipe = wrap(2).on_disk_cache(lambda x: str(tmp_path / str(x))).map(lambda x: 1 // x).end_caching()
    with pytest.raises(ZeroDivisionError) as raised:
        list(pipe)
    assert "raised in pipe 'map'" in "\n".join(raised.value.__notes__)
    assert names(tmp_path) == []


def test_a_declared_file_that_the_section_does_not_make_is_an_error(tmp_path: Path) -> None:
    section = Section(tmp_path)
    for made in (["a"], []):
        pipe = (
            IterableWrapper(["x"])
            .on_disk_cache(lambda x: [section.path("a"), section.path("b")])
            .flatmap(lambda x, made=made: [section(name) for name in made])
            .end_caching("w", section.path)
        )
        with pytest.raises(RuntimeError, match=r"made no file for .*b\.txt.* declared for the item 'x'"):
            list(pipe)
    with pytest.raises(RuntimeError, match=r"made no file for .*it made nothing"):
        list(section.pipe(1).datapipe.filter(lambda x: False).end_caching("w"))
    assert names(tmp_path) == []


def test_caches_in_sequence_work(tmp_path: Path) -> None:
    first, second = Section(tmp_path / "first"), Section(tmp_path / "second")
    pipe = first.pipe(3).map(lambda path: Path(path).stem).on_disk_cache(second.path).map(second)
    pipe = pipe.end_caching("w", same_filepath_fn=True)
    assert list(pipe) == list(pipe) == [second.path(x) for x in range(3)]
    assert (first.ran, second.ran) == ([0, 1, 2], ["0", "1", "2"])
    restores_at_every_index(pipe)


def test_what_ends_no_cache_or_ends_one_twice_is_refused(tmp_path: Path) -> None:
    section = Section(tmp_path)
    with pytest.raises(RuntimeError, match="Expected `OnDiskCacheHolder` existing in pipeline when `end_caching` is"):
        wrap(3).end_caching()
    with pytest.raises(RuntimeError, match="`end_caching` can only be invoked once after `OnDiskCacheHolder`"):
        section.pipe().map(str).end_caching()
    with pytest.raises(ValueError, match="`filepath_fn` is mutually exclusive with `same_filepath_fn`"):
        wrap(3).on_disk_cache().end_caching(filepath_fn=str, same_filepath_fn=True)
    with pytest.raises(ValueError, match="mode"):
        wrap(3).on_disk_cache().end_caching("r")
    with pytest.raises(RuntimeError, match="Please call `end_caching"):
        list(wrap(3).on_disk_cache().map(str))
    with pytest.raises(TypeError, match="path"):
        list(wrap(3).on_disk_cache().map(str).end_caching())
    with pytest.raises(TypeError, match="valid length"):
        len(section.pipe())


# ----------------------------------------------------------------------------------------- on_disk_cache, and processes


def slow(path: str) -> tuple[str, str]:
    with open(f"{path}.ran-in-{os.getpid()}", "w"):
        pass
    time.sleep(0.5)
    return path, "text"


def same(path: str) -> str:
    return path


def single(items: list[Any]) -> Any:
    (item,) = items
    return item


def test_of_several_processes_one_makes_the_file_and_all_get_it(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    pipe: Any = IterableWrapper([path]).on_disk_cache(same).map(slow).end_caching("t", same, timeout=120)
    pipe = pipe.open_files().readlines()
    pickle.dumps(pipe)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create 4 worker processes")  # more than there are CPUs
        loader = torch.utils.data.DataLoader(
            pipe, num_workers=4, multiprocessing_context="spawn", batch_size=1, collate_fn=single
        )
        assert list(loader) == [(path, "text")] * 4
    found = names(tmp_path)
    assert len(found) == 2
    assert found[0] == "file" and found[1].startswith("file.ran-in-")


def test_of_several_threads_one_makes_the_file(tmp_path: Path, no_leftovers: None) -> None:
    section = Section(tmp_path)
    together = threading.Barrier(4)

    def work() -> None:
        together.wait(20)
        for _ in section.pipe(20):
            pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(section.ran) == list(range(20))
    assert len(names(tmp_path)) == 20


HOLDS = """
import os, sys, time
from penstock.pipes import IterableWrapper

def slow(path):
    def pieces():
        yield b"half of it"
        print("holds", flush=True)
        time.sleep(float(sys.argv[2]))
        yield b", and the rest"
    return path, pieces()

print(list(IterableWrapper([sys.argv[1]]).on_disk_cache().map(slow).end_caching()), flush=True)
"""


def ended(process: subprocess.Popen[str]) -> None:
    process.wait(20)
    assert process.stdout is not None
    process.stdout.close()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Any]:
    """Starts a process that holds the lock of ``tmp_path / "file"`` for so many seconds."""
    started: list[subprocess.Popen[str]] = []

    def start(seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDS, str(tmp_path / "file"), str(seconds)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout is not None
        assert started[-1].stdout.readline() == "holds\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        ended(process)


def cached(path: str, **options: Any) -> Any:
    return IterableWrapper([path]).on_disk_cache().map(lambda p: (p, b"made here")).end_caching(**options)


def test_when_the_process_that_makes_a_file_is_killed_another_takes_over(
    tmp_path: Path, holder: Any, no_leftovers: None
) -> None:
    path = tmp_path / "file"
    process = holder(60)
    assert not path.exists()
    threading.Timer(0.3, process.send_signal, [signal.SIGKILL]).start()
    began = time.monotonic()
    assert list(cached(str(path))) == [str(path)]
    assert time.monotonic() - began < 20
    assert path.read_bytes() == b"made here"
    assert names(tmp_path) == ["file"]
    ended(process)


def test_whoever_waits_gets_the_file_that_the_other_makes(tmp_path: Path, holder: Any, no_leftovers: None) -> None:
    path = tmp_path / "file"
    process = holder(0.5)
    assert list(cached(str(path))) == [str(path)]
    assert path.read_bytes() == b"half of it, and the rest"
    ended(process)
    assert names(tmp_path) == ["file"]


def test_what_a_crash_left_is_not_taken_for_the_file(tmp_path: Path, holder: Any) -> None:
    path = tmp_path / "file"
    process = holder(60)
    process.kill()
    ended(process)
    assert not path.exists()
    assert names(tmp_path) != []  # the torn file, and the lock
    assert list(cached(str(path))) == [str(path)]
    assert path.read_bytes() == b"made here"
    assert names(tmp_path) == ["file"]


def test_waiting_longer_than_the_timeout_is_an_error_that_says_what_to_do(
    tmp_path: Path, holder: Any, no_leftovers: None
) -> None:
    path = str(tmp_path / "file")
    process = holder(60)
    began = time.monotonic()
    with pytest.raises(Exception, match=r"OnDiskCache Exception: .*file .*0\.3 seconds.*[Rr]aise the timeout"):
        list(cached(path, timeout=0.3))
    assert time.monotonic() - began < 20
    process.kill()
    ended(process)
    assert list(cached(path)) == [path]
