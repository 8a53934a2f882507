"""Services that users wrote for torchdata: what is called when, what is restored, and what happens if one raises."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock import DataLoader2, InProcessReadingService, IterableWrapper, StateError
from penstock.core.pipe import Pipe
from penstock.graph import find
from penstock.pipes import Mapper, ShardingFilter
from penstock.reading_service import CheckpointableReadingServiceInterface, ReadingServiceInterface
from running import within

pytestmark = pytest.mark.usefixtures("no_leftovers")
HOOKS = ["initialize", "initialize_iteration", "finalize_iteration", "finalize"]


class Told(ReadingServiceInterface):
    """Writes down what it is told, and raises where it should."""

    def __init__(self, fails: str = "", times: int = 1) -> None:
        self.calls: list[str] = []
        self.fails, self.times = fails, times

    def tell(self, hook: str) -> None:
        self.calls.append(hook)
        if hook == self.fails and self.times:
            self.times -= 1
            raise LookupError(f"no {hook}")

    def initialize(self, datapipe: Any) -> Any:
        self.tell("initialize")
        self.datapipe = datapipe
        return datapipe

    def initialize_iteration(self, seed_generator: Any, iter_reset_fn: Any = None) -> Any:
        self.seeds = seed_generator
        assert iter_reset_fn is None
        self.tell("initialize_iteration")

    def finalize_iteration(self) -> None:
        self.tell("finalize_iteration")

    def finalize(self) -> None:
        self.tell("finalize")


class Counting:
    """What a service may return that is no pipe."""

    def __init__(self, datapipe: Any) -> None:
        self.datapipe = datapipe

    def __iter__(self) -> Counting:
        self.it = iter(self.datapipe)
        return self

    def __next__(self) -> Any:
        return next(self.it)

    def return_one(self) -> int:
        return 1


class Wrapping(ReadingServiceInterface):
    """Only what must be there, as in torchdata's own test."""

    def initialize(self, datapipe: Any) -> Any:
        return Counting(datapipe)


