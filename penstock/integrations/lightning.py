"""LightningLoader: a DataLoader2 whose place is in Lightning's checkpoints.

Lightning saves and loads the state of any loader that has one, and three things keep that from being exact:

- It reads one batch ahead of the training where it does not know how many there are, so the loader's own place is one
  batch too far. Hence the state from ahead of the last batch is kept, and saved where the trainer's count says so.
- It writes what rank 0 hands in, and with lanes that is a part. Hence the state of all ranks is gathered.
- It restores loaders inside an epoch only. Behind an epoch's end a fresh loader would repeat its first epoch. Hence the
  loader is a callback as well: those are always restored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.core.errors import MissingExtra, StateError
from penstock.loader2.loader import DataLoader2

try:
    from lightning.pytorch import Callback
except ImportError as error:
    raise MissingExtra("LightningLoader needs lightning: pip install 'penstock[lightning]'") from error

__all__ = ["LightningLoader"]


class LightningLoader(Callback):  # type: ignore[misc]  # mypy reads no lightning
    """Train from a DataLoader2 with Lightning, and resume with the very next batch.

    It is given to Lightning twice, as the loader and as a callback::

        loader = LightningLoader(DataLoader2(datapipe, reading_service=reading_service))
        trainer = Trainer(callbacks=[loader, ...], ...)
        trainer.fit(model, loader, ckpt_path=...)

    Args:
        loader: the loader of the training data.
        name: tells several of them apart, in one checkpoint.

    Raises:
        RuntimeError: (when iterated) it is not among the trainer's callbacks.

    Example:
        >>> from penstock import DataLoader2, IterableWrapper
        >>> loader = LightningLoader(DataLoader2(IterableWrapper(range(8)).batch(2)))
        >>> len(loader)
        4
    """

    def __init__(self, loader: DataLoader2[Any], *, name: str = "loader") -> None:
        self.loader = loader
        self._name = name
        self._trainer: Any = None
        self._begun: tuple[int, dict[str, Any]] | None = None  # batches trained in all before this epoch, and its start
        self._behind: tuple[int, dict[str, Any]] | None = (
            None  # batches delivered ahead of the last, and the state there
        )

    @property
    def state_key(self) -> str:
        """The key of the state among those of all callbacks."""
        return f"penstock.{self._name}"

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Learn whose batches are counted."""
        self._trainer = trainer

    def __iter__(self) -> Iterator[Any]:
        if self._trainer is None:
            raise RuntimeError(
                "a LightningLoader belongs among the callbacks as well: Trainer(callbacks=[loader, ...])"
            )
        trained = self._trainer.fit_loop.epoch_loop.batch_progress.total.ready
        # Behind an epoch's end Lightning resumes with two iterators, and drops the first without training from it.
        if self._begun is not None and self._begun[0] == trained:
            self.loader.load_state_dict(self._begun[1])
        self._begun = (trained, self.loader.state_dict())
        it = iter(self.loader)
        self._behind = None
        return self._items(it)

    def _items(self, it: Iterator[Any]) -> Iterator[Any]:
        while True:
            self._behind = (self._delivered(), self.loader.state_dict())
            try:
                item = next(it)
            except StopIteration:
                return
            yield item

    def __len__(self) -> int:
        """Return how many batches an epoch has. TypeError where the graph cannot tell, or it depends on other ranks."""
        if self.loader._service.place().world_size > 1:
            raise TypeError("how many batches a rank has depends on the other ranks")
        return len(self.loader)

    def state_dict(self) -> dict[str, Any]:
        """Return the state behind the batch that was trained last, of all ranks; all ranks call it.

        Raises:
            StateError: more than one batch has been read ahead, by a training step of your own; or a CombinedLoader of
                several has begun this one again.
        """
        progress = self._trainer.fit_loop.epoch_loop.batch_progress
        trained = progress.current.ready
        if progress.is_last_batch:
            self.loader._end_epoch()
        elif trained != self._delivered():
            if self._behind is None or self._behind[0] != trained:
                raise StateError(
                    f"{trained} batches have been trained of {self._delivered()} that were read; a LightningLoader can "
                    "be saved where one at most has been read ahead"
                )
            return self.loader.gather_state(self._behind[1])
        return self.loader.gather_state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state, with the next epoch's iterator."""
        self.loader.load_state_dict(state_dict)
        self._begun = None

    def _delivered(self) -> int:
        delivered: int = self.loader.stats()["delivered"]
        return delivered
