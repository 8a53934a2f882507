"""NumbaMapper (``numba_map``): a loop that numba compiles, in object mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.errors import MissingExtra, raise_held
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
            around = _Around(up.it, fn)
            it, call = around.items(), around.call  # this frame keeps both alive: numba's generator does not
            for made in loop(it, call):
                if around.error is not None:
                    break
                yield made
            raise_held(around)

        running = items()
        return up.onward(running, skip=up.skip, places=up.places)


class _Around:
    """What numba's loop calls.

    No exception passes through that loop: on its way it would release what is not its own, and the interpreter crashes
    some time later (numba 0.68; a few hundred exceptions are enough).
    """

    def __init__(self, it: Iterator[Any], fn: Callable[[Any], Any]) -> None:
        self._it = it
        self._fn = fn
        self.error: BaseException | None = None

    def items(self) -> Iterator[Any]:
        try:
            yield from self._it
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error

    def call(self, item: Any) -> Any:
        try:
            return self._fn(item)
        except BaseException as error:
            self.error = error
            return None


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
