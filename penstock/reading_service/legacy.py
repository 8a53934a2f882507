"""Services that users wrote for torchdata, made to run as ours do.

::

    initialize                                    once, or restore where a state of the service was loaded
      initialize_iteration  ...  finalize_iteration     each epoch
    finalize                                      once

A service that runs in this process gives a pipe: it runs as under `InProcessReadingService`, and is restored at once.
What is no pipe but iterates is restored by replay, or at once where its iterator has ``state_dict`` and
``load_state_dict``.
"""

from __future__ import annotations

import base64
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

from penstock.core.context import Context, Share, current_context
from penstock.core.errors import StateError
from penstock.core.pipe import IterDataPipe, MapDataPipe
from penstock.core.plan import Plan, plan
from penstock.core.seed_generator import SeedGenerator
from penstock.core.seeds import epoch_in_reset
from penstock.core.user import Stateful
from penstock.core.walk import Names
from penstock.graph.settings import apply_sharding
from penstock.pipes.sharding import SHARDING_PRIORITIES
from penstock.reading_service.base import ALONE, Epoch, Place, Progress, ReadingService, Run, Session, first_progress
from penstock.reading_service.hooks import call_hook, epoch_seeds
from penstock.reading_service.in_process import InProcessReadingService
from penstock.reading_service.prepare import prepared

__all__ = ["CheckpointableReadingServiceInterface", "ReadingServiceInterface", "UserService", "as_service"]


class ReadingServiceInterface(ABC):
    """A service of your own, by torchdata's protocol. `DataLoader2` calls each method in its turn, each once.

    A service may also have ``_pause(fn)``, ``_resume(fn)`` and ``_limit(n, fn)``.

    Example:
        >>> from penstock import DataLoader2, IterableWrapper
        >>> class Doubling(ReadingServiceInterface):
        ...     def initialize(self, datapipe):
        ...         return datapipe.map(lambda x: 2 * x)
        >>> with DataLoader2(IterableWrapper([1, 2]), reading_service=Doubling()) as dl:
        ...     list(dl)
        [2, 4]
    """

    @abstractmethod
    def initialize(self, datapipe: Any) -> Any:
        """Return what will run: a graph made of ``datapipe``, a copy of the user's, or anything that iterates."""

    def initialize_iteration(
        self, seed_generator: SeedGenerator, iter_reset_fn: Callable[[Any], Any] | None = None
    ) -> Callable[[Any], Any] | None:
        """Prepare an epoch. What is returned, if anything, gets the graph and returns the one to run."""
        return None

    def finalize_iteration(self) -> None:
        """End an epoch: at its end, or where it is left."""
        return

    def finalize(self) -> None:
        """End the service."""
        return


class CheckpointableReadingServiceInterface(ReadingServiceInterface):
    """A service that has a state of its own beside that of its graph."""

    @abstractmethod
    def checkpoint(self) -> bytes:
        """Return the state."""

    @abstractmethod
    def restore(self, datapipe: Any, serialized_state: bytes) -> Any:
        """Do what ``initialize`` does, and go on from a state."""


def as_service(service: Any) -> ReadingService:
    """Return a service as it is, and one of torchdata's protocol adapted.

    Raises:
        TypeError: it is neither.
    """
    if service is None:
        return InProcessReadingService()
    if isinstance(service, ReadingService):
        return service
    if isinstance(service, ReadingServiceInterface) or callable(getattr(service, "initialize", None)):
        return UserService(service)
    raise TypeError(f"a ReadingService or a ReadingServiceInterface is expected, but got {type(service).__name__}")


class UserService(ReadingService):
    """Runs a service of torchdata's protocol.

    Args:
        service: the user's. It is not copied, so what it counts can be looked at.
    """

    def __init__(self, service: Any) -> None:
        self._user = service
        self._saved: str | None = None  # a state that has been loaded, until the service starts with it
        self._session: weakref.ref[_UserSession] | None = None

    @property
    def kind(self) -> str:
        return f"{type(self._user).__module__}.{type(self._user).__qualname__}"

    def adapt(self, graph: Any, *, divided: bool = False) -> IterDataPipe[Any]:
        return prepared(graph, sharded=divided)

    def start(self, graph: IterDataPipe[Any], place: Place = ALONE) -> Session:
        copied = prepared(graph, sharded=False)  # the service may change it
        if place.world_size > 1:  # as in torchdata: the ranks' division is applied first, and the service divides on
            apply_sharding(copied, place.world_size, place.rank, SHARDING_PRIORITIES.DISTRIBUTED)
        if self._saved is None:
            made = self.call("initialize", copied)
        else:
            made = self.call("restore", copied, base64.b64decode(self._saved))
        self._saved = None
        session = _UserSession(self, made, place)
        self._session = weakref.ref(session)
        return session

    def call(self, hook: str, *arguments: Any) -> Any:
        """Call a hook of the user's service, if it has it."""
        function = getattr(self._user, hook, None)
        return None if function is None else call_hook(f"{hook} of {self.kind}", function, *arguments)

    def save(self) -> dict[str, str] | None:
        session = self._session() if self._session is not None else None
        if session is not None and session.place.world_size > 1:
            raise StateError(f"{self.kind} divides a rank's work in its own way, so ranks have no states here")
        if self._saved is None and session is not None and session.open and hasattr(self._user, "checkpoint"):
            saved = base64.b64encode(self.call("checkpoint")).decode("ascii")
            return {"service": self.kind, "checkpoint": saved}
        return None if self._saved is None else {"service": self.kind, "checkpoint": self._saved}

    def load(self, saved: Any) -> bool:
        if saved is None:
            self._saved = None
            return False
        if saved["service"] != self.kind or not hasattr(self._user, "restore"):
            raise TypeError(f"the state has one of the service {saved['service']}, which {self.kind} cannot restore")
        self._saved = saved["checkpoint"]
        return True

    def signal(self, hook: str, session: Session | None, *arguments: Any) -> bool:
        if not hasattr(self._user, hook):
            return False
        changed = self.call(hook, *arguments)
        if callable(changed) and isinstance(session, _UserSession):
            session.change(changed)
        return True


