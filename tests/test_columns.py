"""Steps on batches of columns: the same rows whatever the columns are made of, exact sizes, exact resume."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import (
    BadSamples,
    DataLoader2,
    DecodeError,
    InProcessReadingService,
    MultiProcessingReadingService,
    StateError,
    ThreadingReadingService,
)
from penstock.pipes import IterableWrapper
from penstock.pipes._batches import is_record_batch, joined, row_count, row_numbers, sliced, taken
from penstock.serialization.columns import Conversion
from running import restores_at_every_index, run

FORMS = ("numpy", "torch", "arrow")
SIZES = (3, 0, 1, 7, 2, 5)
CODES = pa.dictionary(pa.int8(), pa.int64())
SERVICES = {
    "in process": InProcessReadingService,
    "2 workers": lambda: MultiProcessingReadingService(2),
    "3 workers": lambda: MultiProcessingReadingService(3),
    "2 threads": lambda: ThreadingReadingService(2),
}


def batch(form: str, start: int, count: int) -> Any:
    """Rows that tell their number: of a column of numbers, one of vectors, one of words, and a struct's."""
    x = np.arange(start, start + count)
    v = np.stack([x, -x], axis=1).astype(np.float32)
    words = [f"w{i}" for i in x]
    if form == "arrow":
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(v.ravel()), 2)
        return pa.RecordBatch.from_arrays(
            [pa.array(x), vectors, pa.array(words, pa.string()), pa.StructArray.from_arrays([pa.array(x)], ["a"])],
            names=["x", "v", "s", "n"],
        )
    made = {"x": x, "v": v, "s": words, "n": {"a": x.copy()}}
    if form == "torch":
        return made | {"x": torch.from_numpy(x), "v": torch.from_numpy(v), "n": {"a": torch.from_numpy(x.copy())}}
    return made


def batches(form: str, sizes: Any = SIZES) -> Any:
    starts = np.cumsum([0, *sizes]).tolist()
    return IterableWrapper([batch(form, start, size) for start, size in zip(starts, sizes, strict=False)], False)


def numbers(found: Any) -> list[int]:
    """The rows' numbers, once it is clear that all columns agree."""
    rows = []
    for one in found:
        x = one["x"].tolist() if not isinstance(one, list) else one
        columns = one.to_pydict() if is_record_batch(one) else one
        assert [vector[0] for vector in map(list, columns["v"])] == x
        assert list(columns["s"]) == [f"w{i}" for i in x]
        inner = [n["a"] for n in columns["n"]] if is_record_batch(one) else columns["n"]["a"].tolist()
        assert inner == x
        rows += x
    return rows


# rebatch


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 18, 100])
@pytest.mark.parametrize("form", FORMS)
def test_rebatch_makes_batches_of_one_size_with_the_rows_in_order(form: str, size: int) -> None:
    found = list(batches(form).rebatch(size))
    assert numbers(found) == list(range(18))
    assert [row_count(one) for one in found] == [size] * (18 // size) + [18 % size] * bool(18 % size)
    assert [row_count(one) for one in batches(form).rebatch(size, drop_last=True)] == [size] * (18 // size)


def test_rebatch_copies_nothing_that_lies_in_one_batch() -> None:
    source = batch("numpy", 0, 10)
    for one in IterableWrapper([source], False).rebatch(5):
        assert np.shares_memory(one["x"], source["x"])


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 6), max_size=5), size=st.integers(1, 7), form=st.sampled_from(FORMS))
def test_rebatch_restores_at_every_index(sizes: list[int], size: int, form: str) -> None:
    restores_at_every_index(batches(form, sizes).rebatch(size))