class Numbered(CheckpointableReadingServiceInterface):
    """Has a state: a number that its items get."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.calls: list[str] = []

    def initialize(self, datapipe: Any) -> Any:
        self.calls.append("initialize")
        return datapipe.map(lambda x: (x, self.number))

    def checkpoint(self) -> bytes:
        return bytes([0, 255, self.number])

    def restore(self, datapipe: Any, serialized_state: bytes) -> Any:
        self.calls.append("restore")
        self.number = serialized_state[2]
        return datapipe.map(lambda x: (x, self.number))

    def finalize(self) -> None:
        self.calls.append("finalize")


def shuffled(size: int = 12) -> Any:
    return IterableWrapper(range(size)).shuffle(buffer_size=5)


def trip(state: Any) -> Any:
    return json.loads(json.dumps(state, allow_nan=False))


# -------------------------------------------------------------------------------------------------- which, when


def test_each_hook_is_called_in_its_turn_and_once() -> None:
    service = Told()
    dl = DataLoader2(IterableWrapper(range(3)), reading_service=service)
    assert service.calls == [] and dl.reading_service is service
    assert list(dl) == [0, 1, 2] == list(dl)
    epoch = ["initialize_iteration", "finalize_iteration"]
    assert service.calls == ["initialize", *epoch, *epoch]
    dl.shutdown()
    dl.shutdown()
    assert service.calls == ["initialize", *epoch, *epoch, "finalize"]


def test_an_epoch_that_is_left_is_finalized() -> None:
    service = Told()
    with DataLoader2(IterableWrapper(range(9)), reading_service=service) as dl:
        for _ in dl:
            break
        assert service.calls[-1] == "finalize_iteration", "the loop was left, and its iterator dropped"
        old = iter(dl)
        next(old)
        new = iter(dl)
        assert service.calls[-2:] == ["finalize_iteration", "initialize_iteration"], "the old one was replaced"
        next(new)
    assert service.calls[-2:] == ["finalize_iteration", "finalize"], "the loader was shut down"
    assert service.calls.count("finalize_iteration") == 3 == service.calls.count("initialize_iteration")


def test_a_loader_that_is_dropped_finalizes_its_service() -> None:
    service = Told()
    dl = DataLoader2(IterableWrapper(range(9)), reading_service=service)
    it = iter(dl)
    next(it)
    del dl, it
    gc.collect()
    assert service.calls == HOOKS


def test_a_loader_that_never_ran_calls_nothing() -> None:
    service = Told()
    DataLoader2(IterableWrapper(range(9)), reading_service=service).shutdown()
    assert service.calls == []


def test_the_service_gets_a_copy_of_the_graph() -> None:
    class Switches(Told):
        def initialize(self, datapipe: Any) -> Any:
            datapipe.set_shuffle(False)
            return datapipe

    pipe = shuffled()
    with DataLoader2(pipe, reading_service=Switches()) as dl:
        assert list(dl) == list(range(12))
    assert pipe._enabled


@pytest.mark.parametrize("arguments", [0, 1, 2])
def test_initialize_iteration_may_take_no_argument_or_the_seeds_or_both(arguments: int) -> None:
    got: list[Any] = []

    class Service(ReadingServiceInterface):
        def initialize(self, datapipe: Any) -> Any:
            return datapipe

    hooks: list[Callable[..., None]] = [
        lambda self: got.append(()),
        lambda self, seed_generator: got.append((seed_generator,)),
        lambda self, seed_generator, iter_reset_fn=None: got.append((seed_generator, iter_reset_fn)),
    ]
    Service.initialize_iteration = hooks[arguments]  # type: ignore[method-assign]  # what it is about
    with DataLoader2(IterableWrapper(range(2)), reading_service=Service()) as dl:
        assert list(dl) == [0, 1]
    assert len(got) == 1 and len(got[0]) == arguments


def test_a_service_need_not_be_of_our_class() -> None:
    class Service:
        def initialize(self, datapipe: Any) -> Any:
            return datapipe.map(str)

    service: Any = Service()
    with DataLoader2(IterableWrapper(range(2)), reading_service=service) as dl:
        assert list(dl) == ["0", "1"]
    anything: Any = 3
    with pytest.raises(TypeError, match="ReadingServiceInterface is expected, but got int"):
        DataLoader2(IterableWrapper(range(2)), reading_service=anything)


def test_what_initialize_iteration_returns_makes_the_graph_of_the_epoch() -> None:
    class Service(Told):
        epochs = 0

        def initialize_iteration(self, seed_generator: Any, iter_reset_fn: Any = None) -> Any:
            self.epochs += 1
            number = self.epochs
            return lambda datapipe: self.datapipe.map(lambda x: (number, x))

    with DataLoader2(IterableWrapper(range(2)), reading_service=Service()) as dl:
        assert list(dl) == [(1, 0), (1, 1)]
        assert list(dl) == [(2, 0), (2, 1)]


def test_the_seed_generator_goes_by_seed_and_epoch() -> None:
    class Service(Told):
        drawn: list[int] = []  # noqa: RUF012  # of this test

        def initialize_iteration(self, seed_generator: Any, iter_reset_fn: Any = None) -> Any:
            self.drawn.append(seed_generator.generate_shared_seed())

    with DataLoader2(IterableWrapper(range(2)), reading_service=Service()) as dl:
        for seed in (1, 1, 2):
            dl.seed(seed)
            list(dl)
            list(dl)
    a, b, c, d, e, f = Service.drawn
    assert (a, b) == (c, d) and len({a, b, e, f}) == 4


def test_a_service_may_shard_its_copy() -> None:
    class Half(Told):
        def initialize(self, datapipe: Any) -> Any:
            for pipe in find(datapipe, ShardingFilter):
                pipe.apply_sharding(2, 1)
            return datapipe

    with DataLoader2(IterableWrapper(range(7)).sharding_filter().map(str), reading_service=Half()) as dl:
        assert list(dl) == ["1", "3", "5"]


# ------------------------------------------------------------------------------------------------ what is no pipe


def test_what_is_no_pipe_runs_and_its_methods_are_reached() -> None:
    with DataLoader2(IterableWrapper(range(5)), reading_service=Wrapping()) as dl:
        it = iter(dl)
        assert it.return_one() == 1
        assert list(it) == list(range(5)) == list(dl)
        with pytest.raises(AttributeError):
            it.return_two()


def test_what_does_not_iterate_is_refused() -> None:
    class Service(Told):
        def initialize(self, datapipe: Any) -> Any:
            return 5

    with (
        DataLoader2(IterableWrapper(range(5)), reading_service=Service()) as dl,
        pytest.raises(TypeError, match="must return what iterates, got int"),
    ):
        iter(dl)


@pytest.mark.parametrize("service", [Told, Wrapping, Numbered])
def test_the_place_is_restored_at_every_index(service: type[Any]) -> None:
    def loader() -> DataLoader2[Any]:
        return DataLoader2(shuffled(), reading_service=service())

    with loader() as dl:
        dl.seed(3)
        first, second = list(dl), list(dl)
        assert first != second and sorted(first) == sorted(second)
    for stop in range(13):
        with loader() as dl:
            dl.seed(3)
            it = iter(dl)
            got = [next(it) for _ in range(stop)]
            state = trip(dl.state_dict())
        with loader() as dl:
            dl.load_state_dict(state)
            it = iter(dl)
            assert trip(dl.state_dict()) == state
            assert got + list(it) == first
            assert list(dl) == second


def test_an_iterator_with_a_place_of_its_own_is_not_replayed() -> None:
    class Placed:
        def __init__(self) -> None:
            self.at, self.taken = 0, 0

        def __iter__(self) -> Iterator[int]:
            return self

        def __next__(self) -> int:
            if self.at == 100:
                raise StopIteration
            self.at, self.taken = self.at + 1, self.taken + 1
            return self.at

        def state_dict(self) -> dict[str, int]:
            return {"at": self.at}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.at = state["at"]

    class Service(ReadingServiceInterface):
        def initialize(self, datapipe: Any) -> Any:
            self.it = Placed()
            return self.it

    with DataLoader2(shuffled(), reading_service=Service()) as dl:
        it = iter(dl)
        assert [next(it) for _ in range(98)][-1] == 98
        state = trip(dl.state_dict())
    service = Service()
    with DataLoader2(shuffled(), reading_service=service) as dl:
        dl.load_state_dict(state)
        assert list(dl) == [99, 100]
    assert service.it.taken == 2


def test_a_replay_that_comes_out_shorter_is_an_error() -> None:
    lengths = iter([5, 2])

    class Service(ReadingServiceInterface):
        def initialize(self, datapipe: Any) -> Any:
            return [0] * next(lengths)

    def loader() -> DataLoader2[Any]:
        return DataLoader2(shuffled(), reading_service=Service())

    with loader() as dl:
        it = iter(dl)
        assert [next(it) for _ in range(4)] == [0] * 4
        state = dl.state_dict()
    with loader() as dl:
        dl.load_state_dict(state)
        with pytest.raises(StateError, match="had given 4 items when the state was saved, and now has only 2"):
            iter(dl)


# ------------------------------------------------------------------------------------------------------ checkpoints


def test_the_state_of_a_service_travels_with_the_loaders() -> None:
    with DataLoader2(shuffled(), reading_service=Numbered(7)) as dl:
        it = iter(dl)
        head = [next(it) for _ in range(5)]
        state = trip(dl.state_dict())
        rest = list(it)
    service = Numbered()
    with DataLoader2(shuffled(), reading_service=service) as dl:
        dl.load_state_dict(state)
        assert dl.state_dict() == state
        assert list(dl) == rest and {number for _, number in head + rest} == {7}
        list(dl)
    assert service.calls == ["restore", "finalize"]


def test_a_state_that_is_loaded_while_the_service_runs_begins_it_again() -> None:
    service = Numbered(4)
    with DataLoader2(shuffled(), reading_service=service) as dl:
        it = iter(dl)
        next(it)
        state = dl.state_dict()
        service.number = 9
        dl.load_state_dict(state)
        assert {number for _, number in dl} == {4}
    assert service.calls == ["initialize", "finalize", "restore", "finalize"]


@pytest.mark.parametrize("service", [Told(), InProcessReadingService(), None])
def test_the_state_of_another_kind_of_service_is_refused(service: Any) -> None:
    with DataLoader2(shuffled(), reading_service=Numbered(7)) as dl:
        next(iter(dl))
        state = trip(dl.state_dict())
    with (
        DataLoader2(shuffled(), reading_service=service) as dl,
        pytest.raises(TypeError, match=r"Numbered.*cannot restore"),
    ):
        dl.load_state_dict(state)


def test_a_state_without_one_of_the_service_initializes_it() -> None:
    with DataLoader2(shuffled()) as dl:
        dl.seed(1)
        it = iter(dl)
        next(it)
        state, rest = dl.state_dict(), list(it)
    service = Numbered(1)
    with DataLoader2(shuffled(), reading_service=service) as dl:
        dl.load_state_dict(state)
        assert [x for x, _ in dl] == rest
    assert service.calls[0] == "initialize"


# ----------------------------------------------------------------------------------------------------- hooks that raise


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_raises_is_named_and_the_loader_can_be_closed(hook: str) -> None:
    service = Told(fails=hook)
    dl = DataLoader2(IterableWrapper(range(3)), reading_service=service)
    began = time.monotonic()
    with pytest.raises(LookupError, match=f"no {hook}") as caught:
        list(dl)
        dl.shutdown()
    assert any(f"{hook} of" in note and "Told" in note for note in caught.value.__notes__)
    if hook != "finalize":
        assert list(dl) == [0, 1, 2], "the next epoch runs"
    dl.shutdown()
    assert within(2.0, since=began)
    begun = service.calls.count("initialize_iteration") - (hook == "initialize_iteration")
    assert service.calls.count("finalize_iteration") == begun
    assert service.calls.count("finalize") == 1


def test_an_epoch_that_fails_to_end_in_a_shutdown_still_ends_the_service() -> None:
    service = Told(fails="finalize_iteration")
    dl = DataLoader2(IterableWrapper(range(3)), reading_service=service)
    it = iter(dl)
    next(it)
    with pytest.raises(LookupError, match="no finalize_iteration"):
        dl.shutdown()
    assert service.calls == HOOKS
    dl.shutdown()
    assert service.calls == HOOKS


def test_both_ends_of_a_shutdown_may_raise() -> None:
    class Service(Told):
        def finalize(self) -> None:
            self.tell("finalize")
            raise OSError("disk")

    service = Service(fails="finalize_iteration")
    dl = DataLoader2(IterableWrapper(range(3)), reading_service=service)
    it = iter(dl)
    next(it)
    with pytest.raises(OSError, match="disk") as caught:
        dl.shutdown()
    assert isinstance(caught.value.__context__, LookupError)
    dl.shutdown()
    assert service.calls == HOOKS


def test_an_item_that_fails_finalizes_the_epoch_and_the_items_error_wins() -> None:
    def fail(x: int) -> int:
        raise ZeroDivisionError(x)

    service = Told(fails="finalize_iteration")
    with DataLoader2(IterableWrapper(range(3)).map(fail), reading_service=service) as dl:
        with pytest.raises(ZeroDivisionError) as caught:
            list(dl)
        assert any("LookupError: no finalize_iteration" in note for note in caught.value.__notes__)
        assert service.calls == HOOKS[:3]
        with pytest.raises(ZeroDivisionError):
            list(dl)
    assert service.calls == [*HOOKS[:3], *HOOKS[1:]]


def test_an_epoch_that_could_not_begin_is_still_to_come() -> None:
    with DataLoader2(shuffled(), reading_service=Told()) as dl:
        dl.seed(5)
        expected = list(dl)
    with DataLoader2(shuffled(), reading_service=Told(fails="initialize_iteration")) as dl:
        dl.seed(5)
        with pytest.raises(LookupError):
            iter(dl)
        assert list(dl) == expected
        it = iter(dl)
        next(it)
        state, rest = dl.state_dict(), list(it)
    with DataLoader2(shuffled(), reading_service=Told(fails="initialize")) as dl:
        dl.load_state_dict(state)
        with pytest.raises(LookupError):
            iter(dl)
        assert dl.state_dict() == state
        assert list(dl) == rest


def test_a_state_is_loaded_also_where_the_ends_of_the_running_epoch_and_service_raise() -> None:
    class Service(Numbered):
        fails = True

        def finalize_iteration(self) -> None:
            if self.fails:
                raise LookupError("no finalize_iteration")

        def finalize(self) -> None:
            super().finalize()
            if self.fails:
                raise OSError("no finalize")

    service = Service(3)
    with DataLoader2(shuffled(), reading_service=service) as dl:
        it = iter(dl)
        next(it)
        state = trip(dl.state_dict())
        with pytest.raises(OSError, match="no finalize"):
            dl.load_state_dict(state)
        service.fails = False
        assert dl.state_dict() == state and len(list(dl)) == 11
    assert service.calls == ["initialize", "finalize", "restore", "finalize"]


def test_a_checkpoint_or_a_restore_that_raises_is_named() -> None:
    class Service(Numbered):
        def checkpoint(self) -> bytes:
            raise OSError("no room")

        def restore(self, datapipe: Any, serialized_state: bytes) -> Any:
            raise OSError("no file")

    with DataLoader2(shuffled(), reading_service=Service()) as dl:
        it = iter(dl)
        next(it)
        with pytest.raises(OSError, match="no room") as caught:
            dl.state_dict()
        assert "checkpoint of" in caught.value.__notes__[0]
        assert len(list(it)) == 11, "and the epoch goes on"
        state = {
            **trip(DataLoader2(shuffled()).state_dict()),
            "service": {"service": f"{__name__}.{Service.__qualname__}", "checkpoint": ""},
        }
        dl.load_state_dict(state)
        for _ in range(2):
            with pytest.raises(OSError, match="no file") as caught:
                list(dl)
            assert "restore of" in caught.value.__notes__[0]


# ---------------------------------------------------------------------------------------------- pausing and limiting


def test_a_service_that_can_pause_is_told(recwarn: pytest.WarningsRecorder) -> None:
    class Pausing(Told):
        def _pause(self, pause_fn: Any = None) -> None:
            self.calls.append("pause")

        def _resume(self) -> None:
            self.calls.append("resume")

        def _limit(self, num_batches: int | None, limit_fn: Any = None) -> Any:
            self.calls.append(f"limit {num_batches}")
            return lambda datapipe: datapipe

    service = Pausing()
    with DataLoader2(IterableWrapper(range(9)), reading_service=service) as dl:
        it = iter(dl)
        it._pause()
        assert list(it) == []
        it._resume()
        it.limit(2)
        assert list(it) == [0, 1]
        it.resume()
        assert list(it) == [2, 3]
    assert service.calls[2:] == ["pause", "resume", "limit 2", "resume", "finalize_iteration", "finalize"]
    assert not recwarn.list


def test_a_service_that_cannot_pause_brings_a_warning_and_goes_on() -> None:
    with DataLoader2(IterableWrapper(range(9)), reading_service=Wrapping()) as dl:
        it = iter(dl)
        with pytest.warns(UserWarning, match="ReadingService doesn't support `_pause`"):
            it._pause()
        assert next(it) == 0
        it.limit(2)
        assert list(it) == [1, 2], "a limit needs nothing of the service"
        it.resume()
        assert list(it) == [3, 4]


def test_the_pipes_of_a_service_are_found_on_the_iterator() -> None:
    class Service(Told):
        def initialize(self, datapipe: Pipe) -> Any:
            return Mapper(datapipe, str)  # type: ignore[arg-type]  # it is an IterDataPipe

    with DataLoader2(IterableWrapper(range(2)), reading_service=Service()) as dl:
        assert iter(dl).fn is str