class _UserSession(Session):
    def __init__(self, service: UserService, made: Any, place: Place) -> None:
        self._service = service
        self.place = place
        self.open = True
        self._finalizer = weakref.finalize(self, _finalize, os.getpid(), service)
        self.plan = Plan("whole")
        self.lanes = place.world_size
        self._graph: Any = None
        self._run_on(made)

    def _run_on(self, made: Any) -> None:
        if isinstance(made, MapDataPipe):
            made = made.to_iter_datapipe()
        self._graph = made
        if isinstance(made, IterDataPipe):
            self.plan = plan(made) if self.place == ALONE else Plan("whole")
        elif not hasattr(made, "__iter__"):
            raise TypeError(f"initialize of {self._service.kind} must return what iterates, got {type(made).__name__}")

    def change(self, function: Callable[[Any], Any]) -> None:
        """Let the user's service exchange the graph; the running epoch goes on with the one it has."""
        made = call_hook(f"what a hook of {self._service.kind} returned", function, self._graph)
        if made is not None:
            self._run_on(made)

    def epoch(self, run: Run) -> Epoch:
        token = epoch_in_reset.set(run.epoch)
        try:
            reset = self._service.call("initialize_iteration", epoch_seeds(run), None)
            if callable(reset):
                self.change(reset)
        finally:
            epoch_in_reset.reset(token)
        try:
            if self.place != ALONE:  # what the rank runs is its own, from the start
                here = plan(self._graph) if isinstance(self._graph, IterDataPipe) else Plan("whole")
                run = replace(run, progress=first_progress(here, 1))
            if isinstance(self._graph, IterDataPipe):
                inner: Epoch = InProcessReadingService().start(self._graph).epoch(run)
            else:
                inner = _Iterated(self._graph, run)
        except Exception as error:
            self._service_finalizes(error)
            raise
        return _UserEpoch(self._service, inner, self._graph, self.place)

    def _service_finalizes(self, error: Exception) -> None:
        _quietly(error, lambda: self._service.call("finalize_iteration"))

    def close(self) -> None:
        self.open = False
        self._finalizer()


def _finalize(pid: int, service: UserService) -> None:
    if os.getpid() == pid:  # a fork of the trainer has not begun it
        service.call("finalize")


class _UserEpoch(Epoch):
    """An epoch whose end the user's service is told of, once."""

    def __init__(self, service: UserService, inner: Epoch, graph: Any, place: Place) -> None:
        self._service = service
        self._place = place
        self._inner = inner
        self._open = True
        self._pid = os.getpid()
        self.target = inner.target if inner.target is not None else graph

    def __next__(self) -> Any:
        if not self._open:
            raise StopIteration
        try:
            return next(self._inner)
        except StopIteration:
            self.close()
            raise
        except Exception as error:
            _quietly(error, self.close)
            raise

    @property
    def progress(self) -> Progress:  # type: ignore[override]  # the inner epoch's
        return self._inner.progress if self._place == ALONE else Progress("lanes", self._place.world_size)

    def close(self) -> None:
        if not self._open or os.getpid() != self._pid:
            return
        self._open = False
        try:
            self._inner.close()
        finally:
            self._service.call("finalize_iteration")


class _Iterated(Epoch):
    """An epoch of what is no pipe. Pipes inside it run with the epoch's seed, as long as they run in this thread."""

    def __init__(self, data: Any, run: Run) -> None:
        self._context = Context(Names([]), seed=run.seed, epoch=run.epoch, share=Share())
        self._given = 0
        self._ended = "0" in run.progress.ended
        saved = run.progress.states.get("0") or {"given": 0}
        token = current_context.set(self._context)
        try:
            self.target = self._it = iter(data)
            if "own" in saved and isinstance(self._it, Stateful):
                self._it.load_state_dict(saved["own"])
                self._given = saved["given"]
            else:
                self._given = sum(1 for _ in islice(self._it, saved["given"]))
        finally:
            current_context.reset(token)
        if self._given < saved["given"]:
            raise StateError(
                f"{type(data).__name__} had given {saved['given']} items when the state was saved, "
                f"and now has only {self._given}"
            )

    def __next__(self) -> Any:
        if self._ended:
            raise StopIteration
        token = current_context.set(self._context)
        try:
            item = next(self._it)
        finally:
            current_context.reset(token)
        self._given += 1
        return item

    @property
    def progress(self) -> Progress:  # type: ignore[override]  # computed only when somebody asks
        state: dict[str, Any] = {"given": self._given}
        if isinstance(self._it, Stateful):
            state["own"] = self._it.state_dict()
        return Progress(
            "lanes", 1, states={"0": state}, given={"0": self._given}, ended={"0": True} if self._ended else {}
        )

    def close(self) -> None:
        close = getattr(self._it, "close", None)
        if callable(close):
            close()


def _quietly(error: Exception, function: Callable[[], Any]) -> None:
    """Call what tidies up behind an error; where it fails as well, the error says so."""
    try:
        function()
    except Exception as another:
        error.add_note(f"penstock: and then, {type(another).__name__}: {another}")
        for note in getattr(another, "__notes__", ()):
            error.add_note(note)
