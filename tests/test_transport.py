"""The transport: what goes in comes out, and what is lent stays what it was."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService
from penstock.core.errors import TransportError
from penstock.transport.arena import RECORD_BYTES, Arena, anonymous_file
from penstock.transport.codec import encode, encode_error
from penstock.transport.payload import load_payload, payload_file
from penstock.transport.receiver import Receiver
from penstock.transport.sender import Sender
from penstock.transport.slots import Slots

PAGE = 4096
PIXELS = 48 << 10  # float64: a batch of 384 KB, well over what goes through the socket


# ------------------------------------------------------------------------------------------------------------- slots


@given(
    pages=st.integers(1, 40),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 12 * PAGE), st.integers(0, 1000)), max_size=60),
)
@settings(max_examples=150, deadline=None)
def test_slots_never_overlap_and_all_room_comes_back(pages: int, steps: list[tuple[bool, int, int]]) -> None:
    slots = Slots(PAGE, PAGE * (pages + 1))
    free = set(range(1, pages + 1))  # the model: one entry a page
    taken: dict[int, set[int]] = {}
    for take, size, choice in steps:
        if take:
            need = max(1, -(-size // PAGE))
            fitting = [page for page in sorted(free) if set(range(page, page + need)) <= free]
            offset = slots.take(size)
            assert offset == (fitting[0] * PAGE if fitting else None), "first fit, and only where there is room"
            if offset is not None:
                mine = set(range(offset // PAGE, offset // PAGE + need))
                free -= mine
                taken[offset] = mine
                assert slots.size_of(offset) == need * PAGE
        elif taken:
            offset = sorted(taken)[choice % len(taken)]
            slots.give(offset)
            free |= taken.pop(offset)
    for offset in taken:
        slots.give(offset)
    assert slots.take(pages * PAGE) == PAGE, "free neighbours become one"


# ------------------------------------------------------------------------------------------------------------- wire


class Pair:
    """Both ends of one socket and one arena, in one process: the worker's end runs in a thread where it may wait."""

    def __init__(self, size: int, *, memfd: bool = True) -> None:
        left, right = socket.socketpair()
        fd = Arena.create(size, memfd=memfd)
        self.sender = Sender(right, Arena(fd))
        self.receiver = Receiver(left, Arena(fd), 4)
        os.close(fd)
        self.sockets = left, right

    def through(self, item: object) -> Any:
        """Send an item and return what arrives."""
        thread = threading.Thread(target=self.sender.send, args=(0, 1, item))
        thread.start()
        message = self.receiver.receive(1, 10.0)
        thread.join(10)
        assert message is not None
        return message.content

    def free_bytes(self) -> int:
        """How much of the arena is free, once all acks have arrived."""
        self.receiver.receive(1, 0.0)
        while self.sender.ahead:
            self.sender.receive(wait=True)
        self.sender.receive(wait=False)
        return sum(end - begin for begin, end in self.sender._slots._free)


@contextmanager
def pair(size: int = 32 << 20, *, memfd: bool = True) -> Iterator[Pair]:
    made = Pair(size, memfd=memfd)
    try:
        yield made
    finally:
        for sock in made.sockets:
            sock.close()


def test_what_another_thread_takes_in_is_not_waited_for() -> None:
    """An ack may arrive between the question whether there is room and the wait for it, and go to the other thread."""
    count, limit = 3_000, 4
    with pair() as there:
        sender = there.sender

        def work() -> None:
            for number in range(count):
                sender.wait_until(lambda: sender.ahead < limit)
                sender.send(0, 1, number)

        ended = threading.Event()

        def look() -> None:
            while not ended.is_set():
                sender.is_ahead(0.001)

        threads = [threading.Thread(target=each, daemon=True) for each in (work, look)]
        for thread in threads:
            thread.start()
        for number in range(count):
            message = there.receiver.receive(1, 10.0)
            assert message is not None and message.content == number
        ended.set()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()