def test_rebatch_names_batches_that_do_not_fit_together() -> None:
    with pytest.raises(ValueError, match="columns"):
        list(IterableWrapper([{"x": np.arange(2)}, {"y": np.arange(2)}]).rebatch(3))
    with pytest.raises(ValueError, match="one length"):
        list(IterableWrapper([{"x": np.arange(2), "y": np.arange(3)}]).rebatch(3))
    with pytest.raises(TypeError, match="batch of columns"):
        list(IterableWrapper([3]).rebatch(3))
    with pytest.raises(ValueError, match="at least 1"):
        batches("numpy").rebatch(0)


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (
            {"x": np.arange(2)},
            {"x": np.array([0.5, 1])},
            "column 'x' is of int64 in one batch and of float64 in another",
        ),
        ({"x": np.arange(2)}, {"x": [1, 2]}, "column 'x' is of int64 in one batch and of list"),
        ({"x": np.arange(2)}, {"x": torch.arange(2)}, "column 'x' is of int64 in one batch and of torch.int64"),
        (
            {"x": torch.arange(2)},
            {"x": torch.zeros(2)},
            "column 'x' is of torch.int64 in one batch and of torch.float32",
        ),
        ({"n": {"x": np.arange(2)}}, {"n": {"x": np.zeros(2)}}, "column 'x' is of int64"),
        (pa.record_batch({"x": [1, 2]}), pa.record_batch({"x": [1, 2], "y": [3, 4]}), "columns"),
        (pa.record_batch({"x": [1, 2], "y": [3, 4]}), pa.record_batch({"x": [1, 2]}), "columns"),
        (pa.record_batch({"x": [1, 2]}), pa.record_batch({"x": [0.5, 2]}), "column 'x' is of int64"),
        ({"x": np.arange(2)}, pa.record_batch({"x": [1, 2]}), "columns"),
        (pa.record_batch({"x": [1, 2]}), {"x": np.arange(2)}, "columns"),
        (
            *(pa.record_batch({"x": pa.array(range(i, i + 99)).dictionary_encode().cast(CODES)}) for i in (0, 99)),
            "column 'x', of dictionary",
        ),
    ],
    ids=str,
)
def test_columns_of_other_types_are_not_put_together(first: Any, second: Any, told: str) -> None:
    for step in (IterableWrapper([first, second]).rebatch(199), IterableWrapper([first, second]).shuffle_rows(199)):
        with pytest.raises(ValueError, match=told):
            list(step)


def test_texts_of_any_width_and_columns_in_any_order_are_put_together() -> None:
    source = IterableWrapper([{"x": np.array(["a"]), "y": [1]}, {"y": [2], "x": np.array(["abc"])}])
    (made,) = source.rebatch(2)
    assert (made["x"].tolist(), made["y"]) == (["a", "abc"], [1, 2])
    big = [{"x": np.arange(i, i + 2, dtype=">i4")} for i in range(0, 8, 2)]
    assert {one["x"].dtype.str for one in IterableWrapper(big).rebatch(3)} == {">i4"}


def test_a_source_that_changed_is_a_state_error() -> None:
    it: Any = iter(batches("numpy", [5, 5]).rebatch(3))
    next(it)
    again: Any = iter(batches("numpy", [2, 2]).rebatch(3))
    again.load_state_dict(it.state_dict())
    with pytest.raises(StateError, match="not deterministic"):
        next(again)


# shuffle_rows


@pytest.mark.parametrize("size", [None, 1, 4, 7])
@pytest.mark.parametrize("form", FORMS)
def test_shuffled_rows_are_the_same_rows_and_move_within_windows(form: str, size: Any) -> None:
    found = list(batches(form).shuffle_rows(8, batch_size=size))
    rows = numbers(found)
    assert sorted(rows) == list(range(18)) != rows
    window = 8 - 8 % (size or 1) if (size or 1) <= 8 else size
    for low in range(0, 18, window):
        assert sorted(rows[low : low + window]) == list(range(low, min(low + window, 18)))
    if size:
        assert [row_count(one) for one in found[:-1]] == [size] * (len(found) - 1)


