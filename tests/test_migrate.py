"""`penstock migrate`: a torchdata program runs with its imports changed, and nothing else of its text is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.cli import main
from penstock.cli.rewrite import rewritten

PROGRAM = '''\
"""Train on CSV files, as one did with torchdata."""

# The pipes.
import csv  # noqa: F401
import os, sys

import torch
import torch.utils.data.datapipes as torch_dp
import torchdata.datapipes as dp
from torch.utils.data import DataLoader, IterDataPipe, functional_datapipe  # torch has both
from torch.utils.data.datapipes.iter.sharding import SHARDING_PRIORITIES
from torchdata.dataloader2 import (
    DataLoader2,  # the loader
    MultiProcessingReadingService,
)
from torchdata.dataloader2.graph import find_dps, traverse_dps
from torchdata.dataloader2.random import SeedGenerator
from torchdata.datapipes.iter import FileLister, IterableWrapper, Mapper as M, \\
    Shuffler
from torchdata.datapipes.map import SequenceWrapper


@functional_datapipe("tenfold")
class Tenfold(IterDataPipe):
    """Not changed: torchdata.datapipes.iter in a docstring."""

    def __init__(self, source_datapipe: "IterDataPipe") -> None:
        super().__init__()
        self.source_datapipe = source_datapipe

    def __iter__(self):
        for x in self.source_datapipe:
            yield 10 * x


def number(row):
    return int(row[0])


def graph(folder: str) -> dp.iter.IterDataPipe:
    pipe = dp.iter.FileLister(folder, masks="*.csv")
    pipe = dp.iter.FileOpener(pipe, mode="rt").parse_csv()
    pipe = M(pipe, number).shuffle().sharding_filter().tenfold()
    assert isinstance(pipe, torch.utils.data.IterDataPipe), "torch.utils.data.IterDataPipe"
    assert find_dps(traverse_dps(pipe), Shuffler) and torch_dp.iter.Batcher
    lookup = dp.map.SequenceWrapper([1, 2])
    return dp.iter.Batcher(pipe, 5) if len(lookup) else SequenceWrapper([])


def unrelated(dp):
    return dp.iter + dp.nothing_of_ours


if __name__ == "__main__":
    folder = sys.argv[1]
    for i in range(2):
        with open(os.path.join(folder, f"{i}.csv"), "w") as f:
            f.write("".join(f"{10 * i + j}\\n" for j in range(10)))
    rs = MultiProcessingReadingService(num_workers=2)
    dl = DataLoader2(graph(folder), reading_service=rs)
    dl.seed(SeedGenerator(1).generate_shared_seed())
    seen = [x for batch in dl for x in batch]
    assert sorted(seen) == [10 * x for x in range(20)] != seen, seen
    dl.shutdown()
    assert SHARDING_PRIORITIES.DEFAULT == 1
    print(len(seen), list(IterableWrapper(FileLister(folder)))[0][-5:], DataLoader.__name__)
'''


def migrated(source: str) -> str:
    """What becomes of a program of which nothing is left to be done by hand."""
    after, problems = rewritten(source)
    assert problems == []
    assert rewritten(after) == (after, [])
    return after


def test_a_migrated_program_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "train.py"
    script.write_text(PROGRAM)
    assert main(["migrate", "--write", str(script)]) == 0
    after = script.read_text()
    assert "torchdata" not in after.replace("did with torchdata", "").replace("torchdata.datapipes.iter in a", "")
    done = subprocess.run([sys.executable, "-W", "error", script, tmp_path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr + after
    assert done.stdout == "20 0.csv DataLoader\n"
    capsys.readouterr()
    assert main(["migrate", str(script)]) == 0
    assert capsys.readouterr().out == "", "what was migrated has nothing left to change"


SQUIRREL = """\
from functools import partial

import squirrel.iterstream.torch_composables as splits
from squirrel.framework.exceptions import PyTorchSplittingException
from squirrel.iterstream import Composable, IterableSource, Multiplexer, MultiplexingStrategy
from squirrel.iterstream.iterators import map_, take_
from squirrel.iterstream.metrics import MetricsConf
from squirrel.iterstream.source import FilePathGenerator, IterableSamplerSource
from squirrel.iterstream.torch_composables import SplitByRank, TorchIterable


class Doubled(Composable):
    def __iter__(self):
        for x in self.source:
            yield 2 * x