DTYPES = "?bBhHiIlLqQefdgFDG"
ARRAYS: dict[str, Callable[[], np.ndarray[Any, Any]]] = {
    **{f"dtype {c}": lambda c=c: np.arange(24).astype(c).reshape(2, 3, 4) for c in DTYPES},  # type: ignore[misc]
    "datetime64": lambda: np.array(["2020-01-01", "2021-02-03"], "datetime64[ms]"),
    "timedelta64": lambda: np.arange(5).astype("timedelta64[s]"),
    "strings": lambda: np.array(["a", "Übung", ""]),
    "bytes": lambda: np.array([b"a", b"bc"]),
    "objects": lambda: np.array([{"a": 1}, None, "x"], dtype=object),
    "structured": lambda: np.array([(1, 2.5), (3, 4.5)], dtype=[("a", "<i4"), ("b", "<f8")]),
    "big endian": lambda: np.arange(5, dtype=">i4"),
    "F-order": lambda: np.asfortranarray(np.arange(60_000.0).reshape(200, 300)),
    "not contiguous": lambda: np.arange(200_000)[::3],
    "reversed": lambda: np.arange(50_000)[::-1],
    "transposed": lambda: np.arange(60_000).reshape(20, 30, 100).transpose(2, 0, 1),
    "0-d": lambda: np.array(3.5),
    "empty": lambda: np.empty((0, 7), np.int16),
    "empty F": lambda: np.empty((3, 0), np.float32, order="F"),
    "read-only": lambda: np.frombuffer(bytes(range(256)) * 1000, np.uint8),
    "large": lambda: np.random.default_rng(0).random((100, 1000)),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("copies", [1, 40], ids=["inline", "in a slot"])
def test_arrays_arrive_as_they_were_and_writable(name: str, copies: int) -> None:
    filler = np.full(copies * 4000, 7, np.uint32)  # 40 copies: 640 KB, so that a slot is used
    array = ARRAYS[name]()
    with pair() as ends:
        arrived, rest = ends.through((array, filler))
        assert arrived.dtype == array.dtype and arrived.shape == array.shape
        np.testing.assert_array_equal(arrived, array)
        assert (arrived.flags.f_contiguous, arrived.flags.c_contiguous) == (
            (True, False) if name == "F-order" else (arrived.flags.f_contiguous, arrived.flags.c_contiguous)
        )
        assert arrived.flags.writeable and rest.flags.writeable
        arrived[...] = arrived[...]
        rest += 1
        assert (filler == 7).all()


def test_nested_items_arrive_as_they_were() -> None:
    item = {
        "image": np.arange(100_000, dtype=np.uint8),
        "meta": {"name": "x" * 10, "boxes": [np.ones((3, 4), np.float32), np.zeros(0)], "none": None},
        "raw": b"\x00\xff" * 50_000,
        "small": bytearray(b"abc"),
        ("a", 1): (1, 2.5, True, {"set"}, frozenset({1})),
        "text": "Ü" * 100_000,
    }
    with pair() as ends:
        arrived = ends.through(item)
    assert arrived.keys() == item.keys()
    np.testing.assert_array_equal(arrived["image"], item["image"])
    np.testing.assert_array_equal(arrived["meta"]["boxes"][0], np.ones((3, 4)))
    for key in ("raw", "small", ("a", 1), "text"):
        assert arrived[key] == item[key] and type(arrived[key]) is type(item[key])


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 131_072, 262_144, 262_145, 1_000_000, 3_000_000])
def test_any_size_arrives_whole(size: int) -> None:
    """Around the limits of what goes inline, and of one read of the socket."""
    data = np.random.default_rng(size).integers(0, 255, size, np.uint8)
    with pair() as ends:
        for item in (data.tobytes(), data, [data.tobytes(), data], [data[: size // 2], data[size // 2 :]]):
            arrived = ends.through(item)
            assert digest(arrived) == digest(item)


def test_arrow_tables_arrive_as_they_were() -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"a": range(50_000), "b": [f"s{i}" for i in range(50_000)], "c": [None, 1.5] * 25_000})
    with pair() as ends:
        assert ends.through(table).equals(table)
        assert ends.through({"t": table.slice(100, 5)})["t"].equals(table.slice(100, 5))


def test_torch_tensors_arrive_as_they_were_and_writable() -> None:
    import torch

    tensors = {
        "float": torch.rand(3, 50_000),
        "bfloat16": torch.rand(40_000).to(torch.bfloat16),
        "small bfloat16": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "half": torch.rand(5).half(),
        "bool": torch.tensor([True, False]),
        "complex": torch.rand(4, dtype=torch.complex64),
        "conj": torch.rand(4, dtype=torch.complex64).conj(),
        "0-d": torch.tensor(7),
        "0-d bfloat16": torch.tensor(0.5, dtype=torch.bfloat16),
        "empty": torch.empty(0, 3, dtype=torch.int16),
        "transposed": torch.rand(100, 300).T,
        "strided": torch.arange(100_000)[::7],
        "uint8": torch.arange(200, dtype=torch.uint8),
    }
    with pair() as ends:
        for name, tensor in tensors.items():
            arrived = ends.through({"t": tensor})["t"]
            assert arrived.dtype == tensor.dtype and arrived.shape == tensor.shape, name
            assert torch.equal(arrived, tensor), name
            arrived.add_(1) if arrived.dtype != torch.bool else arrived.logical_not_()
        kept = ends.through(torch.rand(5, requires_grad=True))
        assert kept.requires_grad and kept.is_leaf
        parameter = ends.through(torch.nn.Parameter(torch.ones(3)))
        assert isinstance(parameter, torch.nn.Parameter)
        sparse = torch.eye(3).to_sparse()
        assert torch.equal(ends.through(sparse).to_dense(), torch.eye(3))


class TwoArguments(Exception):
    def __init__(self, path: str, code: int) -> None:
        super().__init__(f"{path} gave {code}")
        self.path, self.code = path, code


class KeywordOnly(ValueError):
    def __init__(self, *, reason: str) -> None:
        super().__init__()
        self.reason = reason

    def __str__(self) -> str:
        return f"because {self.reason}"


class WithAnArray(Exception):
    pass


class WithALock(Exception):
    def __init__(self) -> None:
        super().__init__("locked")
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("plain"),
        KeyError("k"),
        TwoArguments("file", 3),
        KeywordOnly(reason="so"),
        FileNotFoundError(2, "No such file", "/a/b"),
        OSError("only text"),
        UnicodeDecodeError("utf-8", b"ab\xff", 2, 3, "invalid start byte"),
        pytest.importorskip("json").JSONDecodeError("bad", '{"a": ', 6),
        ExceptionGroup("many", [ValueError(1), TypeError(2)]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_arrives_with_its_type_its_words_and_its_notes(error: Exception) -> None:
    error.add_note("said before")
    function, arguments = pickle.loads(encode_error(error, "the traceback"))
    again = function(*arguments)
    assert type(again) is type(error) and str(again) == str(error)
    assert list(map(repr, again.args)) == list(map(repr, error.args))
    assert again.__notes__ == ["said before", "the traceback"]
    for name in ("path", "code", "reason", "filename", "errno", "object", "start", "lineno"):
        assert getattr(again, name, None) == getattr(error, name, None)


def test_an_exception_that_holds_an_array_keeps_it() -> None:
    error = WithAnArray("bad", np.arange(5))
    function, arguments = pickle.loads(encode_error(error, "tb"))
    np.testing.assert_array_equal(function(*arguments).args[1], np.arange(5))


def test_an_exception_that_cannot_be_pickled_keeps_its_type_and_words() -> None:
    function, arguments = pickle.loads(encode_error(WithALock(), "tb"))
    again = function(*arguments)
    assert type(again) is WithALock and str(again) == "locked" and again.__notes__ == ["tb"]


def test_what_cannot_be_pickled_is_named() -> None:
    with pytest.raises(TransportError, match=r"an item cannot be sent .*lock"):
        encode({"lock": threading.Lock()})


def test_a_batch_over_the_budget_says_need_have_and_knob() -> None:
    with pair(1 << 20) as ends, pytest.raises(TransportError, match=r"4,194,304 bytes .* 1,048,576 .*buffer_bytes"):
        ends.sender.send(0, 1, np.zeros(4 << 20, np.uint8))


def test_slots_come_back_when_the_last_view_is_gone() -> None:
    with pair(8 << 20) as ends:
        everything = ends.free_bytes()
        array = ends.through({"x": np.arange(50_000)})["x"]
        part = array[10:20]
        del array
        assert ends.free_bytes() < everything
        np.testing.assert_array_equal(part, np.arange(10, 20))
        del part
        assert ends.free_bytes() == everything


def test_messages_of_a_dropped_epoch_give_their_slots_back() -> None:
    with pair(8 << 20) as ends:
        everything = ends.free_bytes()
        for _ in range(3):
            ends.sender.send(0, 1, np.zeros(500_000, np.uint8))
        ends.sender.send(0, 2, "next")
        message = ends.receiver.receive(2, 5.0)
        assert message is not None and message.content == "next"
        assert ends.free_bytes() == everything


@pytest.mark.parametrize("memfd", [True, False], ids=["memfd", "file"])
def test_arrays_made_in_the_slot_are_not_copied_again(memfd: bool) -> None:
    with pair(8 << 20, memfd=memfd) as ends:
        x = ends.sender.empty((1000, 100), np.float32)
        y = ends.sender.empty((1000,), np.int64)
        x[...] = 3
        y[...] = np.arange(1000)
        got = ends.through((x, y, "text"))
        x[0, 0] = 99  # the worker's own view: the consumer sees the very memory
        assert got[0][0, 0] == 99 and got[0][1, 1] == 3 and got[1][7] == 7


def test_a_stale_array_of_an_earlier_slot_is_copied() -> None:
    with pair(8 << 20) as ends:
        old = ends.sender.empty((100_000,), np.uint8)
        old[...] = 5
        first = ends.through(old)
        new = ends.sender.empty((100_000,), np.uint8)
        new[...] = 6
        a, b = ends.through((new, old))
        assert (a == 6).all() and (b == 5).all() and (first == 5).all()


@pytest.mark.parametrize("memfd", [True, False], ids=["memfd", "file"])
def test_the_payload_maps_large_buffers(memfd: bool) -> None:
    data = {"a": np.arange(1_000_000), "e": np.empty(0), "f": lambda: 42}
    fd = payload_file(data, memfd=memfd)
    loaded = load_payload(fd)
    os.close(fd)
    np.testing.assert_array_equal(loaded["a"], data["a"])
    assert loaded["f"]() == 42 and loaded["e"].shape == (0,)


def test_an_anonymous_file_has_no_name() -> None:
    for memfd in (True, False):
        fd = anonymous_file("x", memfd=memfd)
        assert os.fstat(fd).st_nlink == 0
        os.close(fd)


def test_the_record_keeps_what_was_written_last() -> None:
    fd = Arena.create(PAGE)
    worker, trainer = Arena(fd), Arena(fd)
    os.close(fd)
    began = time.monotonic()
    worker.record("reading", resident_bytes=300 << 20)
    record = trainer.recorded()
    assert (record.what, record.waits, record.resident_bytes) == ("reading", False, 300 << 20)
    assert began <= record.at <= time.monotonic()
    assert str(record).startswith("reading, 0.0") and str(record).endswith(" s before; resident memory 300 MiB")
    worker.record("ü" * RECORD_BYTES, waits=True)
    record = trainer.recorded()
    assert record.what.startswith("üü") and record.waits
    assert "memory" not in str(record), "it was not told how much"


# -------------------------------------------------------------------------------------------------- kept and forked


def digest(item: Any) -> str:
    done = hashlib.blake2b(digest_size=8)
    for part in item if isinstance(item, list) else [item]:
        done.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
    return done.hexdigest()


def batches(count: int, bytes_each: int, **options: Any) -> DataLoader2[Any]:
    """A loader of batches, each of which is worth a slot, and can be told from every other."""

    def make(i: int) -> Any:
        import numpy as np

        array = np.full(bytes_each // 8, i, np.int64)
        array[::7] = np.arange(len(array[::7])) * i
        return array

    pipe = IterableWrapper(range(count)).sharding_filter().map(make)
    return DataLoader2(pipe, reading_service=MultiProcessingReadingService(num_workers=2, **options))


def expected(i: int, bytes_each: int) -> Any:
    array = np.full(bytes_each // 8, i, np.int64)
    array[::7] = np.arange(len(array[::7])) * i
    return array


@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize("buffer_bytes", [None, 2 << 20], ids=["default budget", "small budget"])
def test_who_keeps_every_batch_keeps_correct_data(buffer_bytes: int | None) -> None:
    size = 80 << 10
    with batches(500, size, buffer_bytes=buffer_bytes) as dl:
        kept = list(dl)
        assert [digest(array) for array in kept] == [digest(expected(i, size)) for i in range(500)]
        kept[0][...] = -1  # writable, and no other batch's memory
        assert digest(kept[1]) == digest(expected(1, size))
        again = list(dl)
        assert digest(again[499]) == digest(expected(499, size)) and (kept[0] == -1).all()


@pytest.mark.usefixtures("no_leftovers")
def test_kept_batches_outlive_their_loader() -> None:
    with batches(20, 80 << 10) as dl:
        kept = list(dl)
    del dl
    assert [digest(array) for array in kept] == [digest(expected(i, 80 << 10)) for i in range(20)]
    del kept


@pytest.mark.usefixtures("no_leftovers")
def test_a_fork_of_the_trainer_keeps_the_batches_that_it_has() -> None:
    size = 80 << 10
    with batches(400, size, buffer_bytes=8 << 20) as dl:
        it = iter(dl)
        kept = [next(it) for _ in range(20)]
        go_r, go_w = os.pipe()
        answer_r, answer_w = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.read(go_r, 1)  # until the parent has used the slots many times over
                right = all(digest(array) == digest(expected(i, size)) for i, array in enumerate(kept))
                os.write(answer_w, b"y" if right else b"n")
            finally:
                os._exit(0)
        del kept
        rest = [digest(array) for array in it]
        os.write(go_w, b"x")
        answer = os.read(answer_r, 1)
        os.waitpid(pid, 0)
        for fd in (go_r, go_w, answer_r, answer_w):
            os.close(fd)
        assert answer == b"y"
        assert rest == [digest(expected(i, size)) for i in range(20, 400)]


def test_a_loader_shuts_down_at_once_while_a_fork_of_the_trainer_lives() -> None:
    """The fork has copies of the sockets, so closing ours is not what the workers see."""
    with batches(50, 80 << 10) as dl:
        next(iter(dl))
        pid = os.fork()
        if not pid:
            try:
                time.sleep(20)
            finally:
                os._exit(0)
        began = time.monotonic()
        dl.shutdown()
        took = time.monotonic() - began
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert took < 1.0


def test_forks_do_not_use_up_the_shared_memory() -> None:
    """Slots that a fork could see are used again once the fork has ended."""
    size = 512 << 10
    with batches(60, size, buffer_bytes=8 << 20) as dl:
        lenders = []
        for i, batch in enumerate(dl):
            assert digest(batch) == digest(expected(i, size))
            pid = os.fork()
            if not pid:
                os._exit(0)
            os.waitpid(pid, 0)
        assert dl._session is not None
        lenders = [worker.receiver._lender for worker in dl._session.workers]  # type: ignore[attr-defined]
        del batch
        for lender in lenders:
            lender.returned()
            assert not lender._retired


def run_script(tmp_path: Any, source: str, timeout_s: float = 60) -> str:
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(source))
    done = subprocess.run([sys.executable, "-W", "error", str(path)], capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_batches_can_go_through_a_torch_queue(tmp_path: Any) -> None:
    out = run_script(
        tmp_path,
        """
        import torch, torch.multiprocessing as mp
        from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService

        def child(inbox, outbox):
            kept = [inbox.get() for _ in range(30)]
            outbox.put([(float(t.min()), float(t.max())) for t in kept])

        if __name__ == "__main__":
            import numpy as np
            context = mp.get_context("fork")
            inbox, outbox = context.Queue(), context.Queue()
            process = context.Process(target=child, args=(inbox, outbox))
            process.start()
            make = lambda i: np.full(30_000, i, np.float32)
            pipe = IterableWrapper(range(120)).sharding_filter().map(make).batch(2).collate()
            service = MultiProcessingReadingService(num_workers=2, buffer_bytes=8 << 20)
            with DataLoader2(pipe, reading_service=service) as dl:
                for i, batch in enumerate(dl):
                    assert isinstance(batch, torch.Tensor)
                    if i < 30:
                        inbox.put(batch)
            print(outbox.get() == [(2.0 * i, 2.0 * i + 1) for i in range(30)])
            process.join()
        """,
    )
    assert out.split() == ["True"]


@pytest.mark.usefixtures("no_leftovers")
def test_a_batch_over_the_budget_is_an_error_of_the_loop() -> None:
    with batches(4, 8 << 20, buffer_bytes=4 << 20) as dl:
        with pytest.raises(TransportError, match=r"8,388,608 bytes .*2,097,152 .*buffer_bytes"):
            list(dl)
        with pytest.raises(TransportError):
            list(dl)


@pytest.mark.usefixtures("no_leftovers")
def test_epochs_that_are_dropped_cost_no_memory() -> None:
    size = 256 << 10
    with batches(200, size, buffer_bytes=8 << 20) as dl:
        for _ in range(12):
            for i, array in zip(range(3), dl, strict=False):
                assert digest(array) == digest(expected(i, size))
        assert [digest(array) for array in dl] == [digest(expected(i, size)) for i in range(200)]


@pytest.mark.usefixtures("no_leftovers")
def test_without_memfd_all_works_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    size = 80 << 10
    with batches(60, size, buffer_bytes=8 << 20) as dl:
        kept = list(dl)
        assert [digest(array) for array in kept] == [digest(expected(i, size)) for i in range(60)]


@pytest.mark.usefixtures("no_leftovers")
def test_collated_batches_are_writable_tensors() -> None:
    import torch

    def make(i: int) -> Any:
        import numpy as np

        return {"x": np.full((64, 64), i, np.float32), "i": i, "s": f"#{i}"}

    pipe = IterableWrapper(range(10)).sharding_filter().map(make).batch(4).collate()
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(num_workers=2)) as dl:
        got = list(dl)
    assert [batch["s"] for batch in got] == [[f"#{i}" for i in range(n, min(n + 4, 10))] for n in (0, 4, 8)]
    for n, batch in zip((0, 4, 8), got, strict=True):
        assert isinstance(batch["x"], torch.Tensor) and batch["x"].dtype == torch.float32
        assert batch["i"].tolist() == list(range(n, min(n + 4, 10)))
        batch["x"].mul_(2)
        assert batch["x"][1, 0, 0] == 2 * (n + 1)
