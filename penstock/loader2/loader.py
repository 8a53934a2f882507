"""DataLoader2: wiring only. The graph says what is loaded, the service where; this says when."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Generic, TypeVar

from penstock.core.bad import BadSamples
from penstock.core.errors import StateError
from penstock.core.losses import Losses
from penstock.core.pipe import IterDataPipe, MapDataPipe
from penstock.core.plan import samples_per_item
from penstock.core.seeds import draw_seed
from penstock.graph.fingerprint import fingerprint, permutations
from penstock.loader2.iterator import DataLoader2Iterator, Running
from penstock.loader2.steps import passed_over
from penstock.reading_service.again import made_again
from penstock.reading_service.base import Progress, ReadingService, Run, Session, first_progress
from penstock.reading_service.legacy import ReadingServiceInterface, as_service
from penstock.reading_service.length import graph_length
from penstock.reading_service.prepare import as_pipe
from penstock.state.snapshot import merged, restored, snapshot

__all__ = ["DataLoader2"]

T_co = TypeVar("T_co", covariant=True)
Adapter = Callable[[Any], Any]


class DataLoader2(Generic[T_co]):
    """Run a graph of pipes, epoch after epoch.

    Args:
        datapipe: the graph's last pipe. A torch ``Dataset`` or ``IterableDataset`` will do.
        datapipe_adapter_fn: a function of a graph, or several, applied in order; each returns a graph.
        reading_service: where the graph runs; in this process unless given. A service of your own, by torchdata's
            protocol (`ReadingServiceInterface`), will do.
        bad_samples: what to do with samples that cannot be loaded; their errors are raised unless given.
        progress: show a tqdm bar over each epoch; a dict gives tqdm's arguments.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> dl = DataLoader2(IterableWrapper(range(4)).shuffle().batch(2))
        >>> len(dl)
        2
        >>> for epoch in range(2):
        ...     dl.seed(epoch)
        ...     for batch in dl:
        ...         pass
        >>> dl.shutdown()
    """

    def __init__(
        self,
        datapipe: IterDataPipe[T_co] | MapDataPipe[T_co] | Any,
        datapipe_adapter_fn: Adapter | Iterable[Adapter] | None = None,
        reading_service: ReadingService | ReadingServiceInterface | None = None,
        *,
        bad_samples: BadSamples | None = None,
        progress: bool | dict[str, Any] = False,
    ) -> None:
        if datapipe is None:
            raise TypeError(
                "DataLoader2 needs a datapipe: states hold no graph, so make the graph again, and then call "
                "load_state_dict() or DataLoader2.from_state(datapipe, state)"
            )
        graph: Any = as_pipe(datapipe)
        if datapipe_adapter_fn is not None:
            for adapter in [datapipe_adapter_fn] if callable(datapipe_adapter_fn) else datapipe_adapter_fn:
                graph = adapter(graph)
        self.datapipe: Any = graph
        self._service = as_service(reading_service)
        self.reading_service: Any = self._service if reading_service is None else reading_service
        self._graph = self._service.adapt(graph)
        self._fingerprint = fingerprint(self._graph)
        self._permutations = permutations(self._graph)
        self._progress = progress
        self._bad = bad_samples
        self._session: Session | None = None
        self._closed = False
        self._seed: int | None = None  # what the user gave; None: a new one is drawn for each epoch
        self._epoch = 0  # the number of the epoch that the next iterator begins
        self._drawn: int | None = None  # the seed of the next epoch where the user gave none, once somebody has asked
        self._loaded: dict[str, Any] | None = None  # a state that the next iterator continues from
        self._lanes: int | None = None  # of each epoch, where the graph divides into lanes
        self._running: Running | None = None
        self._spans: list[tuple[int, int]] = []  # steps that the next iterator passes over
        self._batches = 0
        self._paused = False

    def seed(self, seed: int) -> None:
        """Fix the run's seed, and count its epochs from 0 again.

        After `load_state_dict` the state's own seed keeps the place in the epoch. Where the state was taken between two
        epochs there is no place to lose, and another seed begins its own epoch 0.

        Raises:
            ValueError: not in [0, 2**64).
            StateError: another seed than that of the state that has just been loaded, which is inside an epoch.
        """
        if not 0 <= seed < 1 << 64:
            raise ValueError(f"Expected an uint64 seed, but got {seed}.")
        if self._loaded is not None:
            if self._loaded["seeded"] and self._loaded["seed"] == seed:
                return
            if self._loaded["seeded"] and self._loaded["progress"] is not None:
                raise StateError(
                    f"the loaded state is of seed {self._loaded['seed']}, and cannot go on with seed {seed}"
                )
            if self._loaded["progress"] is None:
                self._loaded = None
        self._seed, self._epoch = seed, 0

    def __iter__(self) -> DataLoader2Iterator[T_co]:
        if self._closed:
            raise RuntimeError("Cannot iterate over the DataLoader as it has already been shut down")
        if self._running is not None:
            self._running.close()
        if self._session is None:
            self._session = self._service.start(self._graph)
        loaded = self._loaded
        if loaded is not None:
            seed, epoch, delivered = loaded["seed"], loaded["epoch"], loaded["delivered"]
        else:
            seed, epoch = self._next_epoch()
            delivered = 0
        start = Progress(**loaded["progress"]) if loaded is not None and loaded["progress"] is not None else None
        if self._session.plan.kind == "lanes" and self._lanes is None:
            self._lanes = self._session.lanes
        place = self._service.place()
        start = start or first_progress(self._session.plan, self._lanes or self._session.lanes, place.world_size)
        losses = None if self._bad is None else Losses(self._bad, place.rank, epoch, samples_per_item(self._graph))
        if losses is not None and loaded is not None:
            losses.restore(loaded["losses"], place.world_size)
        run = self._session.agreed(Run(seed, epoch, start, losses), delivered)
        self._running = Running(self._session.epoch(run), run, delivered, losses, place.rank)
        self._running.spans, self._spans = self._spans, []
        if loaded is not None:
            self._running.digest = loaded["digest"].get(str(place.rank), 0)
        # Only now: where a function of the user's has kept the epoch from beginning, it is still to come.
        self._loaded = self._drawn = None
        self._epoch = epoch + 1
        self._paused = False
        iterator: DataLoader2Iterator[T_co] = DataLoader2Iterator(self, self._running)
        return iterator

    def _next_epoch(self) -> tuple[int, int]:
        """Return the seed and the number of the epoch that begins next.

        Without a seed of the user's each epoch is number 0 of a new one, so that it depends on torch's generator only.
        It is drawn once: a state that is taken now begins the epoch that would have come.
        """
        if self._seed is not None:
            return self._seed, self._epoch
        if self._drawn is None:
            self._drawn = draw_seed()
        return self._drawn, 0

    def __len__(self) -> int:
        """Return how many batches an epoch has on this rank, over all workers.

        TypeError where the graph cannot tell.
        """
        workers: int = getattr(self._service, "num_workers", 1) or 1
        lanes = self._session.lanes if self._session is not None else getattr(self._service, "lanes", None)
        return graph_length(self._graph, self._lanes or lanes, workers, self._service.place())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "datapipe" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.datapipe, name)

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands after the last batch delivered, as plain JSON values.

        A state taken after an epoch's end begins the next one.
        """
        running = self._running
        if self._loaded is not None:
            return self._loaded
        seeded = self._seed is not None
        if running is None or running.ended:
            seed, epoch = self._next_epoch()
            state = snapshot(self._fingerprint, seed, seeded, epoch, self._lanes)
        else:
            run, progress, losses = running.run, running.epoch.progress.saved(), running.losses
            rank = str(running.rank)
            lost, digest = {} if losses is None else {rank: losses.counts()}, {rank: running.digest}
            sizes = {name: len(pipe) for name, pipe in self._permutations.items()}
            here = progress, running.delivered, lost, digest, sizes
            state = snapshot(self._fingerprint, run.seed, seeded, run.epoch, self._lanes, *here)
        of_service = self._service.save()
        return state if of_service is None else {**state, "service": of_service}

    def gather_state(self, state: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the state of all ranks, on every rank: for a graph of lanes, of which each rank knows its own.

        All ranks call it, at the same batch.

        Args:
            state: what `state_dict` returned at an earlier batch; that of now unless given.

        Raises:
            RankError: another rank did not come in time, or stands at another batch.
        """
        if self._session is None:
            self._session = self._service.start(self._graph)
        return merged(self._session.gathered(self.state_dict() if state is None else state))

    def load_state_dict(self, state: dict[str, Any] | list[dict[str, Any]], strict: bool = True) -> None:
        """Let the next iterator continue with the very next batch behind a state, on any number of ranks and workers.

        Args:
            state: what `state_dict` or `gather_state` returned, or a list of what several ranks' `state_dict` returned.
                With blocks any rank's state will do. With lanes a rank's is a part, which only that rank itself, among
                as many ranks, can continue from.
            strict: refuse a state of another graph. Otherwise what fits is taken, with a warning that says what
                differs: the place in the epoch, as long as each pipe that has a part in it is what it was and batches
                are as long; else the epoch begins anew, with its seed and number.

        Raises:
            StateError: the state is of another graph; or it is a part, and lanes of this rank are missing.
            TypeError: it has one of another kind of service.
        """
        place = self._service.place()
        whole = merged(state) if isinstance(state, list) else state
        state = restored(whole, self._graph, place.rank, place.world_size, strict=strict)
        anew = self._service.load(state.get("service"))
        self._loaded = state
        self._lanes = state["lanes"]
        if state["seeded"]:
            self._seed = state["seed"]
        self._epoch = state["epoch"]
        running, self._running = self._running, None
        session = self._session
        if anew:
            self._session = None
        try:  # both may run a function of the user's that raises; the state has been taken by then
            if running is not None:
                running.close()
        finally:
            if anew and session is not None:
                session.close()

    def skip_steps(self, begin: int, end: int) -> None:
        """Pass over the steps from ``begin`` up to ``end``, not included, as behind a spike of the loss.

        Steps are the batches of an epoch on this rank, from 0 on, and keep their numbers: it is the epoch that a loaded
        state is of, else the running one, else the next. All ranks do the same. Where the graph divides into blocks the
        steps cost next to nothing; where it divides into lanes, their batches are made and dropped.

        A batch of blocks that loses all of its samples counts as a step among those that are passed over.

        Raises:
            ValueError: ``begin`` has been delivered already, or is behind ``end``.
        """
        running, loaded = self._running, self._loaded
        now = loaded is None and running is not None and not (running.ended or running.closed)
        delivered = running.delivered if now and running is not None else loaded["delivered"] if loaded else 0
        if not delivered <= begin <= end:
            raise ValueError(f"{delivered} steps have been delivered, and skip_steps({begin}, {end}) must follow them")
        (running.spans if now and running is not None else self._spans).append((begin, end))

    def _pass_over(self, running: Running, steps: int) -> None:
        assert self._session is not None
        passed_over(self._session, running, steps, self._service.place())

    def at(self, step: int) -> T_co:
        """Return the batch of one step of the running or last epoch, made again in this process, for debugging.

        The epoch itself does not notice. Functions run in this process and thread, so a debugger stops in them; the
        global random generators are what they were for that batch, and are put back.

        Args:
            step: which of the batches of this rank, from 0 on.

        Raises:
            GraphError: the graph divides into lanes, or the step cannot be told for another reason, which it names.
            IndexError: there is no such step.
            RuntimeError: no epoch has begun.
        """
        if self._running is None:
            raise RuntimeError("no epoch has begun, so none of its steps can be made again")
        run, began_at = self._running.run, self._running.began_at
        batch: T_co = made_again(self._graph, run, began_at, step, self._service.place(), self._service)
        return batch

    @classmethod
    def from_state(
        cls,
        datapipe: Any,
        state: dict[str, Any] | None = None,
        reading_service: ReadingService | ReadingServiceInterface | None = None,
    ) -> DataLoader2[Any]:
        """Return a loader over ``datapipe`` that continues from a state.

        Raises:
            TypeError: a graph is missing: states hold none, as torchdata's do.
            StateError: the state is of another graph.
        """
        if not isinstance(state, dict):
            raise TypeError(
                "from_state(datapipe, state, reading_service=None) needs the datapipe: unlike torchdata's, a state "
                "holds no pickled graph, so make the graph again"
            )
        loader: DataLoader2[Any] = cls(datapipe, reading_service=reading_service)
        loader.load_state_dict(state)
        return loader

    def _restore_checkpoint_beginning_of_epoch(self) -> None:
        """Let the next iterator begin the epoch again that the loaded state is in, or else that began last."""
        running = self._running
        if self._loaded is not None:
            self._loaded = {**self._loaded, "progress": None, "delivered": 0, "losses": {}, "digest": {}, "lengths": {}}
        elif running is not None:
            running.close()
            run = running.run
            self._loaded = snapshot(self._fingerprint, run.seed, self._seed is not None, run.epoch, self._lanes)
            self._running = None

    def _end_epoch(self) -> None:
        """Take the running epoch as ended: a state that is taken now begins the next one."""
        if self._running is not None:
            self._running.ended = True

    def _pause(self) -> None:
        """Stop the running iterator until `_resume`; a service that cannot pause brings a warning."""
        if self._signal("_pause", None):
            self._paused = True
        else:
            warnings.warn("ReadingService doesn't support `_pause`.", stacklevel=3)

    def _resume(self) -> None:
        """Let a paused iterator go on."""
        if not self._paused:
            warnings.warn("Resume is called when `DataLoader2` is not paused. No operation is performed.", stacklevel=3)
            return
        self._signal("_resume", None)
        self._paused = False

    def _signal(self, hook: str, *arguments: Any) -> bool:
        return self._service.signal(hook, self._session, *arguments)

    def stats(self) -> dict[str, Any]:
        """Return counts: the epoch, batches delivered in it and in all, workers replaced, how the graph divides.

        ``dropped`` is how many batches of the epoch were read here and not given, because another rank had no more;
        ``skipped`` how many samples were bad, and ``retried`` how many attempts were repeated (see `BadSamples`);
        ``digest`` is of what this rank has delivered in it: runs with different ones have delivered different data.
        """
        running = self._running
        session = self._session
        return {
            "epoch": running.run.epoch if running is not None else self._epoch,
            "delivered": running.delivered if running is not None else 0,
            "delivered_total": self._batches,
            "division": session.plan.kind if session is not None else None,
            "lanes": self._lanes or (session.lanes if session is not None else None),
            "restarts": session.restarts if session is not None else 0,
            "dropped": running.epoch.dropped if running is not None else 0,
            "digest": running.digest if running is not None else 0,
            "skipped": running.losses.skipped if running is not None and running.losses is not None else 0,
            "retried": running.losses.retried if running is not None and running.losses is not None else 0,
        }

    @property
    def is_padding(self) -> bool:
        """Whether the last batch was delivered before, and is repeated while other ranks have more (see `FullSync`)."""
        return self._running is not None and self._running.epoch.is_padding

    def shutdown(self) -> None:
        """End the epoch and everything that runs. Shutting down twice does nothing."""
        self._closed = True
        try:
            if self._running is not None:
                self._running.close()
        finally:
            if self._session is not None:
                self._session.close()

    def __enter__(self) -> DataLoader2[T_co]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()
