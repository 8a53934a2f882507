"""The two families of pipes.

A pipe is a description of one step: cheap, picklable, printable; it never holds a position.
"""

from __future__ import annotations

import copy
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, GenericAlias
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Self, TypeVar, cast

from penstock.core._fluent import IterFluent, MapFluent

if TYPE_CHECKING:
    from penstock.core.context import Context
    from penstock.core.stream import State, Stream

T_co = TypeVar("T_co", covariant=True)
P = TypeVar("P", bound="Pipe")
S = TypeVar("S")

# How many source items make one item of a pipe. ``batch(n)`` has arity n; OTHER says that the number is not fixed.
ONE_TO_ONE: Final = 1
OTHER: Final = 0

# A container with more entries than this is searched for source pipes only if its first entry is one: a list of a
# million samples is data, not a graph.
_SEARCHED_ENTRIES: Final = 1000


class Pipe:
    """What both families share: sources, a name, and the place in the user's program where the pipe was made."""

    arity: int = OTHER
    splits_itself: ClassVar[bool] = False  # where no service arranges the run it asks torch for its share
    is_of_state: ClassVar[bool] = True  # a pipe without a part in states may come and go between two runs
    in_any_order: bool = False  # from one state it may give its items in another order: only a state tells which
    is_permutation: ClassVar[bool] = False  # all of its data in one order: of more data, or less, in another one
    holds_nothing: ClassVar[bool] = False  # of arity OTHER: its state is that of its sources, where they are now
    functions: ClassVar[dict[str, type[Pipe]]] = {}
    _functional_name: str | None = None
    _name: str | None = None
    _site: tuple[str, int] | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note where the user makes the pipe, also where a class of theirs does not call ``super().__init__``."""
        self = super().__new__(cls)
        self._site = _creation_site()
        return self

    def __copy__(self) -> Self:
        """Return a copy as it is: `__getstate__` is for pickling, and may pack or order data."""
        new = object.__new__(type(self))
        vars(new).update(vars(self))
        return new

    @property
    def sources(self) -> tuple[Pipe, ...]:
        """The pipes that this one reads from, found among its attributes (also in lists, tuples and dicts)."""
        found: dict[int, Pipe] = {}
        for value in vars(self).values():
            for pipe in _pipes_in(value, 3):
                found.setdefault(id(pipe), pipe)
        return tuple(found.values())

    @property
    def has_rows(self) -> bool:
        """Whether what it gives may be indices, for which a step behind it gets the items."""
        return False

    @property
    def is_sharding_point(self) -> bool:
        """Whether the work is divided here: the pipe has ``apply_sharding``, as torchdata's protocol has it."""
        return hasattr(self, "apply_sharding")

    def with_sources(self: P, *sources: Pipe) -> P:
        """Return a copy that reads from ``sources``, given in the order of `sources`."""
        mine = self.sources
        if len(mine) != len(sources):
            raise ValueError(f"{self!r} has {len(mine)} sources, but {len(sources)} were given")
        if all(old is new for old, new in zip(mine, sources, strict=True)):
            return self
        swap = {id(old): new for old, new in zip(mine, sources, strict=True)}
        new = copy.copy(self)
        for key, value in vars(self).items():
            setattr(new, key, _swapped(value, swap, 3))
        return new

    def frozen(self: P) -> P:
        """Return a copy in which what may differ between two processes (a folder's listing) has been read, once."""
        return self

    def holds(self) -> Any:
        """Return what tells the data of this source from other data, as a JSON value: how much it is, and its names.

        Ranks that divide a source compare it. None where nothing is known without reading.
        """
        return None

    def named(self: P, name: str) -> P:
        """Return a copy with a name of its own, unique in its graph: state and randomness are keyed by it."""
        new = copy.copy(self)
        new._name = name
        return new

    def _make(self, function: str, name: str | None, *args: Any, **kwargs: Any) -> Any:
        made: Any = type(self).functions[function](self, *args, **kwargs)
        if name is not None and not isinstance(made, list):
            made._name = name
        elif name is not None:
            for i, pipe in enumerate(pipe for pipe in made if pipe is not self):
                pipe._name = f"{name}[{i}]"
        return made

    def __repr__(self) -> str:
        return type(self).__name__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Show the graph that ends in this pipe in a notebook."""
        from penstock.core.render import mimebundle

        return mimebundle(self)

    def _repr_html_(self) -> str:
        return self._repr_mimebundle_()["text/html"]


class IterDataPipe(IterFluent[T_co], Pipe, Generic[T_co]):
    """A stream of items.

    A pipe of your own is a class with an ``__init__`` that keeps its sources as attributes, and a generator
    ``__iter__``; a pipe that should restore in constant time has `build` instead.

    Example:
        >>> from penstock.pipes import IterableWrapper, IterDataPipe
        >>> class Doubler(IterDataPipe[int]):
        ...     def __init__(self, source_datapipe):
        ...         self.source_datapipe = source_datapipe
        ...     def __iter__(self):
        ...         for x in self.source_datapipe:
        ...             yield 2 * x
        >>> list(Doubler(IterableWrapper([1, 2, 3])))
        [2, 4, 6]
    """

    functions: ClassVar[dict[str, type[Pipe]]] = {}

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Let torch's DataLoader know the pipe, where torch is loaded."""
        self = super().__new__(cls, *args, **kwargs)
        join_torch()
        return self

    def build(self, ctx: Context, state: State = None) -> Stream[T_co]:
        """Return the stream that runs this pipe in ``ctx``, standing where ``state`` says (None: at the start)."""
        from penstock.core.user import user_stream

        return user_stream(self, ctx, state)

    def __class_getitem__(cls, item: Any) -> Any:
        """Let ``Pipe[T]`` stand in annotations for every pipe, also one whose items have a type of their own."""
        try:
            return super().__class_getitem__(item)  # type: ignore[misc]  # of Generic, which does not declare it
        except TypeError:
            return GenericAlias(cls, item)

    def __iter__(self) -> Iterator[T_co]:
        from penstock.core.iterate import PipeIterator

        return PipeIterator(self)

    def __len__(self) -> int:
        raise no_length(self)

    def __bool__(self) -> bool:
        return True

    @classmethod
    def register_datapipe_as_function(cls, function_name: str, cls_to_register: type, **_: Any) -> None:
        """Make ``pipe.function_name(...)`` build ``cls_to_register``."""
        from penstock.core.registry import register

        register(cls, function_name, cls_to_register)

    @classmethod
    def register_function(cls, function_name: str, function: Callable[..., Any]) -> None:
        """Make ``function`` a method of every pipe, under ``function_name``."""
        setattr(cls, function_name, function)


