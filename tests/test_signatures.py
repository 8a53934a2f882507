"""Arguments can be given by the names that torch and torchdata gave them, the source too; nothing hides a method."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch.utils.data.datapipes as torch_pipes

import penstock.pipes
import penstock.pipes.map
from penstock.core.walk import walk
from penstock.pipes import IterDataPipe
from penstock.pipes.map import MapDataPipe
from rows import iter_rows, map_rows, write_files

# The first arguments of torchdata's own classes; those of torch's are looked up. The others take `source_datapipe`.
SOURCES = {
    "BatchMapper": "datapipe",
    "BucketBatcher": "datapipe",
    "Bz2FileLoader": "datapipe",
    "DataFrameMaker": "source_dp",
    "ExecutorMapper": "datapipe",
    "Dropper": "datapipe",
    "EndOnDiskCacheHolder": "datapipe",
    "FSSpecFileLister": "root",
    "FlatMapper": "datapipe",
    "Flattener": "datapipe",
    "FullSync": "datapipe",
    "HuggingFaceHubReader": "dataset",
    "HuggingFaceReader": "dataset",
    "InBatchShuffler": "datapipe",
    "InMemoryCacheHolder": "source_dp",
    "IoPathFileLister": "root",
    "MapKeyZipper": "source_iterdatapipe",
    "MapToIterConverter": "datapipe",
    "MaxTokenBucketizer": "datapipe",
    "NumbaMapper": "datapipe",
    "ParquetDataFrameLoader": "source_dp",
    "RarArchiveLoader": "datapipe",
    "RoundRobinDemultiplexer": "datapipe",
    "SampleMultiplexer": "pipes_to_weights_dict",
    "ShuffledFlatMapper": "datapipe",
    "Slicer": "datapipe",
    "Slider": "datapipe",
    "TFRecordLoader": "datapipe",
    "TarArchiveLoader": "datapipe",
    "XzFileLoader": "datapipe",
    "ZipArchiveLoader": "datapipe",
}
SEVERAL = {"MultiplexerLongest", "ZipperLongest"}  # they take any number of sources
OURS = {"JsonLinesParser", "MessagePackParser", "Monitor", "RandomFilter", "RandomMapper"}


def arguments(cls: type[Any]) -> list[str]:
    made = cls.__new__ if "__new__" in vars(cls) else cls.__init__
    return [name for name in inspect.signature(made).parameters if name not in ("self", "cls")]


def public(module: Any, family: type[Any]) -> dict[str, type[Any]]:
    found = {name: getattr(module, name) for name in module.__all__}
    return {n: c for n, c in found.items() if isinstance(c, type) and issubclass(c, family) and c is not family}


@pytest.mark.parametrize("name", sorted(public(penstock.pipes, IterDataPipe)))
def test_iter_pipes_take_their_arguments_by_the_names_that_they_had(name: str) -> None:
    mine = arguments(getattr(penstock.pipes, name))
    torchs = getattr(torch_pipes.iter, name, None)
    if torchs is not None:
        theirs = arguments(torchs)
        assert mine[: len(theirs)] == theirs
    elif name not in SEVERAL | OURS:
        assert mine[0] == SOURCES.get(name, "source_datapipe")


@pytest.mark.parametrize("name", sorted(set(public(penstock.pipes.map, MapDataPipe)) & set(dir(torch_pipes.map))))
def test_map_pipes_take_their_arguments_by_the_names_that_they_had(name: str) -> None:
    theirs = arguments(getattr(torch_pipes.map, name))
    assert arguments(getattr(penstock.pipes.map, name))[: len(theirs)] == theirs


@pytest.fixture(scope="module")
def graphs() -> Iterator[list[Any]]:
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        yield [case.make() for rows in (iter_rows, map_rows) for _, case in rows(Path(folder))]


def test_no_attribute_of_a_pipe_hides_a_method(graphs: list[Any]) -> None:
    for graph in graphs:
        for pipe in walk(graph):
            family = IterDataPipe if isinstance(pipe, IterDataPipe) else MapDataPipe
            assert not vars(pipe).keys() & family.functions.keys(), pipe
            for name in family.functions:
                assert getattr(type(pipe), name) is getattr(family, name), (pipe, name)
