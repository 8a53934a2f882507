"""Where Composables begin: iterables, files, and random turns among several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isclose
from typing import Any, TypeVar

from penstock.core.context import Context
from penstock.core.pipe import IterDataPipe, Pipe
from penstock.core.stream import State, Stream
from penstock.iterstream._steps import Seed, seed_of
from penstock.iterstream.base import Composable, Piped
from penstock.pipes.lister import FileLister
from penstock.pipes.sample_multiplexer import SampleMultiplexer
from penstock.pipes.wrapper import IterableWrapper

__all__ = ["FilePathGenerator", "IterableSamplerSource", "IterableSource"]

T = TypeVar("T")


class IterableSource(Composable[T]):
    """Yield the items of an iterable, or of what a function returns.

    Args:
        source: an iterable, a DataPipe, or a function that returns an iterable and is called anew for each run: a
            generator function, a class, a `functools.partial`. Items are given as they are, and not copied.

    State: the index of the next item. A generator is restored by replay.

    Example:
        >>> IterableSource([1, 2]).collect(), IterableSource(lambda: iter("ab")).collect()
        ([1, 2], ['a', 'b'])
    """

    def __init__(self, source: Iterable[T] | Callable[[], Iterable[T]] = ()) -> None:
        super().__init__(source)

    @property
    def source(self) -> Any:
        return next(iter(self._wrapper.sources), self._source)  # another pipe may have replaced the one that was given

    @source.setter
    def source(self, source: Any) -> None:
        self._source = source
        # A pipe that is iterable and callable is a pipe.
        made: Any = _Made(source) if callable(source) and not isinstance(source, Pipe) else source
        self._wrapper: IterDataPipe[T] = IterableWrapper(made, deepcopy=False)

    @property
    def sources(self) -> tuple[Pipe, ...]:
        return (self._wrapper,)

    def with_sources(self, *sources: Pipe) -> IterableSource[T]:
        if sources == (self._wrapper,):
            return self
        copied: Any = self.__copy__()
        (copied._wrapper,) = sources
        return copied  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return len(self._wrapper)

    def build(self, ctx: Context, state: State = None) -> Stream[T]:
        return ctx.build(self._wrapper, state, indices=True, holes=True)


class _Made:
    """What a function returns, each time it is called, as one iterable."""

    def __init__(self, function: Callable[[], Iterable[Any]]) -> None:
        self._function = function

    def __iter__(self) -> Iterator[Any]:
        return iter(self._function())


class FilePathGenerator(Piped[str]):
    """Yield what is in a folder: ``protocol://path`` of each entry, in order. A folder that is missing is empty.

    Args:
        url: the folder: a local path, or a URL that fsspec knows.
        nested: go into folders, and yield files only.
        max_workers: kept for Squirrel's programs; a folder's listing is one request.
        max_keys: likewise.
        max_dirs: likewise.
        **storage_options: fsspec's, for the connection.

    State: the index in the listing, and the listing's hash.

    Example:
        >>> import fsspec
        >>> fsspec.filesystem("memory").pipe({"/folder/b/c.csv": b"", "/folder/a.csv": b""})
        >>> FilePathGenerator("memory://folder").collect()
        ['memory:///folder/a.csv', 'memory:///folder/b']
        >>> FilePathGenerator("memory://folder", nested=True).collect()
        ['memory:///folder/a.csv', 'memory:///folder/b/c.csv']
    """

    def __init__(
        self,
        url: str,
        nested: bool = False,
        max_workers: int | None = None,
        max_keys: int = 1_000_000,
        max_dirs: int = 10,
        **storage_options: Any,
    ) -> None:
        self.url = str(url)
        super().__init__(_Paths(self.url, nested, storage_options))


class _Paths(FileLister):
    def __init__(self, url: str, nested: bool, storage_options: dict[str, Any]) -> None:
        super().__init__(url)
        self._nested = nested
        self._storage_options = storage_options

    def _paths(self, root: str) -> Iterator[str]:
        import fsspec

        fs = fsspec.core.url_to_fs(root, **self._storage_options)[0]
        protocol = root.partition("://")[0] + "://" if "://" in root else ""
        todo = [root]
        found: list[str] = []
        while todo:
            try:
                entries = fs.ls(todo.pop(), detail=True)
            except FileNotFoundError:
                continue
            for entry in entries:
                if self._nested and entry["type"] == "directory":
                    todo.append(entry["name"])
                else:
                    found.append(f"{protocol}{entry['name'].rstrip('/')}")
        yield from sorted(found)


class IterableSamplerSource(Piped[T]):
    """Yield the items of several iterables in random turns, until all have ended.

    Args:
        iterables: them, or Composables, or other DataPipes.
        probs: a probability for each; equal unless given. What is left is shared in proportion as they end.
        rng: the seed is drawn from this one unless it is given.
        seed: makes the turns the same in every run; without it they depend on the loader's seed.

    Raises:
        ValueError: there is none, or the probabilities do not fit: one for each, above 0, and 1 in all.

    State: those of the sources, and how many choices have been made.

    Example:
        >>> sorted(IterableSamplerSource([[1, 2], "ab"], probs=[0.5, 0.5]).collect(), key=str)
        [1, 2, 'a', 'b']
    """

    def __init__(
        self,
        iterables: Sequence[Iterable[T]],
        probs: Sequence[float] | None = None,
        rng: Any = None,
        seed: Seed | None = None,
    ) -> None:
        if probs is not None:
            if len(probs) != len(iterables):
                raise ValueError(f"{len(iterables)} iterables need as many probabilities, got {len(probs)}")
            if not isclose(sum(probs), 1.0):
                raise ValueError(f"the probabilities must sum to 1, and sum to {sum(probs)}")
        weights = [1.0] * len(iterables) if probs is None else [float(p) for p in probs]
        pipes: dict[IterDataPipe[T], float] = {
            as_composable(iterable): weight for iterable, weight in zip(iterables, weights, strict=True)
        }
        super().__init__(SampleMultiplexer(pipes, seed_of(rng, seed)))


def as_composable(iterable: Any) -> Composable[Any]:
    """Return a Composable over an iterable or a pipe, a new one each time."""
    return Piped(iterable) if isinstance(iterable, IterDataPipe) else IterableSource(iterable)
