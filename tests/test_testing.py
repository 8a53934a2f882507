"""The checks of `penstock.testing` can fail: each of them refuses a pipe that breaks the promise it is about."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock.core.context import Context
from penstock.core.stream import State, Stream
from penstock.pipes import IterableWrapper, IterDataPipe
from penstock.testing import CHECKS, Case, boom, check_pipe, no_leftovers


def ten() -> IterableWrapper[int]:
    return IterableWrapper(range(10))


class Doubler(IterDataPipe[int]):
    """A user's pipe, as torchdata's users wrote them."""

    def __init__(self, source_datapipe: IterDataPipe[int], fn: Callable[[int], int] = lambda x: 2 * x) -> None:
        self.source_datapipe = source_datapipe
        self.fn = fn

    def __iter__(self) -> Iterator[int]:
        for x in self.source_datapipe:
            yield self.fn(x)


def test_a_users_pipe_passes_in_three_lines() -> None:
    check_pipe(lambda: Doubler(ten()), length=None, broken=lambda: Doubler(ten(), boom))


class Unpicklable(Doubler):
    def __init__(self, source_datapipe: IterDataPipe[int]) -> None:
        super().__init__(source_datapipe)
        self.lock = threading.Lock()


class OneAtATime(IterDataPipe[int]):
    """Keeps its position in the pipe, as nothing may."""

    def __init__(self) -> None:
        self.at = [0]

    def build(self, ctx: Context, state: State = None) -> Stream[int]:
        self.at[0] = 0

        def run() -> Iterator[int]:
            while self.at[0] < 5:
                self.at[0] += 1
                yield self.at[0]

        return Stream(run(), lambda: None)


class Changing(IterDataPipe[int]):
    def __init__(self, source_datapipe: IterDataPipe[int]) -> None:
        self.source_datapipe = source_datapipe

    def build(self, ctx: Context, state: State = None) -> Stream[int]:
        self.last_context = ctx
        return ctx.build(self.source_datapipe, state)


class Forgetful(IterDataPipe[int]):
    """Its state says nothing."""

    def __init__(self, source_datapipe: IterDataPipe[int]) -> None:
        self.source_datapipe = source_datapipe

    def build(self, ctx: Context, state: State = None) -> Stream[int]:
        return Stream(ctx.build(self.source_datapipe).it, lambda: None)


class Boasting(Doubler):
    def __len__(self) -> int:
        return 11


class EndsBadly(IterDataPipe[int]):
    """Cannot be closed ahead of its end."""

    def __init__(self, source_datapipe: IterDataPipe[int]) -> None:
        self.source_datapipe = source_datapipe

    def build(self, ctx: Context, state: State = None) -> Stream[int]:
        up = ctx.build(self.source_datapipe, state)
        return Stream(up.it, up.state, closers=(self,))

    def close(self) -> None:
        raise RuntimeError("not yet")


class Wrapping(IterDataPipe[int]):
    """Replaces the user's exception, and loses what it said."""

    def __init__(self, source_datapipe: IterDataPipe[int]) -> None:
        self.source_datapipe = source_datapipe

    def __iter__(self) -> Iterator[int]:
        try:
            yield from self.source_datapipe
        except KeyError:
            raise RuntimeError("something went wrong") from None


class Leaking(Doubler):
    def __iter__(self) -> Iterator[int]:
        os.dup(1)
        yield from self.source_datapipe


class PerProcess(IterDataPipe[int]):
    def __init__(self, source_datapipe: IterDataPipe[int]) -> None:
        self.source_datapipe = source_datapipe
        self.pid = os.getpid()

    def __iter__(self) -> Iterator[int]:
        for x in self.source_datapipe:
            yield x if os.getpid() == self.pid else -x


BAD: dict[str, Case] = {
    "pickles": Case(lambda: Unpicklable(ten())),
    "agrees_with_itself": Case(OneAtATime),
    "iterating_changes_nothing": Case(lambda: Changing(ten())),
    "resumes_at_every_index": Case(lambda: Forgetful(ten())),
    "has_the_right_length": Case(lambda: Boasting(ten()), "any"),
    "closes_twice": Case(lambda: EndsBadly(ten())),
    "an_exception_names_the_pipe": Case(lambda: Doubler(ten()), broken=lambda: Wrapping(ten().map(boom))),
    "is_the_same_on_two_workers": Case(lambda: PerProcess(ten())),
    "leaves_nothing_over": Case(lambda: Leaking(ten())),
}


def test_every_check_has_a_pipe_that_it_refuses() -> None:
    assert set(BAD) == set(CHECKS)


@pytest.mark.parametrize("name", BAD)
def test_a_check_refuses_a_pipe_that_breaks_its_promise(name: str) -> None:
    with pytest.raises((AssertionError, TypeError, RuntimeError)):
        CHECKS[name](BAD[name])


def test_the_check_that_failed_is_named() -> None:
    with pytest.raises(AssertionError) as raised:
        check_pipe(lambda: Forgetful(ten()))
    assert "resumes_at_every_index" in "\n".join(raised.value.__notes__)


@pytest.mark.parametrize("length", [None, 9])
def test_a_length_that_is_not_the_promised_one_is_refused(length: int | None) -> None:
    with pytest.raises(AssertionError, match="len"):
        CHECKS["has_the_right_length"](Case(ten, length))


def test_a_graph_without_items_proves_nothing() -> None:
    with pytest.raises(AssertionError, match="no items"):
        check_pipe(lambda: IterableWrapper([]))


def test_leftovers_are_named() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="forgotten")
    try:
        with pytest.raises(AssertionError, match="forgotten"), no_leftovers():
            thread.start()
    finally:
        stop.set()
        thread.join()


def test_a_pipe_that_makes_other_items_each_time_does_not_resume() -> None:
    counter = itertools.count()

    def make() -> Any:
        return ten().map(lambda x: x + 100 * next(counter))

    with pytest.raises(AssertionError, match="gives other items"):
        CHECKS["resumes_at_every_index"](Case(make))
