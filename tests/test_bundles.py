"""Small items travel in bundles; nobody waits for one to fill, and every place between two items can be saved."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from penstock import DataLoader2, MultiProcessingReadingService
from penstock.pipes import IterableWrapper

pytestmark = pytest.mark.usefixtures("no_leftovers")


def numbers(count: int) -> Any:
    return IterableWrapper(range(count)).shuffle(buffer_size=50).sharding_filter()


def lanes(count: int) -> Any:
    return numbers(count).filter(lambda x: x % 3)


def _behind(state: dict[str, Any]) -> bool:
    """Whether items were given since the state of the graph was taken."""
    progress = state["progress"]
    if progress["kind"] == "lanes":
        return bool(progress["behind"])
    chunk = progress["states"]["0"]["sharding_filter"][0] if progress["states"] else 0
    return bool(chunk < progress["next"])


@pytest.mark.parametrize("graph", [numbers, lanes], ids=lambda g: g.__name__)
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_state_after_any_item_of_a_bundle_continues_behind_it(graph: Any, workers: int) -> None:
    service = MultiProcessingReadingService(workers, lanes=3)
    with DataLoader2(graph(300), reading_service=service) as dl:
        dl.seed(4)
        items, states = [], []
        for item in dl:
            items.append(item)
            states.append(json.loads(json.dumps(dl.state_dict())))
    assert any(map(_behind, states)), "items came in bundles"
    with DataLoader2(graph(300)) as dl:
        for k in range(0, len(items), 7):
            dl.load_state_dict(states[k])
            assert list(dl) == items[k + 1 :]
    with DataLoader2(graph(300), reading_service=MultiProcessingReadingService(2)) as dl:
        for k in range(3, len(items), 40):
            dl.load_state_dict(states[k])
            assert list(dl) == items[k + 1 :]


def test_an_item_of_a_slow_pipe_is_sent_when_it_is_made() -> None:
    def slow(x: int) -> tuple[int, float]:
        time.sleep(0.01)
        return x, time.monotonic()

    pipe = IterableWrapper(range(60)).sharding_filter().map(slow)
    late, asked = [], 0.0
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
        for _, made in dl:
            now = time.monotonic()
            # One that was made ahead of its turn, as by the worker that began first, is not late until it is asked for.
            late.append(now - max(made, asked))
            asked = now
    # In a steady state the loop waits for each item, so what it waits longer than the making is transport.
    assert sorted(late[10:])[len(late[10:]) // 2] < 0.01


def test_what_was_made_quickly_does_not_wait_for_a_slow_item_behind_it() -> None:
    def mixed(x: int) -> tuple[int, float]:
        if x % 10 == 9:
            time.sleep(0.6)
        return x, time.monotonic()

    pipe = IterableWrapper(range(40)).sharding_filter().map(mixed)
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(1)) as dl:
        late = {x: time.monotonic() - made for x, made in dl}
    assert max(late[x] for x in range(1, 9)) < 0.5, "sent by itself, while the worker was asleep in the tenth"


def test_batches_that_take_some_milliseconds_travel_together(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    from penstock.reading_service import process_epoch
    from penstock.transport.together import apart

    def work(batch: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.002)
        return batch

    def counted(found: Any) -> Any:
        entries = apart(found)
        bundles.append(len(entries))
        return entries

    bundles: list[int] = []
    monkeypatch.setattr(process_epoch, "apart", counted)
    batches = [{"x": np.full(8, i), "y": np.zeros(8)} for i in range(200)]
    pipe = IterableWrapper(batches).sharding_filter().map(work)
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
        assert [batch["x"][0] for batch in dl] == list(range(200))
    assert sum(bundles) == 200
    assert len(bundles) < 100, "a loop that waits for each gets some at once"


def test_a_batch_does_not_wait_for_a_slow_one_behind_it() -> None:
    import numpy as np

    def mixed(batch: dict[str, Any]) -> dict[str, Any]:
        if batch["x"][0] % 10 == 9:
            time.sleep(0.6)
        return batch | {"made": np.full(8, time.monotonic())}

    pipe = IterableWrapper([{"x": np.full(8, i)} for i in range(40)]).sharding_filter().map(mixed)
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(1)) as dl:
        late = {int(batch["x"][0]): time.monotonic() - batch["made"][0] for batch in dl}
    assert max(late[x] for x in range(1, 9)) < 0.5, "sent by itself, while the worker was asleep in the tenth"


def test_large_and_small_items_keep_their_order_and_their_content() -> None:
    import numpy as np

    def sized(x: int) -> Any:
        return np.full(100_000 if x % 7 == 0 else 3, x)

    pipe = IterableWrapper(range(100)).sharding_filter().map(sized)
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
        for number, array in enumerate(dl):
            assert array.shape == ((100_000,) if number % 7 == 0 else (3,))
            assert (array == number).all()


def test_an_item_that_cannot_be_sent_is_the_one_that_is_named() -> None:
    from penstock import TransportError

    def one_lock(x: int) -> Any:
        import threading

        return threading.Lock() if x == 30 else x

    pipe = IterableWrapper(range(60)).sharding_filter().map(one_lock)
    got = []
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(1)) as dl:
        with pytest.raises(TransportError) as caught:
            for item in dl:
                got.append(item)
        assert got == list(range(30))
        assert "the item is <unlocked _thread.lock" in "\n".join(caught.value.__notes__)
