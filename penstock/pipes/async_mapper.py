"""BatchAsyncMapper (``async_map_batches``): a coroutine function that runs for a whole batch at once."""

from __future__ import annotations

import contextvars
import inspect
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.core.bad import HOLE, BadSamples, Lossy, gathered
from penstock.core.chunk import DataChunk
from penstock.core.context import Context
from penstock.core.pipe import OTHER, IterDataPipe, check_source
from penstock.core.registry import functional_datapipe
from penstock.core.stream import State, Stream
from penstock.pipes._columns import Columns, check_columns, on_columns, pick
from penstock.pipes._nested import nested
from penstock.pipes.batcher import Batcher

if TYPE_CHECKING:
    import asyncio  # at run time where it is used: it takes a tenth of the time that `import penstock` may take

T = TypeVar("T")


@functional_datapipe("async_map_batches")
class BatchAsyncMapper(IterDataPipe[Any]):
    """Await a coroutine function for every item of a batch at once (functional name: ``async_map_batches``).

    ``x`` becomes ``await async_fn(x)``, in order. The next batch begins when all of one is done. The event loop is the
    stream's own; where a loop runs already (in a notebook, say), it works in a thread beside it.

    Args:
        source_datapipe: the source.
        async_fn: the coroutine function (``async def``).
        batch_size: items per batch, at least 1.
        input_col: the columns (keys or indices) of an item that ``async_fn`` gets; the whole item unless given.
        output_col: where the result goes: in place of the first input column unless given; -1 appends it.
        max_concurrency: how many items of a batch may be awaited at a time, at least 1.
        flatten: yield the results one by one; otherwise a list for each batch.

    Raises:
        ValueError: ``async_fn`` is no coroutine function, or the columns do not fit together.

    State: the source's state ahead of the batch, and how many of its results have been given. Restoring runs the
        function again for one batch. None of its own with ``flatten=False``.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> async def double(x):
        ...     return 2 * x
        >>> list(IterableWrapper(range(5)).async_map_batches(double, 3))
        [0, 2, 4, 6, 8]
        >>> list(IterableWrapper(range(5)).async_map_batches(double, 3, flatten=False))
        [[0, 2, 4], [6, 8]]
    """

    def __init__(
        self,
        source_datapipe: IterDataPipe[T],
        async_fn: Callable[..., Any],
        batch_size: int,
        input_col: Columns | None = None,
        output_col: Columns | None = None,
        max_concurrency: int = 32,
        flatten: bool = True,
    ) -> None:
        source_datapipe = check_source(self, source_datapipe)
        if not _is_async(async_fn):
            raise ValueError(f"Expected a coroutine function with an async def syntax, but got a {type(async_fn)}")
        check_columns(async_fn, input_col, output_col)
        if max_concurrency < 1:
            raise ValueError(f"max_concurrency must be at least 1, got {max_concurrency}")
        self.datapipe = Batcher(source_datapipe, batch_size)
        self.async_fn = async_fn
        self.batch_size = batch_size
        self.input_col = input_col
        self.output_col = output_col
        self.max_concurrency = max_concurrency
        self.flattened = flatten
        self.arity = OTHER if flatten else 1  # of batches; what a batch is made of is for the Batcher to say

    def __len__(self) -> int:
        return len(self.datapipe.datapipe) if self.flattened else len(self.datapipe)

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        loop = _Loop()

        one = self._one if ctx.bad is None else _tolerant(self._one, ctx.bad, ctx.place(self))

        def expand(batch: DataChunk[Any]) -> list[Any]:
            return loop.run(_gather(one, batch, self.max_concurrency))

        if self.flattened:
            stream = nested(self, self.datapipe, expand, ctx, state)
        else:
            whole = expand if ctx.bad is None else lambda batch: gathered(expand(batch), list)
            stream = ctx.each(self, self.datapipe, state, whole)
        closed = Stream(stream.it, stream.state, skip=stream.skip, places=stream.places, closers=(stream, loop))
        weakref.finalize(closed, loop.close)  # for a stream that is dropped
        return closed

    async def _one(self, item: Any) -> Any:
        columns = self.input_col
        if columns is None:
            return await self.async_fn(item)
        value = await self.async_fn(*pick(item, columns))
        return on_columns(lambda *_: value, columns, self.output_col)(item)


def _tolerant(
    fn: Callable[[Any], Coroutine[Any, Any, Any]], bad: BadSamples, place: dict[str, Any]
) -> Callable[[Any], Coroutine[Any, Any, Any]]:
    """Return a coroutine function that gives a hole where it fails."""

    async def call(item: Any) -> Any:
        tried = 0
        while True:
            try:
                made = await fn(item)
                return Lossy(made, retried=tried) if tried else made
            except Exception as error:
                if not bad.tries_again(error, tried):
                    return Lossy(HOLE, [bad.loss(item, error, place)], tried)
            await asyncio.sleep(bad.backoff_s * 2**tried)
            tried += 1

    import asyncio

    return call


def _is_async(fn: object) -> bool:
    call = getattr(type(fn), "__call__", None)  # noqa: B004  # its code is wanted, not whether it is there
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(call)


async def _gather(fn: Callable[[Any], Coroutine[Any, Any, Any]], batch: list[Any], limit: int) -> list[Any]:
    """Await ``fn`` for all items, in order. The first exception cancels the others, and waits until they are gone."""
    import asyncio

    free = asyncio.Semaphore(limit)

    async def one(number: int, item: Any) -> Any:
        async with free:
            try:
                return await fn(item)
            except Exception as error:
                error.add_note(f"penstock: raised for item {number} of a batch of {len(batch)}")
                raise

    tasks = [asyncio.ensure_future(one(number, item)) for number, item in enumerate(batch)]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Loop:
    """An event loop, made for the first batch, that can be used whether or not another one runs in the thread."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, in a copy of the caller's context."""
        import asyncio

        if self._runner is None:
            self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        runner, context = self._runner, contextvars.copy_context()
        return _beside_a_loop(lambda: runner.run(main, context=context))

    def close(self) -> None:
        """Close the loop. Closing twice does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            _beside_a_loop(runner.close)


def _beside_a_loop(work: Callable[[], T]) -> T:
    """Call ``work``, in a thread of its own where an event loop runs in this one, and wait for it."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="penstock-async_map_batches", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure.pop()
    return outcome[0]
