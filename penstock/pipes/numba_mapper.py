"""NumbaMapper (``numba_map``): a loop that numba compiles, in object mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.errors import MissingExtra
from penstock.core.pipe import ONE_TO_ONE, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream

U = TypeVar("U")


@functional_datapipe("numba_map")
class NumbaMapper(IterDataPipe[U]):
    """Apply a function in a loop that numba compiles: ``x`` becomes ``fn(x)`` (functional name: ``numba_map``).

    It is the loop that is compiled, and not the function: for most work a plain ``map`` is faster. Where the function
    itself is the work, compile that, and let the compiled function release the interpreter's lock, so that threads
    share the work: ``pipe.async_map(numba.njit(nogil=True)(fn))``.

    Args:
        datapipe: the source.
        fn: the function.

    Raises:
        MissingExtra: (when run) numba is not installed.

    State: none of its own.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(IterableWrapper([1, 2]).numba_map(lambda x: x + 1))
        [2, 3]
    """

    arity = ONE_TO_ONE

    def __init__(self, datapipe: IterDataPipe[Any], fn: Callable[[Any], U]) -> None:
        datapipe = check_source(self, datapipe)
        self.datapipe = datapipe
        self.fn = fn

    def __len__(self) -> int:
        return len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[U]:
        if ctx.trace is not None:  # numba's frames would only blur what is being traced
            return ctx.each(self, self.datapipe, state, self.fn)
        loop = _compiled()
        up, fn = ctx.build(self.datapipe, state, holes=True), ctx.guarded(self, self.fn)

        def items() -> Iterator[U]:
            it = up.it
            yield from loop(it, fn)  # this frame keeps both alive: numba's generator does not

        running = items()
        return up.onward(running, skip=up.skip, places=up.places)


_loop: Callable[..., Iterator[Any]] | None = None  # compiled once: that takes most of a second


def _compiled() -> Callable[..., Iterator[Any]]:
    global _loop
    if _loop is None:
        try:
            import numba
        except ImportError:
            raise MissingExtra("numba_map needs numba: pip install 'penstock[numba]'") from None

        def each(it: Iterator[Any], fn: Callable[[Any], Any]) -> Iterator[Any]:
            for x in it:
                yield fn(x)

        _loop = numba.jit(forceobj=True)(each)
    return _loop
