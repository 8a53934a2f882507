"""torchdata's and torch's settings of a whole graph, in place: seeds, shuffling, sharding. All go by what a pipe can.

They set what a pipe keeps. A run with a seed of its own (`DataLoader2.seed`) needs none of them: seeds come from the
run, the epoch and the pipe's name.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.core.pipe import Pipe
from penstock.core.seed_generator import SeedGenerator
from penstock.core.walk import describe, walk
from penstock.graph.traverse import get_all_graph_pipes, list_dps, traverse_dps

if TYPE_CHECKING:
    import torch

__all__ = [
    "apply_random_seed",
    "apply_sharding",
    "apply_shuffle_settings",
    "set_datapipes_seed",
    "set_graph_random_seed",
]

P = TypeVar("P", bound=Pipe)

_DEFAULT_GROUP = 1  # SHARDING_PRIORITIES.DEFAULT, an IntEnum of a layer above


def set_datapipes_seed(datapipes: Iterable[Pipe], seed_generator: SeedGenerator, distributed_shared: bool) -> None:
    """Give each pipe that has ``set_seed`` the generator's next seed.

    Args:
        datapipes: the pipes.
        seed_generator: where the seeds come from.
        distributed_shared: draw shared seeds, the same in every worker.
    """
    for pipe in datapipes:
        if _has(pipe, "set_seed"):
            draw = seed_generator.generate_shared_seed if distributed_shared else seed_generator.generate_seed
            pipe.set_seed(draw())  # type: ignore[attr-defined]  # the line above says that it has it


def set_graph_random_seed(datapipe: P, seed_generator: SeedGenerator) -> P:
    """Give every random pipe a seed, in place: a shared one ahead of a sharding point, the worker's own elsewhere.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> def seeds(worker):
        ...     ahead = IterableWrapper(range(4)).shuffle()
        ...     behind = ahead.sharding_filter().shuffle()
        ...     set_graph_random_seed(behind, SeedGenerator(7).spawn(worker))
        ...     return ahead._seed, behind._seed
        >>> [a == b for a, b in zip(seeds(0), seeds(1))]
        [True, False]
    """
    graph = traverse_dps(datapipe)
    points = [pipe for pipe in get_all_graph_pipes(graph) if pipe.is_sharding_point]
    ahead: dict[int, Pipe] = {}
    for point in points:
        ahead.update((id(pipe), pipe) for pipe in list_dps(traverse_dps(point)))
    set_datapipes_seed(ahead.values(), seed_generator, distributed_shared=True)
    set_datapipes_seed(list_dps(graph, exclude_dps=points), seed_generator, distributed_shared=False)
    return datapipe


def apply_sharding(datapipe: P, num_of_instances: int, instance_id: int, sharding_group: Any = None) -> P:
    """Give every pipe that has ``apply_sharding`` its share, in place.

    Args:
        datapipe: the end of the graph.
        num_of_instances: into how many shares the work is divided.
        instance_id: which of them this is, from 0.
        sharding_group: a ``SHARDING_PRIORITIES``; ``DEFAULT`` unless given.

    Raises:
        RuntimeError: one sharding pipe stands behind another. Nothing has been changed then.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(apply_sharding(IterableWrapper(range(5)).sharding_filter(), 2, 1))
        [1, 3]
    """
    ahead: dict[int, Pipe] = {}  # a sharding pipe that a pipe is, or has upstream
    points = []
    for pipe in walk(datapipe):
        upstream = next((ahead[id(source)] for source in pipe.sources if id(source) in ahead), None)
        if pipe.is_sharding_point:
            if upstream is not None:
                raise RuntimeError(
                    "Sharding twice on a single pipeline is likely unintended and will cause data loss. "
                    f"{describe(upstream)} stands ahead of {describe(pipe)}"
                )
            points.append(pipe)
            ahead[id(pipe)] = pipe
        elif upstream is not None:
            ahead[id(pipe)] = upstream
    for point in points:
        _share(point, num_of_instances, instance_id, sharding_group)
    return datapipe


def _share(point: Any, count: int, index: int, group: Any) -> None:
    parameters = list(inspect.signature(point.apply_sharding).parameters.values())
    takes_group = len(parameters) > 2
    if takes_group and (group is not None or parameters[2].default is inspect.Parameter.empty):
        point.apply_sharding(count, index, sharding_group=_DEFAULT_GROUP if group is None else group)
    else:
        point.apply_sharding(count, index)


def apply_shuffle_settings(datapipe: Any, shuffle: bool | None = None) -> Any:
    """Switch every shuffling pipe on or off, in place. None does nothing.

    Where there is none to switch on, a ``shuffle()`` is added at the end, with a warning, and returned.

    Example:
        >>> from penstock.pipes import IterableWrapper
        >>> list(apply_shuffle_settings(IterableWrapper(range(4)).shuffle(), shuffle=False))
        [0, 1, 2, 3]
    """
    if shuffle is None:
        return datapipe
    shufflers: list[Any] = [pipe for pipe in walk(datapipe) if is_shuffler(pipe)]
    if not shufflers and shuffle:
        warnings.warn(
            "`shuffle=True` was set, but the datapipe does not contain a `Shuffler`. Adding one at the end. Be aware "
            "that the default buffer size might not be sufficient for your task.",
            stacklevel=2,
        )
        datapipe = datapipe.shuffle()
        shufflers = [datapipe]
    for shuffler in shufflers:
        shuffler.set_shuffle(shuffle)
    return datapipe


def apply_random_seed(datapipe: P, rng: torch.Generator) -> P:
    """Give every random pipe a seed that is drawn from a torch generator, in place.

    Example:
        >>> import torch
        >>> from penstock.pipes import IterableWrapper
        >>> a, b = (apply_random_seed(IterableWrapper(range(9)).shuffle(), torch.manual_seed(7)) for _ in range(2))
        >>> a._seed == b._seed
        True
    """
    import torch

    for pipe in get_all_graph_pipes(traverse_dps(datapipe)):
        if _has(pipe, "set_seed"):
            seed = int(torch.empty((), dtype=torch.int64).random_(generator=rng).item())
            pipe.set_seed(seed)  # type: ignore[attr-defined]  # the line above says that it has it
    return datapipe


def is_shuffler(pipe: Pipe) -> bool:
    """Whether a pipe shuffles and can be told not to: torch's protocol of ``set_shuffle`` and ``set_seed``."""
    return _has(pipe, "set_shuffle") and _has(pipe, "set_seed")


def _has(pipe: Pipe, method: str) -> bool:
    return callable(getattr(pipe, method, None))
