"""SourceCombiner: several sources of a catalog as one data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.drivers.base import Driver, MapDriver
from penstock.iterstream.base import Composable
from penstock.iterstream.source import IterableSamplerSource, IterableSource
from penstock.pipes.multiplexer import MultiplexerLongest

if TYPE_CHECKING:
    import random

    from penstock.catalog import Catalog, CatalogSource

__all__ = ["SourceCombiner"]


class SourceCombiner(MapDriver):
    """Reads several sources of a catalog, its *subsets*, one by one or together.

    Args:
        subsets: the names of the subsets; of each the name and version of a source. A name alone means its latest.
        catalog: that which the sources are in.
        **kwargs: not looked at.

    Raises:
        ValueError: there is no catalog, or no subset.
        TypeError: a subset is no name, and no name and version.

    Example:
        >>> from penstock.catalog import Catalog, CatalogKey, Source
        >>> from penstock.drivers import JsonlDriver
        >>> catalog = Catalog()
        >>> for name, samples in {"cats": [1, 2], "dogs": [3]}.items():
        ...     JsonlDriver(f"memory://source_combiner/{name}").store.set(samples, key="0")
        ...     catalog[name] = Source("jsonl", {"url": f"memory://source_combiner/{name}"})
        >>> subsets = {"a": CatalogKey("cats"), "b": CatalogKey("dogs", 1)}
        >>> catalog["pets"] = Source("source_combiner", {"subsets": subsets})
        >>> pets = catalog["pets"].get_driver()
        >>> pets.get_iter().collect(), pets.get_iter("a").collect(), list(pets.get("b", "0"))
        ([1, 3, 2], [1, 2], [3])
    """

    name = "source_combiner"

    def __init__(
        self, subsets: Mapping[str, str | Sequence[Any]], catalog: Catalog | None = None, **kwargs: Any
    ) -> None:
        super().__init__(catalog)
        if catalog is None:
            raise ValueError("a source_combiner needs the catalog that its subsets are in")
        if not subsets:
            raise ValueError("a source_combiner needs at least one subset")
        self._sources = {subset: _key(subset, key) for subset, key in subsets.items()}

    @property
    def subsets(self) -> list[str]:
        """The names of the subsets."""
        return list(self._sources)

    def get_source(self, subset: str) -> CatalogSource:
        """Return the source of a subset.

        Raises:
            KeyError: there is no such subset, or the catalog has no such source.
        """
        if subset not in self._sources:
            raise KeyError(f"there is no subset {subset!r}; there are {', '.join(map(repr, self._sources))}")
        source: CatalogSource = self._catalog[self._sources[subset]]
        return source

    def get_iter(self, subset: str | None = None, **kwargs: Any) -> Composable[Any]:  # type: ignore[override]
        """Return a stream of a subset, or of all of them: an item of each in turn, until all have ended.

        Args:
            subset: the one; all unless given.
            **kwargs: of each driver's ``get_iter``.
        """
        if subset is not None:
            stream: Composable[Any] = self._driver(subset).get_iter(**kwargs)
            return stream
        streams = [IterableSource(self.get_iter(subset, **kwargs)) for subset in self._sources]
        return IterableSource(MultiplexerLongest(*streams))

    def get_iter_sampler(
        self,
        probs: list[float] | None = None,
        rng: random.Random | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> Composable[Any]:
        """Return a stream of all subsets: each item is of one drawn at random, until all have ended.

        Args:
            probs: how often each is drawn; equally often unless given.
            rng: what draws.
            seed: of what draws.
            **kwargs: of each driver's ``get_iter``.
        """
        streams = [self.get_iter(subset, **kwargs) for subset in self._sources]
        return IterableSamplerSource(streams, probs, rng, seed)

    def keys(self, subset: str, **kwargs: Any) -> Iterable[Any]:  # type: ignore[override]
        """Return the keys of a subset."""
        keys: Iterable[Any] = self._driver(subset).keys(**kwargs)
        return keys

    def get(self, subset: str, key: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Return what is under a key of a subset."""
        return self._driver(subset).get(key, **kwargs)

    def get_df(self, subset: str, **kwargs: Any) -> Any:
        """Return a subset as a data frame, where its driver does that. ``kwargs`` are of its reading function."""
        return self._driver(subset).get_df(**kwargs)

    def get_store(self, subset: str) -> Any:
        """Return the store of a subset, where its driver has one."""
        return self._driver(subset).store

    def _driver(self, subset: str) -> Any:
        driver: Driver = self.get_source(subset).get_driver()
        return driver


def _key(subset: str, key: Any) -> tuple[str, int]:
    """The name and version that a subset stands for."""
    if isinstance(key, str):
        return key, -1
    if isinstance(key, (list, tuple)) and [type(part) for part in key] == [str, int]:
        return key[0], key[1]
    raise TypeError(f"the subset {subset!r} must be the name of a source, or a name and a version; got {key!r}")
