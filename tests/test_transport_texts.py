"""Long lists of strings travel as one string each, and arrive as they were: in every place, and of every kind."""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService
from penstock.core.leaving import Tensors
from penstock.transport.codec import encode
from penstock.transport.texts import dump

ROWS = 300
WORDS = [f"word {i}" for i in range(ROWS)]


class Word(str):
    """A string of a user's class."""


class Holder:
    """An object that nobody looks into."""

    def __init__(self, words: list[str]) -> None:
        self.words = words


def sent(item: object) -> Any:
    data, buffers = encode(item)
    return pickle.loads(data, buffers=[bytearray(buffer.raw()) for buffer in buffers])


def strings_in_pickle(item: object) -> int:
    """How many strings pickle makes one by one."""
    return sum("UNICODE" in opcode.name for opcode, _, _ in pickletools.genops(encode(item)[0]))


KINDS: dict[str, list[Any]] = {
    "words": WORDS,
    "empty": [""] * ROWS,
    "empty among others": ["", "a"] * ROWS,
    "not ASCII": [f"Übung {i}" for i in range(ROWS)],
    "wide": [f"{i} 😀" for i in range(ROWS)],
    "surrogates": [f"\ud800{i}\udfff" for i in range(ROWS)],
    "with zeros": [f"a\0{i}" for i in range(ROWS)],
    "only zeros": ["\0" * (i % 3) for i in range(ROWS)],
    "with line ends": [f"a\n{i}\r\n" for i in range(ROWS)],
    "a class of str": [Word(word) for word in WORDS],
    "one of a class of str": [*WORDS, Word("last")],
    "None among them": [*WORDS, None],
    "None first": [None, *WORDS],
    "a number among them": [*WORDS, 3],
    "bytes among them": [*WORDS, b"x"],
    "few, often": ["yes", "no", "maybe"] * ROWS,
    "long": ["x" * 10_000 + str(i) for i in range(ROWS)],
    "few": ["a", "b"],
    "one": ["a"],
    "none": [],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_string_arrives_as_it_was(kind: str) -> None:
    words = KINDS[kind]
    arrived = sent({"words": words, "x": np.arange(3)})["words"]
    assert type(arrived) is list and arrived == words
    assert list(map(type, arrived)) == list(map(type, words))


@given(words=st.lists(st.text(st.characters(exclude_categories=())), max_size=5), times=st.integers(1, 80))
@settings(max_examples=200, deadline=None)
def test_any_strings_arrive_as_they_were(words: list[str], times: int) -> None:
    words = [word + tail for tail in map(str, range(times)) for word in words] + words * times
    assert sent([words, (words,)]) == [words, (words,)]


@pytest.mark.parametrize(
    "item", [7, None, "word", b"bytes", {1, 2}, 1.5, WORDS, np.arange(3)], ids=lambda item: type(item).__name__
)
def test_an_item_that_is_no_container_travels_by_the_usual_way(item: Any) -> None:
    arrived = sent(item)
    assert type(arrived) is type(item)
    assert np.array_equal(arrived, item) if isinstance(item, np.ndarray) else arrived == item


def test_a_long_list_is_one_string_of_the_pickle() -> None:
    assert strings_in_pickle({"a": WORDS}) < 10
    assert strings_in_pickle([(0, {"a": {"b": [WORDS]}})]) < 10
    assert strings_in_pickle([(0, Tensors({"a": WORDS, "x": np.arange(3)}))]) < 20
    assert strings_in_pickle({"a": [*WORDS, None]}) > ROWS


def test_a_list_that_is_held_in_several_places_arrives_as_one() -> None:
    item: dict[str, Any] = {"a": WORDS, "b": [WORDS, (WORDS, {"c": WORDS})], "holder": Holder(WORDS), "other": WORDS[:]}
    item["self"] = item
    arrived = sent((item, item))[0]
    words = arrived["a"]
    assert words == WORDS
    places = [arrived["b"][0], arrived["b"][1][0], arrived["b"][1][1]["c"], arrived["holder"].words]
    assert all(place is words for place in places)
    assert arrived["other"] == WORDS and arrived["other"] is not words
    assert arrived["self"] is arrived


def test_a_list_in_a_batch_of_tensors_is_that_of_its_other_places() -> None:
    [(_, batch), words] = sent([(0, Tensors({"word": WORDS, "x": np.arange(3)})), WORDS])
    assert batch["word"] == WORDS and batch["word"] is words
    assert batch["x"].tolist() == [0, 1, 2]


def test_the_item_itself_stays_as_it_was() -> None:
    words = list(WORDS)
    item = {"words": words}
    encode(item)
    assert item["words"] is words and words == WORDS


def test_lists_that_lie_too_deep_or_behind_too_many_others_arrive_all_the_same() -> None:
    deep: Any = list(WORDS)
    for _ in range(200):
        deep = [deep]
    wide = [list(WORDS) for _ in range(200)]
    arrived = sent({"deep": deep, "wide": wide})
    assert arrived["wide"] == wide
    found = arrived["deep"]
    while type(found[0]) is list:
        found = found[0]
    assert found == WORDS


def test_an_item_that_only_cloudpickle_can_send_keeps_its_strings() -> None:
    function, words, again = sent((lambda: 7, WORDS, WORDS))
    assert function() == 7 and words == WORDS and words is again


def test_pickling_with_any_pickler_gives_one_pickle() -> None:
    file = io.BytesIO()
    dump(pickle.Pickler(file, 5), file, {"a": WORDS})
    file.seek(0)
    assert pickle.load(file) == {"a": WORDS} and not file.read()


@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize("as_", ["numpy", "torch"])
def test_batches_of_columns_come_from_workers_as_from_one_process(as_: str) -> None:
    def make(i: int) -> dict[str, Any]:
        import numpy as np

        batch: dict[str, Any] = {f"f{k}": np.full(ROWS, i + k, np.float32) for k in range(8)}
        batch["id"] = np.arange(i, i + ROWS)
        if as_ == "torch":
            import torch

            batch = {name: torch.from_numpy(column) for name, column in batch.items()}
        return {**batch, "word": [f"{i} and {k}" for k in range(ROWS)]}

    pipe = IterableWrapper(range(60)).sharding_filter().map(make)
    with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as loader:
        count = 0
        for i, batch in enumerate(loader):
            expected = make(i)
            assert list(batch) == list(expected)
            for name, column in expected.items():
                assert type(batch[name]) is type(column)
                if name == "word":
                    assert batch[name] == column
                else:
                    assert batch[name].dtype == column.dtype and bool((batch[name] == column).all())
                    batch[name][:] = 0
            count += 1
        assert count == 60


@pytest.mark.parametrize("rows", [3, 4096])
@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.field("element", pa.float32(), nullable=False), 2),
        pa.struct([("q", pa.list_(pa.field("element", pa.float32(), nullable=False), 2))]),
        pa.list_(pa.list_(pa.field("element", pa.float32(), metadata={"a": "b"}), 2)),
        pa.list_(pa.field("element", pa.float32(), nullable=False)),
        pa.dictionary(pa.int8(), pa.string(), ordered=True),
    ],
    ids=str,
)
def test_a_record_batch_has_its_very_types_where_it_arrives(kind: Any, rows: int) -> None:
    whole = pa.record_batch([pa.nulls(4096, kind)], schema=pa.schema([pa.field("x", kind)], {"k": "v"}))
    arrived = sent(whole.slice(0, rows))
    assert arrived.num_rows == rows
    assert str(arrived.schema.field("x").type) == str(kind)
    assert arrived.schema.equals(whole.schema, check_metadata=True)