def test_every_form_is_shuffled_alike_and_epochs_differ() -> None:
    orders = {tuple(chain.from_iterable(one["x"] for one in run(batches(f).to_numpy().shuffle_rows(9)))) for f in FORMS}
    assert len(orders) == 1
    orders |= {tuple(chain.from_iterable(one["x"] for one in run(batches("numpy").shuffle_rows(9), epoch=7)))}
    assert len(orders) == 2
    still = batches("numpy").shuffle_rows(9).set_shuffle(False)
    assert numbers(still) == list(range(18))


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 6), max_size=5),
    buffer=st.integers(1, 12),
    size=st.none() | st.integers(1, 5),
    form=st.sampled_from(FORMS),
)
def test_shuffle_rows_restores_at_every_index(sizes: list[int], buffer: int, size: Any, form: str) -> None:
    """With the very batches that would have come: a window that is read again is not cut otherwise."""
    shuffled = batches(form, sizes).shuffle_rows(buffer, batch_size=size)
    restores_at_every_index(shuffled)
    restores_at_every_index(shuffled.rebatch(3))


def test_a_shuffle_reads_ahead_as_it_gives() -> None:
    seen = []
    source = IterableWrapper([batch("numpy", i, 1) for i in range(40)], False).map(lambda one: seen.append(1) or one)
    read = [len(seen) for _ in source.shuffle_rows(10, batch_size=2)]
    assert read[:5] == [10, 12, 14, 16, 18]