both = Multiplexer([IterableSource(range(5)), range(5, 8)], MultiplexingStrategy.ROUND_ROBIN)
stream = both.compose(SplitByRank).compose(splits.SplitByWorker).compose(Doubled).to(partial(map_, callback=str))
seen = []
metrics = MetricsConf(throughput=False)
stream = stream.monitor(seen.append, "after ", metrics, window_size=2).compose(TorchIterable)
print(sorted(take_(stream, 8)), len(seen), issubclass(PyTorchSplittingException, Exception))
"""


def test_a_program_for_squirrels_streams_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "stream.py"
    script.write_text(SQUIRREL)
    assert main(["migrate", "--write", str(script)]) == 0
    after = script.read_text()
    assert "squirrel" not in after
    done = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{sorted(str(x) for x in range(0, 16, 2))} 7 True\n", done.stderr + after
    capsys.readouterr()
    assert main(["migrate", str(script)]) == 0
    assert capsys.readouterr().out == "", "what was migrated has nothing left to change"


DATA = """\
import sys

import squirrel.catalog
import squirrel.driver as drivers
from squirrel import store as stores
from squirrel.catalog import Catalog, CatalogKey
from squirrel.catalog.catalog import CatalogSource
from squirrel.catalog.source import Source
from squirrel.driver import IterDriver, MapDriver, MessagepackDriver
from squirrel.driver.data_frame import ENGINE
from squirrel.driver.file_driver import FileDriver
from squirrel.framework.plugins.plugin_manager import list_driver_names, register_driver, register_source
from squirrel.fsspec.fs import get_fs_from_url
from squirrel.iterstream import IterableSource
from squirrel.serialization import MessagepackSerializer
from squirrel.serialization.msgpack import MessagepackSerializer as Serializer
from squirrel.store.squirrel_store import SquirrelStore


class Numbers(MapDriver):
    name = "numbers"

    def keys(self, **kwargs):
        return range(3)

    def get(self, key, **kwargs):
        return key * 10


