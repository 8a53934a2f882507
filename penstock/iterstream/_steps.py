"""The steps of Composables that no other DataPipe needs, and the functions that they call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.errors import MissingExtra
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe
from penstock.core.seeds import hash_key
from penstock.core.stream import State, Stream
from penstock.pipes.header import Header

__all__ = [
    "Applied",
    "AsyncContent",
    "Bar",
    "Delayed",
    "Round",
    "Rounds",
    "Seed",
    "Taken",
    "computed",
    "padded",
    "seed_of",
]

T = TypeVar("T")
Seed = int | float | str | bytes | bytearray


class Applied(IterDataPipe[Any]):
    """What a function makes of an iterator."""

    def __init__(
        self, source: IterDataPipe[Any], f: Callable[..., Iterable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.source = source
        self.f, self.args, self.kwargs = f, args, kwargs

    def __iter__(self) -> Iterator[Any]:
        return iter(self.f(iter(self.source), *self.args, **self.kwargs))


class Bar(IterDataPipe[T]):
    """Shows a tqdm bar."""

    arity = ONE_TO_ONE
    is_of_state = False

    def __init__(self, source: IterDataPipe[T], kwargs: dict[str, Any]) -> None:
        self.source = source
        self.kwargs = kwargs

    def __len__(self) -> int:
        return len(self.source)

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        from tqdm.auto import tqdm

        up = ctx.build(self.source, state)
        if ctx.trace is not None:
            return up
        bar = tqdm(up.it, **self.kwargs)
        return up.onward(iter(bar), skip=up.skip, places=up.places)


class Taken(Header[T]):
    """The first items. It has no length where its source has none, and says nothing of that."""

    def __len__(self) -> int:
        assert self.limit is not None
        return min(self.limit, len(self.datapipe))


class Rounds:
    """Counts the rounds of a loop that runs. What is pickled has run none."""

    def __init__(self) -> None:
        self.count = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return Rounds, ()


class Round(IterDataPipe[T]):
    """Counts each round as it begins."""

    arity = ONE_TO_ONE
    is_of_state = False

    def __init__(self, source: IterDataPipe[T], rounds: Rounds) -> None:
        self.source = source
        self._rounds = rounds

    def __len__(self) -> int:
        return len(self.source)

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        self._rounds.count = ctx.passes[-1][1] if ctx.passes else 0
        return ctx.build(self.source, state, indices=True, holes=True)


class AsyncContent:
    """A call that runs in an executor.

    Args:
        item: the function's argument.
        func: the function.
        executor: has ``submit``: one of `concurrent.futures`, or a dask ``Client``.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> with ThreadPoolExecutor(1) as executor:
        ...     AsyncContent("a", str.upper, executor).value()
        'A'
    """

    def __init__(self, item: Any, func: Callable[[Any], Any], executor: Any) -> None:
        self.future = executor.submit(func, item)

    def value(self, timeout: float | None = None) -> Any:
        """Wait for the result, at most so many seconds, and return it, or raise the function's exception."""
        return self.future.result(timeout)


class Delayed:
    """Makes dask tasks of a function's calls."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn

    def __call__(self, item: Any) -> Any:
        return _dask().delayed(self._fn)(item)


def computed(item: Any) -> Any:
    """Return what a dask task comes to."""
    (made,) = _dask().compute(item)
    return made


def _dask() -> Any:
    try:
        import dask
    except ImportError:
        raise MissingExtra("dask_map needs dask: pip install 'penstock[dask]'") from None
    return dask


def padded(pair: tuple[int, T], length: int) -> tuple[str, T]:
    """Return a pair with its number as a text of so many digits."""
    return f"{pair[0]:0{length}d}", pair[1]


def seed_of(rng: Any, seed: Seed | None) -> int | None:
    """Return the seed that is given, as an integer, or one that is drawn from ``rng``; None without either."""
    if seed is not None:
        return seed if type(seed) is int and 0 <= seed < 1 << 63 else hash_key("seed", seed)[0] >> 1
    if rng is None:
        return None
    return int(rng.getrandbits(63) if hasattr(rng, "getrandbits") else rng.integers(1 << 63))
