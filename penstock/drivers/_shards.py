"""The samples of a store's shards: read where the stream runs, or whole, on threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from penstock.core.bad import HOLE, Lossy
from penstock.core.context import Context
from penstock.core.errors import DecodeError
from penstock.core.pipe import IterDataPipe
from penstock.core.stream import State, Stream
from penstock.pipes._nested import nested
from penstock.pipes.shard_reader import Failed, Patient, ShardPart, ShardReaders
from penstock.serialization.shard import ShardReader

if TYPE_CHECKING:
    from penstock.drivers.store import StoreDriver

__all__ = ["Samples", "Shards", "Whole"]


class Shards(ShardReaders):
    """The samples of the shards whose keys the source gives."""

    def __init__(self, keys: IterDataPipe[Any], driver: StoreDriver) -> None:
        self.source_datapipe = keys
        self.driver = driver

    def reader(self, item: Any, failed: Failed | None, patient: Patient) -> tuple[ShardReader, str | None]:
        return self.driver.store.reader(item, failed, patient), _key(self.driver, item)


class Whole:
    """Reads a shard to its end. A `Lossy` with the error stands for what cannot be read: a thread knows no policy."""

    def __init__(self, driver: StoreDriver) -> None:
        self._driver = driver

    def __call__(self, key: Any) -> list[Any]:
        def failed(error: DecodeError) -> Lossy:
            return Lossy(HOLE, [{"source": key, "error": reader.named(error)}])

        reader = self._driver.store.reader(key, failed)
        samples: list[Any] = []
        try:
            samples.extend(ShardPart(reader, _key(self._driver, key)).it)
        except DecodeError as error:  # what is behind it is lost
            samples.append(failed(error))
        return samples


class Samples(IterDataPipe[Any]):
    """The samples of shards that `Whole` has read: what could not be is raised here, or left out, each in its place."""

    def __init__(self, shards: IterDataPipe[list[Any]]) -> None:
        self.source_datapipe = shards

    def build(self, ctx: Context, state: State = None) -> Stream[Any]:
        bad, where = ctx.bad, ctx.place(self) if ctx.bad is not None else {}

        def expand(samples: list[Any]) -> Iterator[Any]:
            for sample in samples:
                if type(sample) is Lossy:
                    (lost,) = sample.losses
                    if bad is None:
                        raise lost["error"]
                    sample = Lossy(HOLE, [bad.loss(lost["source"], lost["error"], where)])
                yield sample

        return nested(self, self.source_datapipe, expand, ctx, state)


def _key(driver: StoreDriver, item: Any) -> str | None:
    return str(item) if driver.with_keys else None