register_driver(Numbers)
register_source("numbers", Source("numbers"))
url = sys.argv[1]
store = SquirrelStore(url, serializer=MessagepackSerializer())
IterableSource([{"x": i} for i in range(4)]).batched(2).map(store.set).join()
catalog = squirrel.catalog.Catalog.from_plugins()
catalog["shards"] = Source("messagepack", {"url": url})
catalog["both"] = Source("source_combiner", {"subsets": {"a": CatalogKey("shards"), "b": CatalogKey("numbers", 1)}})
catalog.to_file(url + ".yaml")
loaded = Catalog.from_files([url + ".yaml"])
driver = loaded["both"].get_driver()
print(
    sorted(sample["x"] for sample in driver.get_iter("a")),
    driver.get_iter("b").collect(),
    loaded == catalog,
    isinstance(loaded["both"], CatalogSource),
    len(list(stores.SquirrelStore(url, Serializer()).keys())) == len(list(drivers.MessagepackDriver(url).keys())) == 2,
    issubclass(MessagepackDriver, IterDriver) and "numbers" in list_driver_names(),
    get_fs_from_url(url).isdir(url) and FileDriver(url).url == url and bool(ENGINE),
)
"""


def test_a_program_for_squirrels_stores_drivers_and_catalog_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "data.py"
    script.write_text(DATA)
    assert main(["migrate", "--write", str(script)]) == 0
    after = script.read_text()
    assert "squirrel." not in after
    command = [sys.executable, "-W", "error", script, tmp_path / "store"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[0, 1, 2, 3] [0, 10, 20] True True True True True\n", done.stderr + after
    capsys.readouterr()
    assert main(["migrate", str(script)]) == 0
    assert capsys.readouterr().out == "", "what was migrated has nothing left to change"


@pytest.mark.parametrize(("line", "message"), [
    ("from squirrel.constants import URL", "penstock has no URL: it is str | Path"),
    ("from squirrel.constants import MetricsType", "penstock has no MetricsType: it is dict[str, int | float]"),
    ("from squirrel.constants import SeedType", "penstock has no SeedType: it is int | float | str"),
    ("from squirrel.framework.plugins.hookimpl import hookimpl", "no hookimpl: a plugin's hooks are plain functions"),
    ("from squirrel.zarr.group import SquirrelGroup", "no SquirrelGroup: penstock.stores.get_group gives"),
    ("from squirrel.artifact_manager import WandbArtifactManager", "penstock has no WandbArtifactManager"),
    ("from squirrel.framework.io import write_to_file", "no write_to_file: use penstock.stores.FilesystemStore"),
    ("from squirrel.framework.io import read_from_file", "no read_from_file: use penstock.stores.FilesystemStore"),
    ("from squirrel.benchmark.quantify_randomness import quantify_randomness", "scipy.stats.kendalltau"),
    ("import squirrel.benchmark", "nothing that stands for squirrel.benchmark"),
    ("patch('squirrel.driver.msgpack.MessagepackDriver')", "a string names squirrel.driver.msgpack.MessagepackDriver"),
])  # fmt: skip
def test_what_penstock_has_not_of_squirrels_is_named(line: str, message: str) -> None:
    after, (problem,) = rewritten(line)
    assert after == line and message in problem.text


def test_an_import_of_squirrel_goes_once_all_that_was_used_of_it_has_moved() -> None:
    assert rewritten("import squirrel\nsquirrel.iterstream.IterableSource") == (
        "import penstock.iterstream\npenstock.iterstream.IterableSource",
        [],
    )
    assert "import squirrel\n" in rewritten("import squirrel\nsquirrel.iterstream.IterableSource, squirrel.x")[0]


def test_squirrels_zarr_groups_move_over() -> None:
    assert rewritten("from squirrel.zarr.group import get_group") == ("from penstock.stores import get_group", [])


def test_only_lines_with_the_names_change_and_comments_stay() -> None:
    before, after = PROGRAM.splitlines(), migrated(PROGRAM).splitlines()
    gone = [line for line in before if line not in after]
    assert all("torch" in line or "dp." in line or "Shuffler" in line for line in gone), gone
    for line in (
        "# The pipes.",
        "    DataLoader2,  # the loader",
        "import os, sys",
        "    return dp.iter + dp.nothing_of_ours",
    ):
        assert line in after
    assert "from penstock import (" in after
    assert any("# torch has both" in line for line in after)


CASES = {
    "a module": ("from torchdata.datapipes.iter import Mapper", "from penstock.pipes import Mapper"),
    "an alias of a name": (
        "from torchdata.datapipes.iter import Mapper as M",
        "from penstock.pipes import Mapper as M",
    ),
    "layout and comments": (
        "from torchdata.datapipes.iter import (  # why\n    Mapper,\n    Filter,  # and\n)",
        "from penstock.pipes import (  # why\n    Mapper,\n    Filter,  # and\n)",
    ),
    "a module below": (
        "from torchdata.datapipes.iter.util.cacheholder import InMemoryCacheHolder",
        "from penstock.pipes import InMemoryCacheHolder",
    ),
    "torch's own names of classes": (
        "from torch.utils.data.datapipes.iter.combinatorics import ShufflerIterDataPipe\nShufflerIterDataPipe(x)",
        "from penstock.pipes import Shuffler as ShufflerIterDataPipe\nShufflerIterDataPipe(x)",
    ),
    "map pipes": ("from torchdata.datapipes.map import Batcher", "from penstock.pipes.map import Batcher"),
    "names that part": (
        "from torch.utils.data import DataLoader, IterDataPipe, Dataset as D",
        "from torch.utils.data import DataLoader, Dataset as D\nfrom penstock import IterDataPipe",
    ),
    "names that part, with comments": (
        "from torch.utils.data import (\n    DataLoader,  # a\n    IterDataPipe,  # b\n)",
        "# a\n# b\nfrom torch.utils.data import DataLoader\nfrom penstock import IterDataPipe",
    ),
    "another name": (
        "from torchdata.dataloader2.graph.utils import _find_replicable_branches",
        "from penstock.graph import find_replicable_branches as _find_replicable_branches",
    ),
    "an alias of the package": (
        "import torchdata.datapipes as dp\ndp.iter.Mapper(dp.map.Mapper)",
        "import penstock.pipes as dp\ndp.Mapper(dp.map.Mapper)",
    ),
    "an alias of a module": (
        "import torchdata.datapipes.iter as it\nit.Mapper",
        "import penstock.pipes as it\nit.Mapper",
    ),
    "a module from its package": (
        "from torchdata.datapipes import iter, map\niter.Mapper(map.Mapper)",
        "from penstock import pipes as iter\nfrom penstock.pipes import map\niter.Mapper(map.Mapper)",
    ),
    "a package from its package": (
        "from torchdata import datapipes as dp\nx = dp.iter.Mapper",
        "from penstock import pipes as dp\nx = dp.Mapper",
    ),
    "dotted from the top": (
        "import torchdata.datapipes.iter\nx = torchdata.datapipes.iter.Mapper(a.b.iter.Mapper)",
        "import penstock.pipes\nx = penstock.pipes.Mapper(a.b.iter.Mapper)",
    ),
    "the package alone": (
        "import torchdata\nx = torchdata.datapipes.iter.Mapper\ny = torchdata.dataloader2.DataLoader2",
        "import penstock.pipes\nimport penstock\nx = penstock.pipes.Mapper\ny = penstock.DataLoader2",
    ),
    "through torch": (
        "import torch\n\ntorch.nn.Linear(2, 2), torch.utils.data.IterDataPipe",
        "import torch\nimport penstock\n\ntorch.nn.Linear(2, 2), penstock.IterDataPipe",
    ),
    "an import that binds torch as well": (
        "import torch.utils.data.datapipes.iter\ntorch.utils.data.datapipes.iter.Mapper, torch.nn",
        "import torch.utils.data\nimport penstock.pipes\npenstock.pipes.Mapper, torch.nn",
    ),
    "what a name has behind it": (
        "import torchdata.datapipes as dp\ndp.iter.IterDataPipe.register_function('x', f).y",
        "import penstock.pipes as dp\ndp.IterDataPipe.register_function('x', f).y",
    ),
    "a module of another place": (
        "import torchdata.dataloader2 as dl2\ndl2.graph.traverse_dps(dl2.DataLoader2)",
        "import penstock as dl2\ndl2.graph.traverse_dps(dl2.DataLoader2)",
    ),
    "graph settings": (
        "from torch.utils.data.graph_settings import apply_sharding, get_all_graph_pipes",
        "from penstock.graph import apply_sharding, get_all_graph_pipes",
    ),
    "adapters": (
        "from torchdata.dataloader2.adapter import Shuffle, CacheTimeout",
        "from penstock.loader2 import Shuffle, CacheTimeout",
    ),
    "services": (
        "from torchdata.dataloader2.reading_service import InProcessReadingService, ReadingServiceInterface",
        "from penstock.reading_service import InProcessReadingService, ReadingServiceInterface",
    ),
    "the linter": (
        "from torchdata.dataloader2.linter import _check_shuffle_before_sharding",
        "from penstock.graph.lint import _check_shuffle_before_sharding",
    ),
    "everything": ("from torchdata.datapipes.iter import *", "from penstock.pipes import *"),
    "two on one line": (
        "import os; from torchdata.datapipes.iter import Mapper, IterDataPipe; x = 1",
        "import os; from penstock.pipes import Mapper, IterDataPipe; x = 1",
    ),
    "inside a function": (
        "def f(dp):\n    from torch.utils.data import IterDataPipe, Sampler\n    return dp.iter.x",
        "def f(dp):\n    from torch.utils.data import Sampler\n    from penstock import IterDataPipe\n"
        "    return dp.iter.x",
    ),
    "an annotation, a default, a decorator": (
        "import torchdata.datapipes as dp\n\n@dp.functional_datapipe('x')\n"
        "def f(a: dp.iter.Mapper = dp.iter.Filter, *dp): ...",
        "import penstock.pipes as dp\n\n@dp.functional_datapipe('x')\ndef f(a: dp.Mapper = dp.Filter, *dp): ...",
    ),
    "a name that is bound again": (
        "import torchdata.datapipes as dp\ndp = dp.iter.FileLister('.')\ndp = dp.shuffle().map(f)",
        "import penstock.pipes as dp\ndp = dp.FileLister('.')\ndp = dp.shuffle().map(f)",
    ),
    "letters beyond ASCII": (
        "import torchdata.datapipes as dp\nx = 'äöü', dp.iter.Mapper, 'é'; dp.iter.Filter",
        "import penstock.pipes as dp\nx = 'äöü', dp.Mapper, 'é'; dp.Filter",
    ),
    "a comprehension's own name": (
        "import torchdata.datapipes as dp\ndef f():\n    return [dp.iter for dp in x]",
        "import penstock.pipes as dp\ndef f():\n    return [dp.iter for dp in x]",
    ),
    "a long import": (
        "from torch.utils.data import DataLoader, functional_datapipe, IterDataPipe, MapDataPipe, DataChunk",
        "from torch.utils.data import DataLoader\n"
        "from penstock import functional_datapipe, IterDataPipe, MapDataPipe, DataChunk",
    ),
    "lance's datasets and samplers": (
        "from lance.torch.data import LanceDataset\nfrom lance.sampler import ShardedFragmentSampler as S",
        "from penstock.lance.torch.data import LanceDataset\n"
        "from penstock.lance.sampler import ShardedFragmentSampler as S",
    ),
    "lance itself stays": (
        "import lance\nlance.write_dataset(data, 'a')\nlance.dataset('a')",
        "import lance\nimport penstock.lance\npenstock.lance.write_dataset(data, 'a')\nlance.dataset('a')",
    ),
    "what is not ours": (
        "import torchdata.nodes\nfrom .iter import Mapper",
        "import torchdata.nodes\nfrom .iter import Mapper",
    ),
}


@pytest.mark.parametrize(("before", "after"), CASES.values(), ids=CASES)
def test_imports_and_what_they_bind(before: str, after: str) -> None:
    assert migrated(f"{before}\n") == f"{after}\n"


UNMAPPED = {
    "an exception of the workers": (
        "from torchdata.dataloader2.communication.messages import WorkerException",
        1,
        "communication",
    ),
    "no such pipe": ("from torchdata.datapipes.iter import NoSuchPipe", 1, "penstock has no NoSuchPipe"),
    "no such pipe, dotted": ("import torchdata.datapipes as dp\n\ndp.iter.NoSuchPipe", 3, "no NoSuchPipe"),
    "torch's old traversal": ("from torch.utils.data.graph import traverse", 1, "traverse_dps"),
    "lance's sampling": ("from lance.sampler import maybe_sample", 1, "samples="),
    "a string": ("patch('torchdata.datapipes.iter.Mapper')", 1, "a string names"),
}


@pytest.mark.parametrize(("source", "line", "words"), UNMAPPED.values(), ids=UNMAPPED)
def test_what_has_no_counterpart_is_named_with_its_line_and_stays(source: str, line: int, words: str) -> None:
    after, (problem,) = rewritten(source)
    assert problem.line == line
    assert words in problem.text
    assert after.replace("penstock.pipes as dp", "torchdata.datapipes as dp").replace(
        "dp.iter.", "dp."
    ) == source.replace("dp.iter.", "dp.")


def test_the_rest_of_an_import_moves_when_one_name_cannot() -> None:
    after, (problem,) = rewritten("from torchdata.datapipes.iter import Mapper, NoSuchPipe\n")
    assert after == "from torchdata.datapipes.iter import NoSuchPipe\nfrom penstock.pipes import Mapper\n"
    assert problem.line == 1


def test_line_ends_and_the_encoding_stay(tmp_path: Path) -> None:
    script = tmp_path / "old.py"
    source = "# coding: latin-1\r\nimport torchdata.datapipes as dp\r\nx = 'é', dp.iter.Mapper\r\n"
    script.write_bytes(source.encode("latin-1"))
    assert main(["migrate", "--write", str(script)]) == 0
    expected = source.replace("torchdata.datapipes", "penstock.pipes").replace("dp.iter.", "dp.")
    assert script.read_bytes() == expected.encode("latin-1")
    bom = tmp_path / "bom.py"
    bom.write_bytes(b"\xef\xbb\xbffrom torchdata.datapipes.iter import Mapper")
    assert main(["migrate", "--write", str(bom)]) == 0
    assert bom.read_bytes() == b"\xef\xbb\xbffrom penstock.pipes import Mapper"


def test_without_write_nothing_changes_and_the_diff_applies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "train.py"
    script.write_text(PROGRAM)
    assert main(["migrate", str(script)]) == 0
    assert script.read_text() == PROGRAM
    diff = capsys.readouterr().out
    assert diff.startswith(f"--- {script}\n") and "+from penstock.pipes.map import SequenceWrapper\n" in diff
    patch = subprocess.run(["patch", script], input=diff, text=True, capture_output=True, timeout=20)
    assert patch.returncode == 0, patch.stdout
    assert script.read_text() == migrated(PROGRAM)


def test_the_status_is_2_where_something_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "a.py").write_text("from torchdata.datapipes.iter import NoSuchPipe\n")
    (tmp_path / "package" / "b.py").write_text("def f(:\n")
    (tmp_path / "package" / "c.py").write_text("x = 1\n")
    (tmp_path / "n.ipynb").write_text("{}")
    assert main(["migrate", str(tmp_path / "package"), str(tmp_path / "n.ipynb"), str(tmp_path / "gone.py")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{tmp_path}/package/a.py:1: penstock has no NoSuchPipe" in err
    assert "b.py:1: cannot be read" in err and "notebook" in err and "gone.py:1: cannot be read" in err
    assert "c.py" not in err and "4 left to be done by hand" in err


def test_the_module_is_the_command(tmp_path: Path) -> None:
    script = tmp_path / "a.py"
    script.write_text("from torchdata.datapipes.iter import Mapper\n")
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "migrate", script], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "+from penstock.pipes import Mapper" in done.stdout
    assert subprocess.run([sys.executable, "-m", "penstock"], capture_output=True, timeout=60).returncode == 2


def test_the_programs_in_the_documentation_run() -> None:
    text = (Path(__file__).parents[1] / "docs" / "migrate-from-torchdata.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) == 3
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, block + done.stderr