def test_wrong_sizes_are_refused() -> None:
    for options in ({"buffer_rows": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            batches("numpy").shuffle_rows(**options)


# filter_rows


CONDITIONS = {
    "expression": pc.field("x") % 3 == 0 if hasattr(pc.Expression, "__mod__") else pc.field("x").isin(range(0, 18, 3)),
    "triples": [("x", "in", list(range(0, 18, 3))), ("s", "!=", "none")],
    "function": lambda one: np.asarray(one["x"]) % 3 == 0,
    "list": lambda one: [i % 3 == 0 for i in one["x"].tolist()],
}


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
@pytest.mark.parametrize("form", FORMS)
def test_the_rows_that_pass_are_left(form: str, condition: Any) -> None:
    pipe = batches(form).filter_rows(condition)
    assert numbers(pipe) == list(range(0, 18, 3))
    assert all(row_count(one) for one in pipe)
    restores_at_every_index(pipe)


def test_masks_of_torch_and_arrow_are_masks() -> None:
    assert numbers(batches("torch").filter_rows(lambda one: one["x"] > 9)) == list(range(10, 18))
    assert numbers(batches("arrow").filter_rows(lambda one: pc.greater(one["x"], 9))) == list(range(10, 18))
    assert numbers(batches("torch").filter(pc.field("x") > 9)) == list(range(10, 18))
    nulls = IterableWrapper([pa.record_batch({"x": [1, None, 3]})]).filter_rows(lambda one: pc.greater(one["x"], 1))
    assert [one["x"].to_pylist() for one in nulls] == [[3]]


def test_what_is_no_condition_and_no_mask_is_refused() -> None:
    for condition in (None, "x > 3", 3, []):
        with pytest.raises(TypeError):
            batches("numpy").filter_rows(condition)
    with pytest.raises(TypeError, match="boolean"):
        list(batches("numpy").filter_rows(lambda one: one["x"]))
    with pytest.raises(ValueError, match="3 rows"):
        list(batches("numpy").filter_rows(lambda one: [True]))
    with pytest.raises(KeyError, match="another column"):
        list(batches("numpy").filter_rows([("y", ">", 3)]))


# select, rows, conversions, map


@pytest.mark.parametrize("form", FORMS)
def test_selected_columns_come_in_their_order(form: str) -> None:
    for one in batches(form).select(["s", "x"]):
        assert (one.schema.names if form == "arrow" else list(one)) == ["s", "x"]
    with pytest.raises(KeyError, match="no column 'y' among 'x'"):
        list(batches(form).select(["x", "y"]))
    assert len(batches(form).select(["x"])) == len(SIZES)
    with pytest.raises(TypeError):
        batches(form).select("x")


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_samples(form: str) -> None:
    found = list(batches(form).rows())
    assert [int(row["x"]) for row in found] == list(range(18))
    assert [list(map(float, row["v"])) for row in found[:2]] == [[0.0, 0.0], [1.0, -1.0]]
    assert found[4]["s"] == "w4" and int(found[4]["n"]["a"]) == 4
    restores_at_every_index(batches(form, (3, 0, 2)).rows())


@pytest.mark.parametrize("form", FORMS)
def test_conversions_keep_the_rows(form: str) -> None:
    for one in batches(form, (3, 2)).to_tensors():
        assert type(one["x"]) is torch.Tensor and type(one["n"]["a"]) is torch.Tensor and type(one["s"]) is list
    for one in batches(form, (3, 2)).to_numpy():
        assert type(one["x"]) is np.ndarray and one["x"].flags.writeable and type(one["n"]["a"]) is np.ndarray
    assert numbers(batches(form).to_numpy().to_tensors().to_numpy()) == list(range(18))
    assert len(batches(form).to_tensors()) == len(SIZES)


def test_arrays_that_torch_cannot_look_into_are_copied() -> None:
    frozen = np.arange(3)
    frozen.flags.writeable = False
    odd = {"a": frozen, "b": np.arange(3)[::-1], "c": np.arange(3).astype(">i4"), "t": frozen.astype("M8[s]")}
    (found,) = IterableWrapper([odd]).to_tensors()
    assert [found[name].tolist() for name in odd] == [[0, 1, 2], [2, 1, 0], [0, 1, 2], [0, 1, 2]]


def test_a_null_is_an_error_unless_the_conversion_says_otherwise() -> None:
    source = IterableWrapper([pa.record_batch({"x": [1, None]})])
    with pytest.raises(DecodeError, match="null"):
        list(source.to_numpy())
    assert [one["x"].tolist() for one in source.to_tensors(Conversion(nulls=0))] == [[1, 0]]


@pytest.mark.parametrize("form", FORMS)
def test_map_works_on_batches(form: str) -> None:
    assert [row_count(one) for one in batches(form).map(lambda one: sliced(one, 0, 1))] == [min(s, 1) for s in SIZES]


@settings(max_examples=30, deadline=None)
@given(data=st.data(), form=st.sampled_from(FORMS))
def test_pieces_put_together_are_the_whole(data: Any, form: str) -> None:
    whole = batch(form, 0, 12)
    cuts = sorted(data.draw(st.lists(st.integers(0, 12), max_size=4)))
    assert numbers([joined([sliced(whole, a, b) for a, b in zip([0, *cuts], [*cuts, 12], strict=True)])]) == list(
        range(12)
    )
    order = np.array(data.draw(st.permutations(range(12))))
    assert numbers([taken(whole, order)]) == order.tolist()


VIEWS = {
    "string_view": pa.array(["a", None, "c", "d"], pa.string_view()),
    "binary_view": pa.array([b"a", None, b"c", b"d"], pa.binary_view()),
    "runs": pc.run_end_encode(pa.array([1, 1, None, 2]), run_end_type=pa.int16()),
    "struct": pa.array([{"s": "a"}, None, {"s": None}, {"s": "d"}], pa.struct([("s", pa.string_view())])),
    "list": pa.array([["a"], None, [], ["b", None]], pa.list_(pa.field("word", pa.string_view()))),
    "large_list": pa.array([["a"], None, [], ["b", None]], pa.large_list(pa.string_view())),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_rows_of_views_and_runs_are_taken_in_their_types(tmp_path: Path, kind: str) -> None:
    column = VIEWS[kind]
    whole = pa.record_batch({"id": range(4), "x": column})
    source = IterableWrapper([whole])
    for condition in ([("id", ">=", 2)], pc.field("id") >= 2, lambda one: np.array([0, 0, 1, 1], bool)):
        (left,) = source.filter_rows(condition)
        assert left.equals(whole.slice(2))
    for one in source.shuffle_rows(4):
        assert one.schema == whole.schema
        assert one.column("x").to_pylist() == [column.to_pylist()[i] for i in one.column("id").to_pylist()]
    with pa.ipc.new_file(tmp_path / "a.arrow", whole.schema) as writer:
        writer.write_batch(whole)
    (left,) = IterableWrapper([str(tmp_path / "a.arrow")]).read_arrow(filter=[("id", ">=", 2)], as_="arrow")
    assert left.to_pylist() == whole.slice(2).to_pylist()
    assert left.schema.field("x").type == column.type
    if kind in ("string_view", "runs"):
        (left,) = source.filter_rows(pc.field("x") == (2 if kind == "runs" else "d"))
        assert left.column("id").to_pylist() == [3]


@pytest.mark.parametrize(
    "column",
    [
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(16, dtype="f4").reshape(4, 2, 2)),
        pa.UnionArray.from_sparse(pa.array([0, 0, 1, 1], pa.int8()), [pa.array(range(4)), pa.array(list("abcd"))]),
    ],
    ids=["tensor", "union"],
)
def test_a_filter_reads_past_columns_of_any_type(tmp_path: Path, column: Any) -> None:
    whole = pa.record_batch({"id": range(4), "x": column})
    with pa.ipc.new_file(tmp_path / "a.arrow", whole.schema) as writer:
        writer.write_batch(whole)
    (left,) = IterableWrapper([str(tmp_path / "a.arrow")]).read_arrow(filter=[("id", ">", 1)], as_="arrow")
    assert left.column("x").to_pylist() == whole.column("x").to_pylist()[2:]


@pytest.mark.parametrize("order", ["<", ">"])
def test_times_of_any_byte_order_are_the_same_tensors(order: str) -> None:
    days = np.array(["2020-01-01", "1969-12-31"], f"{order}M8[D]")
    (made,) = IterableWrapper([{"day": days, "span": days - days[::-1]}]).to_tensors()
    assert made["day"].tolist() == [18262, -1]
    assert made["span"].tolist() == [18263, -18263]


@pytest.mark.parametrize("wrong", [np.array([1.7]), np.array([True, False]), np.array([[0, 1]]), [1.5], ["a"]])
def test_numbers_of_rows_are_integers(wrong: Any) -> None:
    with pytest.raises(TypeError):
        row_numbers(wrong, 3)


@pytest.mark.parametrize("wrong", [[1 << 70], np.array([1 << 63], np.uint64), np.array([3], np.uint8), [-4]])
def test_numbers_that_no_row_has_are_refused(wrong: Any) -> None:
    with pytest.raises(IndexError, match="there are 3 rows"):
        row_numbers(wrong, 3)
    assert row_numbers(np.array([2, 0], np.uint64), 3).tolist() == [2, 0]
    assert row_numbers(np.array([]), 3).tolist() == []


# Under every service


def write(folder: Path) -> list[str]:
    paths = []
    for i in range(3):
        table = pa.table({"x": np.arange(i * 20, i * 20 + 20), "s": [f"w{i}" for i in range(20)]})
        paths.append(str(folder / f"{i}.parquet"))
        pq.write_table(table, paths[-1], row_group_size=7)
    return paths


def graph(paths: list[str], form: Any, *, whole: bool) -> Any:
    """All steps: behind the sharding point (lanes), or with those that are one-to-one behind it (blocks)."""
    source = IterableWrapper(paths).list_row_groups().shuffle()
    if not whole:
        source = source.sharding_filter()
    pipe = source.read_parquet(batch_size=4, as_=form).filter_rows([("x", "!=", 5)]).shuffle_rows(16).rebatch(3)
    return (pipe.sharding_filter() if whole else pipe).to_tensors().select(["x"]).map(lambda one: one["x"])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "service", [pytest.param(name, marks=pytest.mark.slow) if name == "3 workers" else name for name in SERVICES]
)
@pytest.mark.parametrize("whole", [False, True], ids=["lanes", "blocks"])
def test_every_row_comes_once(tmp_path: Path, service: str, form: str, whole: bool) -> None:
    with DataLoader2(graph(write(tmp_path), form, whole=whole), reading_service=SERVICES[service]()) as loader:
        loader.seed(4)
        found = [x.tolist() for x in loader]
    assert sorted(chain.from_iterable(found)) == [i for i in range(60) if i != 5]
    if whole:
        with DataLoader2(graph(write(tmp_path), form, whole=whole)) as loader:
            loader.seed(4)
            assert [x.tolist() for x in loader] == found


# Each of many loaders has workers that import torch.
@pytest.mark.parametrize("service", ["in process", pytest.param("2 workers", marks=pytest.mark.slow), "2 threads"])
@pytest.mark.parametrize("whole", [False, True], ids=["lanes", "blocks"])
def test_a_loader_resumes_at_every_index(tmp_path: Path, service: str, whole: bool) -> None:
    pipe = graph(write(tmp_path), "arrow", whole=whole)
    with DataLoader2(pipe, reading_service=SERVICES[service]()) as loader:
        loader.seed(4)
        states, expected = [], []
        for x in loader:
            expected.append(x.tolist())
            states.append(loader.state_dict())
    for i in range(0, len(states), 1 if service == "in process" else 5):
        with DataLoader2(pipe, reading_service=SERVICES[service]()) as loader:
            loader.load_state_dict(states[i])
            assert [x.tolist() for x in loader] == expected[i + 1 :]


def test_a_batch_that_fails_is_skipped_and_no_other(tmp_path: Path) -> None:
    def check(one: Any) -> Any:
        if 9 in one["x"].tolist():
            raise ValueError("nine")
        return one["x"] >= 0

    pipe = IterableWrapper(write(tmp_path)).read_parquet(batch_size=7).filter_rows(check).rebatch(5)
    with DataLoader2(pipe, bad_samples=BadSamples("skip")) as loader:
        found = list(chain.from_iterable(one["x"].tolist() for one in loader))
        assert loader.stats()["skipped"] == 1
    assert found == [i for i in range(60) if not 7 <= i < 14]


def broken(one: Any) -> Any:
    if int(one["x"][0]) in (0, 9, 12, 39):
        raise ValueError("bad")
    return one


@pytest.mark.parametrize(
    "step",
    [
        lambda pipe: pipe.rebatch(1),
        lambda pipe: pipe.rebatch(8),
        lambda pipe: pipe.rebatch(13, drop_last=True),
        lambda pipe: pipe.shuffle_rows(7),
        lambda pipe: pipe.shuffle_rows(12, batch_size=2),
        lambda pipe: pipe.shuffle_rows(9).rebatch(4),
        lambda pipe: pipe.shuffle_rows(1000),
    ],
)
def test_what_is_skipped_counts_once_wherever_an_epoch_is_resumed(step: Any) -> None:
    pipe = step(IterableWrapper([{"x": np.arange(k, k + 3)} for k in range(0, 42, 3)]).map(broken))

    def finished(state: Any = None) -> tuple[list[Any], list[Any], int]:
        with DataLoader2(pipe, bad_samples=BadSamples("skip")) as loader:
            loader.seed(1)
            if state is not None:
                loader.load_state_dict(state)
            given = [(one["x"].tolist(), loader.state_dict()) for one in loader]
            return [batch for batch, _ in given], [state for _, state in given], loader.stats()["skipped"]

    batches, states, skipped = finished()
    assert skipped == 4
    for place, state in enumerate(states):
        rest, _, counted = finished(state)
        assert (rest, counted) == (batches[place + 1 :], 4)


def test_the_page_about_columns_runs_as_one_script(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "docs/columns.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) == 7
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr


# map_batches


@pytest.mark.parametrize("form", FORMS)
def test_map_batches_without_a_size_maps_each_batch_of_columns(form: str) -> None:
    batches = [batch(form, start, 3) for start in (0, 3, 6)]
    source = IterableWrapper(batches)
    pipe = source.map_batches(lambda b: {"twice": b["x"] if form == "arrow" else b["x"] * 2})
    assert len(pipe) == 3
    factor = 1 if form == "arrow" else 2
    assert [list(b["twice"].tolist()) for b in pipe] == [[factor * (i + k) for k in range(3)] for i in (0, 3, 6)]


@pytest.mark.parametrize("form", FORMS)
def test_map_batches_gives_a_function_the_columns_that_it_asks_for(form: str) -> None:
    source = IterableWrapper([batch(form, 0, 3)])
    (some,) = source.map_batches(lambda b: b, input_col=["s", "x"])
    assert (some.schema.names if form == "arrow" else list(some)) == ["s", "x"]
    (one,) = source.map_batches(lambda column: column, input_col="x")
    assert one.tolist() == [0, 1, 2]
    with pytest.raises(KeyError, match="no column 'z'"):
        list(source.map_batches(lambda b: b, input_col="z"))


def test_map_batches_refuses_what_is_no_batch_of_columns() -> None:
    with pytest.raises(TypeError, match="a batch of columns is expected"):
        list(IterableWrapper(range(3)).map_batches(lambda b: b))
    with pytest.raises(ValueError, match="one length"):
        list(IterableWrapper([{"x": [1], "y": [1, 2]}]).map_batches(lambda b: b))


@pytest.mark.parametrize("service", SERVICES)
def test_map_batches_behind_a_sharding_point_keeps_the_order_of_one_process(service: str) -> None:
    def doubled(b: Any) -> Any:
        return {"x": b["x"] * 2}

    pipe = IterableWrapper([batch("numpy", 3 * i, 3) for i in range(9)]).sharding_filter().map_batches(doubled)
    with DataLoader2(pipe, reading_service=SERVICES[service]()) as loader:
        assert list(chain.from_iterable(b["x"].tolist() for b in loader)) == list(range(0, 54, 2))
    restores_at_every_index(pipe.map(lambda b: b["x"].tolist()))


def test_map_batches_leaves_out_a_batch_that_its_function_refuses_where_it_may() -> None:
    def picky(b: Any) -> Any:
        if b["x"][0] == 3:
            raise ValueError("three")
        return b

    pipe = IterableWrapper([batch("numpy", i, 3) for i in (0, 3, 6)]).map_batches(picky)
    with DataLoader2(pipe, bad_samples=BadSamples("skip")) as loader:
        assert [int(b["x"][0]) for b in loader] == [0, 6]
        assert loader.stats()["skipped"] == 1


class Unseen:
    """An object that Arrow knows nothing of."""


@pytest.mark.parametrize(
    "other", [[np.zeros((2, 2))] * 4, [1, "x", None, Unseen()], torch.ones(4, requires_grad=True), np.ones(4, complex)]
)
def test_columns_that_a_condition_does_not_name_do_not_matter(other: Any) -> None:
    """Their names may be a part of its text."""
    batch = {"image_id": np.arange(4, dtype=">i4"), "image": other}
    [kept] = IterableWrapper([batch], deepcopy=False).filter_rows([("image_id", ">", 2)])
    assert kept["image_id"].tolist() == [3]
    with pytest.raises((TypeError, ValueError, RuntimeError, pa.ArrowException)):
        list(IterableWrapper([batch], deepcopy=False).filter_rows([("image", ">", 2)]))
