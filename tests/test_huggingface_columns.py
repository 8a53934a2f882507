"""Data sets of Hugging Face's as batches of columns, and their rows by number."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from penstock import (
    BadSamples,
    DataLoader2,
    InProcessReadingService,
    MultiProcessingReadingService,
    StateError,
    ThreadingReadingService,
)
from penstock.pipes import HuggingFaceReader, IterableWrapper, from_huggingface
from penstock.pipes.map import HuggingFaceTable
from penstock.serialization.columns import Conversion
from running import restores_at_every_index

datasets.disable_progress_bars()

SERVICES: dict[str, Any] = {
    "in process": InProcessReadingService,
    "2 workers": lambda: MultiProcessingReadingService(2),
    "2 threads": lambda: ThreadingReadingService(2),
}
FORMS = ("numpy", "torch", "arrow")


def rows(count: int = 23) -> dict[str, list[Any]]:
    return {"x": list(range(count)), "s": [f"s{i}" for i in range(count)], "label": [i % 3 for i in range(count)]}


@pytest.fixture
def data() -> datasets.Dataset:
    features = datasets.Features({
        "x": datasets.Value("int32"),
        "s": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["a", "b", "c"]),
    })  # fmt: skip
    return datasets.Dataset.from_dict(rows(), features=features)


def column(batches: Any, name: str = "x") -> list[Any]:
    found: list[Any] = []
    for batch in batches:
        values = batch[name]
        found += values if isinstance(values, list) else values.tolist()
    return found


MADE: dict[str, Any] = {
    "as it is": lambda data: data,
    "selected": lambda data: data.select([7, 3, 3, 22, 0, 5]),
    "a range": lambda data: data.select(range(4, 17)),
    "filtered": lambda data: data.filter(lambda row: row["label"] != 1),
    "shuffled": lambda data: data.shuffle(seed=1),
    "sorted": lambda data: data.sort("s", reverse=True),
    "sharded": lambda data: data.shard(3, 1, contiguous=False),
    "twice": lambda data: data.shuffle(seed=1).select(range(3, 15)).shuffle(seed=2),
    "concatenated": lambda data: datasets.concatenate_datasets([data, data.select([1, 0])]),
    "side by side": lambda data: datasets.concatenate_datasets(
        [data.select_columns(["x", "s"]), data.select_columns(["label"])], axis=1
    ),
    "mapped": lambda data: data.map(lambda row: {"x": row["x"] + 1}),
    "renamed": lambda data: data.rename_column("s", "t").rename_column("t", "s"),
    "none": lambda data: data.select([]),
}


@pytest.mark.filterwarnings("ignore:Specifying null_placement:FutureWarning")  # datasets' own sort
@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("as_", FORMS)
def test_a_data_set_has_the_rows_that_it_says_it_has(data: Any, made: str, as_: Any) -> None:
    chosen = MADE[made](data)
    want = [int(row["x"]) for row in chosen]
    pipe = from_huggingface(chosen, batch_size=4, as_=as_)
    assert len(pipe) == -(-len(want) // 4)
    assert column(pipe) == want
    table = HuggingFaceTable(chosen, as_=as_)
    assert len(table) == len(want)
    assert table.take(range(len(want)))["x"].tolist() == want
    assert [int(table[i]["x"]) for i in range(-len(want), 0)] == want


def test_columns_keep_their_types_and_the_features_are_said(data: Any) -> None:
    batch = next(iter(from_huggingface(data, ["label", "x"], as_="arrow")))
    assert batch.schema.names == ["label", "x"]
    assert batch.schema.types == [pa.int64(), pa.int32()]
    assert json.loads(batch.schema.metadata[b"huggingface"])["info"]["features"]["label"]["_type"] == "ClassLabel"
    assert next(iter(from_huggingface(data, columns=["x"], as_="torch")))["x"].dtype == torch.int32


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(st.integers(-30, 29), max_size=40), chunk=st.integers(1, 12), mapped=st.booleans())
def test_rows_come_in_the_order_of_their_numbers(numbers: list[int], chunk: int, mapped: bool) -> None:
    pieces = [datasets.Dataset.from_dict({"x": list(range(i, min(i + chunk, 30)))}) for i in range(0, 30, chunk)]
    whole = datasets.concatenate_datasets(pieces)
    order = np.random.default_rng(0).permutation(30).tolist() if mapped else list(range(30))
    table = HuggingFaceTable(whole.select(order) if mapped else whole)
    assert table.take(numbers)["x"].tolist() == [order[number] for number in numbers]
    for span in (range(-30, 5), range(3, 21), range(-4, 0), range(5, 1, -1)):
        assert table.take(span)["x"].tolist() == [order[number] for number in span]


def test_a_number_that_no_row_has_is_an_index_error(data: Any) -> None:
    for wrong in (23, -24):
        with pytest.raises(IndexError, match="23 rows"):
            HuggingFaceTable(data)[wrong]


@pytest.mark.parametrize("form", ["torch", "numpy", "pandas", "arrow", "a function"])
def test_formats_are_not_in_the_way(data: Any, form: str) -> None:
    formatted = data.with_transform(lambda batch: 1 / 0) if form == "a function" else data.with_format(form, ["s"])
    for made in (formatted, formatted.shuffle(seed=1)):
        (batch,) = from_huggingface(made)
        assert list(batch) == ["x", "s", "label"]
        assert batch["x"].dtype == np.int32


def test_nothing_of_the_table_is_copied_but_the_rows(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"x": np.arange(1_000_000)}).save_to_disk(str(tmp_path))
    loaded = datasets.load_from_disk(str(tmp_path))
    before = pa.total_allocated_bytes()
    table = HuggingFaceTable(loaded.shuffle(seed=1, keep_in_memory=False), as_="arrow")
    batch = table.take(range(1000))
    assert len(batch) == 1000
    assert pa.total_allocated_bytes() - before < 200_000
    assert len(pickle.dumps(HuggingFaceTable(loaded))) < 10_000


# Images, and arrays


def test_images_and_arrays_are_as_the_conversion_says() -> None:
    out = io.BytesIO()
    Image.new("RGB", (4, 3), (1, 2, 3)).save(out, "png")
    features = datasets.Features({"image": datasets.Image(), "grid": datasets.Array2D((2, 2), "float32")})
    made = {
        "image": [{"bytes": out.getvalue(), "path": None}] * 3,
        "grid": [np.ones((2, 2), np.float32) * i for i in range(3)],
    }
    data = datasets.Dataset.from_dict(made, features=features)
    for source in (data, data.select([2, 0]), data.to_iterable_dataset()):
        batch = next(iter(from_huggingface(source, as_="torch")))
        assert batch["image"][0].shape == (3, 4, 3)
        assert batch["grid"].shape[1:] == (2, 2)
        encoded = next(iter(from_huggingface(source, conversion=Conversion(images="encoded"))))
        assert encoded["image"][0] == out.getvalue()
    assert HuggingFaceTable(data).take([2, 1])["grid"][:, 0, 0].tolist() == [2, 1]


def test_an_image_that_cannot_be_read_is_named_and_its_batch_skipped() -> None:
    features = datasets.Features({"image": datasets.Image(), "x": datasets.Value("int64")})
    out = io.BytesIO()
    Image.new("L", (2, 2)).save(out, "png")
    made = [{"image": {"bytes": out.getvalue() if i != 5 else b"what", "path": None}, "x": i} for i in range(9)]
    data = datasets.Dataset.from_list(made, features=features)
    for source in (data, data.to_iterable_dataset()):
        pipe = from_huggingface(source, batch_size=3)
        with pytest.raises(ValueError, match="column 'image': the image in row 2"):
            list(pipe)
        with DataLoader2(pipe, bad_samples=BadSamples("skip")) as loader:
            assert column(loader) == [0, 1, 2, 6, 7, 8]
            assert loader.stats()["skipped"] == 1


def test_a_null_is_an_error_unless_the_conversion_says_otherwise() -> None:
    data = datasets.Dataset.from_dict({"x": [1, None]})
    with pytest.raises(ValueError, match="null"):
        list(from_huggingface(data))
    assert column(from_huggingface(data, conversion=Conversion(nulls=-1))) == [1, -1]


# Where it runs


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("made", ["as it is", "shuffled"])
def test_batches_are_dealt_and_not_doubled(data: Any, tmp_path: Path, service: str, on_disk: bool, made: str) -> None:
    if on_disk:
        data.save_to_disk(str(tmp_path / "data"))
        data = datasets.load_from_disk(str(tmp_path / "data"))
    chosen = MADE[made](data)
    pipe = from_huggingface(chosen, ["x"], batch_size=4).sharding_filter()
    with DataLoader2(pipe, reading_service=SERVICES[service]()) as loader:
        assert [len(batch["x"]) for batch in loader] == [4] * 5 + [3]
        assert column(loader) == [int(row["x"]) for row in chosen]


@pytest.mark.parametrize("behind", ["rebatch", "filter_rows", "shuffle"])
@pytest.mark.parametrize("streamed", [False, True])
def test_lanes_that_one_process_reads_get_batches(data: Any, behind: str, streamed: bool) -> None:
    step: Any = {
        "rebatch": lambda pipe: pipe.rebatch(3),
        "filter_rows": lambda pipe: pipe.filter_rows([("label", "!=", 1)]),
        "shuffle": lambda pipe: pipe.shuffle(buffer_size=3),
    }[behind]
    found = []
    for service in (
        MultiProcessingReadingService(2, lanes=4),
        InProcessReadingService(lanes=4),
        ThreadingReadingService(3, lanes=4),
    ):
        pipe = step(from_huggingface(data.to_iterable_dataset() if streamed else data, batch_size=4).sharding_filter())
        with DataLoader2(pipe, reading_service=service) as loader:
            loader.seed(1)
            found.append(column(loader))
            assert found[-1] == found[0]
    assert sorted(found[0]) == [x for x in range(23) if behind != "filter_rows" or x % 3 != 1]


def test_a_state_of_two_workers_goes_on_in_one(data: Any) -> None:
    def loader(workers: int) -> Any:
        pipe = from_huggingface(data, batch_size=4).sharding_filter().rebatch(3)
        return DataLoader2(pipe, reading_service=MultiProcessingReadingService(workers))

    with loader(2) as first:
        whole = column(first)
    with loader(2) as first:
        begun = [next(it)["x"].tolist() for it in [iter(first)] for _ in range(3)]
        state = json.loads(json.dumps(first.state_dict()))
    with loader(1) as second:
        second.load_state_dict(state)
        assert sum(begun, []) + column(second) == whole


@pytest.mark.parametrize("service", SERVICES)
def test_a_shuffle_of_all_rows_is_the_same_under_every_service(data: Any, service: str) -> None:
    pipe = HuggingFaceTable(data).shuffle().sharding_filter().take_rows(4)
    orders = []
    for made in (SERVICES[service], InProcessReadingService):
        with DataLoader2(pipe, reading_service=made()) as loader:
            loader.seed(2)
            orders.append(column(loader))
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == list(range(23)) != orders[0]


def test_a_worker_reads_only_its_own_batches(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []
    take = HuggingFaceTable.take
    monkeypatch.setattr(HuggingFaceTable, "take", lambda self, numbers: taken.append(numbers) or take(self, numbers))
    pipe = from_huggingface(data, batch_size=2).header(3)
    assert len(list(pipe)) == len(taken) == 3


def test_a_folder_is_loaded_where_it_is_read(data: Any, tmp_path: Path) -> None:
    data.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": data, "test": data.select([1])}).save_to_disk(str(tmp_path / "splits"))
    pipe = from_huggingface(tmp_path / "one", batch_size=5)
    assert column(pipe) == list(range(23))
    assert column(from_huggingface(str(tmp_path / "splits"), split="test")) == [1]
    assert len(HuggingFaceTable(str(tmp_path / "splits"), split="train")) == 23
    with pytest.raises(ValueError, match="splits train, test: choose one with split="):
        list(from_huggingface(str(tmp_path / "splits")))
    with pytest.raises(ValueError, match="no splits"):
        list(from_huggingface(str(tmp_path / "one"), split="train"))
    program = (
        "import sys; from penstock.pipes import from_huggingface; from penstock import DataLoader2, "
        "MultiProcessingReadingService as M; pipe = from_huggingface(sys.argv[1], ['x'], batch_size=5)\n"
        "with DataLoader2(pipe.sharding_filter(), reading_service=M(2)) as dl:\n"
        "    print(sum(int(batch['x'].sum()) for batch in dl), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "one")], capture_output=True, text=True, timeout=100
    )
    assert done.stdout.split() == ["253", "False"], done.stderr


def test_it_restores_at_every_index(data: Any, tmp_path: Path) -> None:
    for made in ("as it is", "shuffled"):
        restores_at_every_index(from_huggingface(MADE[made](data), batch_size=4))
        restores_at_every_index(from_huggingface(MADE[made](data), batch_size=4, drop_last=True).rebatch(3))
    restores_at_every_index(HuggingFaceTable(data).shuffle().take_rows(3))


def test_a_state_names_the_row_and_fits_only_its_data_set(data: Any) -> None:
    first: Any = iter(from_huggingface(data, batch_size=4))
    next(first)
    state = first.state_dict()
    assert "[4, 23]" in json.dumps(state)
    for other in (from_huggingface(data.select(range(20)), batch_size=4), from_huggingface(data, batch_size=3)):
        second: Any = iter(other)
        with pytest.raises(StateError):
            second.load_state_dict(state)
            next(second)
    finer: Any = iter(from_huggingface(data, batch_size=2))
    finer.load_state_dict(state)
    assert next(finer)["x"].tolist() == [4, 5]


# Streamed


def generated() -> Any:
    yield from ({"x": i, "s": f"s{i}", "label": i % 3} for i in range(23))


def streamed(data: Any) -> Any:
    return data.to_iterable_dataset(num_shards=3)


STREAMED: dict[str, Any] = {
    "as it is": streamed,
    "generated": lambda data: datasets.IterableDataset.from_generator(generated),
    "mapped": lambda data: streamed(data).map(lambda row: {"x": row["x"] * 2}),
    "mapped in batches": lambda data: streamed(data).map(
        lambda rows: {"x": [x * 2 for x in rows["x"]]}, batched=True, batch_size=5
    ),
    "filtered": lambda data: streamed(data).filter(lambda row: row["x"] % 3),
    "shuffled": lambda data: streamed(data).shuffle(seed=1, buffer_size=7),
    "skipped": lambda data: streamed(data).skip(3).take(11),
    "interleaved": lambda data: datasets.interleave_datasets([streamed(data), streamed(data)]),
    "formatted": lambda data: streamed(data).with_format("torch"),
}


@pytest.mark.parametrize("made", STREAMED)
@pytest.mark.parametrize("as_", ["numpy", *(pytest.param(form, marks=pytest.mark.slow) for form in FORMS[1:])])
def test_an_iterable_dataset_is_read_and_restored_at_every_index(data: Any, made: str, as_: Any) -> None:
    source = STREAMED[made](data)
    want = [int(row["x"]) for row in source]
    pipe = from_huggingface(source, ["s", "x"], batch_size=4, as_=as_)
    batches = list(pipe)
    assert column(batches) == want
    assert all((batch.schema.names if as_ == "arrow" else list(batch)) == ["s", "x"] for batch in batches)
    restores_at_every_index(pipe)


def test_two_streams_over_one_iterable_dataset_are_in_nobodys_way(data: Any) -> None:
    pipe = from_huggingface(streamed(data), ["x"], batch_size=4)
    first, second = iter(pipe), iter(pipe)
    next(first)
    for _ in range(3):
        next(second)
    third: Any = iter(pipe)
    third.load_state_dict(first.state_dict())  # type: ignore[attr-defined]  # iterators over pipes have it
    assert next(third)["x"].tolist() == next(first)["x"].tolist() == [4, 5, 6, 7]


def test_an_iterable_dataset_is_dealt_and_shuffles_anew_in_each_epoch(data: Any) -> None:
    pipe = from_huggingface(STREAMED["shuffled"](data), batch_size=4).sharding_filter()
    orders = []
    for service in (InProcessReadingService(), MultiProcessingReadingService(2)):
        with DataLoader2(pipe, reading_service=service) as loader:
            loader.seed(1)
            orders.append([column(loader) for _ in range(2)])
    assert orders[0] == orders[1]
    assert sorted(orders[0][0]) == sorted(orders[0][1]) == list(range(23))
    assert orders[0][0] != orders[0][1]
    calm = from_huggingface(streamed(data), batch_size=4)
    with DataLoader2(calm) as loader:
        assert [column(loader) for _ in range(2)] == [list(range(23))] * 2


def test_types_that_change_between_batches_are_an_error() -> None:
    def rows() -> Any:
        yield from ({"x": i if i < 4 else i / 2} for i in range(8))

    pipe = from_huggingface(datasets.IterableDataset.from_generator(rows), batch_size=4)
    with pytest.raises(ValueError, match="x: int64"):
        list(pipe)


def halves() -> Any:
    for i in range(10):
        yield {"x": i if i < 6 else i + 0.5}


def test_types_that_change_are_an_error_wherever_an_epoch_is_resumed() -> None:
    pipe = from_huggingface(datasets.IterableDataset.from_generator(halves), batch_size=3).sharding_filter()
    states: list[Any] = []
    for state in (None, 0, 1):
        with DataLoader2(pipe) as dl, pytest.raises(ValueError, match="x: double, and one ahead of it x: int64"):
            if state is not None:
                dl.load_state_dict(states[state])
            for _ in dl:
                states.append(dl.state_dict())
    assert len(states) == 3


# What is refused


def test_what_is_no_data_set_or_has_not_what_is_asked_is_refused(data: Any) -> None:
    splits = datasets.DatasetDict({"train": data, "test": data})
    streams = datasets.IterableDatasetDict({"train": streamed(data), "test": streamed(data)})
    for both in (splits, streams):
        with pytest.raises(ValueError, match="train, test: choose one with split="):
            from_huggingface(both)
        with pytest.raises(ValueError, match="'dev'"):
            from_huggingface(both, split="dev")
        assert column(from_huggingface(both, split="test")) == list(range(23))
    for wrong in ([1, 2], {"train": data}, IterableWrapper([1])):
        with pytest.raises(TypeError, match="is expected"):
            from_huggingface(wrong)
    with pytest.raises(ValueError, match="split="):
        from_huggingface(data, split="train")
    with pytest.raises(ValueError, match="no column 'nope'; it has x, s, label"):
        from_huggingface(data, ["nope"])
    with pytest.raises(TypeError, match="from_huggingface"):
        HuggingFaceTable(streamed(data))
    with pytest.raises(ValueError, match="batch_size"):
        HuggingFaceReader(data, batch_size=0)
    with pytest.raises(ValueError, match="as_"):
        from_huggingface(data, as_="pandas")  # type: ignore[arg-type]  # that is the test
    with pytest.raises(TypeError, match="length"):
        len(from_huggingface(streamed(data)))