class MapDataPipe(MapFluent[T_co], Pipe, Generic[T_co]):
    """Random access: ``pipe[i]`` and ``len(pipe)``; and ``__getitems__`` where many can be had in one go.

    Example:
        >>> from penstock.pipes.map import SequenceWrapper
        >>> pipe = SequenceWrapper([10, 20, 30]).map(lambda x: x + 1)
        >>> pipe[2], len(pipe)
        (31, 3)
    """

    functions: ClassVar[dict[str, type[Pipe]]] = {}

    @property
    def has_rows(self) -> bool:
        """Whether what a stream over it gives may be indices: so it is."""
        return True

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__")

    def __getitems__(self, indices: Sequence[Any]) -> list[T_co]:
        return [self[i] for i in indices]

    def __len__(self) -> int:
        raise no_length(self)

    def __bool__(self) -> bool:
        return True

    @classmethod
    def register_datapipe_as_function(cls, function_name: str, cls_to_register: type, **_: Any) -> None:
        """Make ``pipe.function_name(...)`` build ``cls_to_register``."""
        from penstock.core.registry import register

        register(cls, function_name, cls_to_register)


def iterates_itself(cls: type) -> bool:
    """Tell whether a class's ``__iter__``, as torchdata's users write it, is nearer to it than any ``build``."""
    for base in cls.__mro__:
        if base is IterDataPipe or "build" in vars(base):
            return False
        if "__iter__" in vars(base):
            return True
    return False


def no_length(pipe: Pipe) -> TypeError:
    """Return the error of a pipe that cannot tell its length: Python's own words, and torchdata's."""
    name = type(pipe).__name__
    if type(pipe).__module__.startswith("penstock."):
        name += "IterDataPipe" if isinstance(pipe, IterDataPipe) else "MapDataPipe"  # their classes' names in torchdata
    return TypeError(f"object of type '{name}' has no len(): {name} instance doesn't have valid length")


def as_source(source: S) -> S:
    """Return a pipe that stands for one of torch's own DataPipes, and anything else as it is."""
    if isinstance(source, Pipe) or "torch.utils.data.datapipes.datapipe" not in sys.modules:
        return source
    from penstock.core.foreign import wrapped

    pipe: Any = wrapped(source)
    return source if pipe is None else pipe


def check_source(pipe: Pipe, source: S, family: type[Pipe] = IterDataPipe) -> S:
    """Return the source to read from: a pipe of ``family`` as it is, one of torch's wrapped. TypeError for the rest."""
    source = as_source(source)
    if not isinstance(source, family):
        raise TypeError(f"{type(pipe).__name__} reads from an {family.__name__}, but got {type(source).__name__}")
    return source


def _pipes_in(value: object, depth: int) -> Iterator[Pipe]:
    if isinstance(value, Pipe):
        yield value
    elif depth and type(value) in (list, tuple, dict) and value:
        entries: Any = itertools.chain.from_iterable(value.items()) if isinstance(value, dict) else value
        if len(cast(list[Any], value)) > _SEARCHED_ENTRIES:
            first = next(iter(entries))
            if not isinstance(first, Pipe):
                return
            entries = value
        for entry in entries:
            yield from _pipes_in(entry, depth - 1)


def _swapped(value: Any, swap: dict[int, Pipe], depth: int) -> Any:
    if isinstance(value, Pipe):
        return swap.get(id(value), value)
    if depth and type(value) in (list, tuple, dict) and any(True for _ in _pipes_in(value, depth)):
        if isinstance(value, dict):
            return {_swapped(k, swap, depth - 1): _swapped(v, swap, depth - 1) for k, v in value.items()}
        return type(value)(_swapped(v, swap, depth - 1) for v in value)
    return value


def _creation_site() -> tuple[str, int] | None:
    """Return file and line of the nearest frame outside penstock: where the user made the pipe."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module != "penstock" and not module.startswith("penstock.") and module not in ("copy", "copyreg"):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return None


def join_torch() -> None:
    """Let torch's DataLoader take pipes as the IterableDatasets that they are, once torch is loaded.

    torch must not be imported for that, and its ABC offers no hook for classes that come first, so each new pipe looks.
    """
    torch_data: Any = sys.modules.get("torch.utils.data")
    dataset = getattr(torch_data, "IterableDataset", None)
    if dataset is not None and not issubclass(IterDataPipe, dataset):
        dataset.register(IterDataPipe)
