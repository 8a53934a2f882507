"""What a name of torchdata's, of Squirrel's, of Lance's datasets, or of torch's DataPipes, is called in penstock.

Whether penstock has a name is asked of penstock itself, so this table says only where to look.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from types import ModuleType

__all__ = ["Missing", "Module", "Name", "resolve"]


@dataclass(frozen=True)
class Module:
    """A module that stands for the one that was named."""

    path: str


@dataclass(frozen=True)
class Name:
    """Something in a module; ``tail`` is what was named behind it (``IterDataPipe.register_function``)."""

    module: str
    name: str
    tail: tuple[str, ...] = ()


@dataclass(frozen=True)
class Missing:
    """Something that penstock has not, and what to do."""

    reason: str


_PIPES, _MAPS = "penstock.pipes", "penstock.pipes.map"
_SERVICES = ("penstock", "penstock.loader2", "penstock.reading_service", "penstock.graph")

# A module of the old program: the modules of penstock in which its names are looked for. The first one is what the
# module itself becomes. A name in a module below is looked for in the same places.
_WHERE: dict[str, tuple[str, ...]] = {
    "torchdata.datapipes": (_PIPES, _MAPS, "penstock.graph"),
    "torchdata.datapipes.iter": (_PIPES,),
    "torchdata.datapipes.map": (_MAPS,),
    "torchdata.datapipes.utils": (_PIPES, "penstock.graph"),
    "torchdata.dataloader2": _SERVICES,
    "torchdata.dataloader2.adapter": ("penstock.loader2",),
    "torchdata.dataloader2.graph": ("penstock.graph", "penstock.graph.dispatch"),
    "torchdata.dataloader2.linter": ("penstock.graph.lint",),
    "torchdata.dataloader2.random": ("penstock.graph",),
    "torchdata.dataloader2.reading_service": ("penstock.reading_service", *_SERVICES),
    "torchdata.dataloader2.utils": ("penstock.reading_service", "penstock.graph", "penstock.graph.dispatch"),
    "squirrel.iterstream": ("penstock.iterstream",),
    "squirrel.iterstream.base": ("penstock.iterstream",),
    "squirrel.iterstream.iterators": ("penstock.iterstream.iterators",),
    "squirrel.iterstream.metrics": ("penstock.monitor",),
    "squirrel.iterstream.multiplexer": ("penstock.iterstream",),
    "squirrel.iterstream.source": ("penstock.iterstream",),
    "squirrel.iterstream.torch_composables": ("penstock.iterstream",),
    "squirrel.framework.exceptions": ("penstock.iterstream",),
    "squirrel.metrics": ("penstock.monitor",),
    "squirrel.catalog": ("penstock.catalog",),
    "squirrel.constants": (),
    "squirrel.driver": ("penstock.drivers",),
    "squirrel.driver.data_frame": ("penstock.drivers", "penstock.drivers.data_frame"),
    "squirrel.framework.io": (),
    "squirrel.framework.plugins": ("penstock.catalog",),
    "squirrel.fsspec": ("penstock.stores",),
    "squirrel.serialization": ("penstock.serialization",),
    "squirrel.store": ("penstock.stores",),
    **dict.fromkeys(("squirrel.artifact_manager", "squirrel.benchmark", "squirrel.dataset", "squirrel.zarr"), ()),
    "squirrel.zarr.group": ("penstock.stores",),
    "lance": ("penstock.lance",),
    "lance.sampler": ("penstock.lance.sampler",),
    "lance.torch.data": ("penstock.lance.torch.data",),
    "torch.utils.data.datapipes": (_PIPES, _MAPS),
    "torch.utils.data.datapipes.datapipe": ("penstock",),
    "torch.utils.data.datapipes.iter": (_PIPES,),
    "torch.utils.data.datapipes.map": (_MAPS,),
    "torch.utils.data.graph": ("penstock.graph",),
    "torch.utils.data.graph_settings": ("penstock.graph",),
    "torch.utils.data": ("penstock",),
}
# Of these modules only some names are meant; the others are torch's or Lance's own, and stay.
_ONLY = {
    "torch.utils.data": {"IterDataPipe", "MapDataPipe", "DFIterDataPipe", "DataChunk", "functional_datapipe"},
    "lance": {"write_dataset"},
}

_RENAMED = {"_find_replicable_branches": "find_replicable_branches"}

_INSTEAD = {
    "WorkerException": "an exception in a worker arrives as what it is, with notes that say where it comes from; "
    "a worker that dies raises penstock.WorkerDied",
    "communication": "workers are the service's own affair; their errors arrive as what they are",
    "traverse": "use penstock.graph.traverse_dps",
    "CustomGCSFileSystem": "gcsfs retries by itself",
    "SampleType": "it is dict[str, Any]",
    "ShardType": "it is list[dict[str, Any]]",
    "MetricsType": "it is dict[str, int | float]",
    "SeedType": "it is int | float | str | bytes | bytearray | None",
    "URL": "it is str | Path",
    "FILESYSTEM": "it is fsspec.AbstractFileSystem",
    "catalog2yamlcatalog": "use Catalog.to_str",
    "yamlcatalog2catalog": "use Catalog.from_str",
    "prep_yaml": "use Catalog.from_str and Catalog.to_str",
    "hookimpl": "a plugin's hooks are plain functions, penstock_drivers and penstock_sources (docs/catalog.md)",
    "SquirrelGroup": "penstock.stores.get_group gives a zarr.Group whose keys() take one listing",
    "write_to_file": "use penstock.stores.FilesystemStore(folder, serializer).set(obj, key=name)",
    "read_from_file": "use penstock.stores.FilesystemStore(folder, serializer).get(name)",
    "quantify_randomness": "it is abs(median) of scipy.stats.kendalltau(first, second)[0] over pairs of runs",
    "squirrel_plugin_manager": "use register_driver, register_source, list_driver_names or Catalog.from_plugins",
    "maybe_sample": "LanceDataset has samples=, and LanceTable(...).shuffle().header(n) gives n rows",
    "TensorDataset": "torch.utils.data.TensorDataset with a BatchSampler gives batches of a tensor",
    "DFIterDataPipe": "pipes of data frames are plain IterDataPipes",
}


def resolve(parts: tuple[str, ...]) -> Module | Name | Missing | None:
    """Return what a dotted name becomes; None where it has nothing to do with DataPipes."""
    known = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in _WHERE), 0)
    if not known:
        return None
    module, rest = ".".join(parts[:known]), parts[known:]
    if module in _ONLY and (not rest or rest[0] not in _ONLY[module]):
        return None
    places = [place for place in _WHERE[module] if _module(place) is not None]
    if not rest:
        return Module(places[0]) if places else Missing(f"penstock has nothing that stands for {module}")
    for i, name in enumerate(rest):
        for here in _called(name):
            place = next((place for place in places if _has(place, here)), None)
            if place is not None:
                return Name(place, here, rest[i + 1 :])
        if name in _INSTEAD:
            return Missing(f"penstock has no {name}: {_INSTEAD[name]}")
        if i + 1 == len(rest) or not name.islower():
            return Missing(f"penstock has no {name}" + (f" (looked for in {', '.join(places)})" if places else ""))
    raise AssertionError(parts)


def _called(name: str) -> tuple[str, ...]:
    """Return what a name may be called: torch's modules also have their classes as ``MapperIterDataPipe``."""
    short = name.removesuffix("IterDataPipe").removesuffix("MapDataPipe")
    return tuple(dict.fromkeys(here for here in (name, _RENAMED.get(name, name), short) if here))


@cache
def _module(path: str) -> ModuleType | None:
    try:
        found = importlib.util.find_spec(path)
    except ModuleNotFoundError:
        return None
    return importlib.import_module(path) if found is not None else None


def _has(place: str, name: str) -> bool:
    module = _module(place)
    return hasattr(module, name) and not isinstance(getattr(module, name), ModuleType)
