"""Squirrel's serializers, by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from penstock.core.errors import DecodeError
from penstock.serialization import JsonSerializer, MessagepackSerializer
from penstock.stores import SquirrelStore


@pytest.mark.parametrize("made", [MessagepackSerializer, JsonSerializer, JsonSerializer(), MessagepackSerializer()])
def test_what_is_static_in_squirrel_can_be_called_on_the_class(tmp_path: Path, made: Any) -> None:
    assert made.deserialize(made.serialize({"x": 1})) == {"x": 1}
    made.serialize_shard_to_file([{"x": 1}, {"x": 2}], str(tmp_path / "a.gz"), mode="wb")
    assert list(made.deserialize_shard_from_file(str(tmp_path / "a.gz"))) == [{"x": 1}, {"x": 2}]
    assert "one sample" in made.serialize.__doc__ and made.serialize.__name__ == "serialize"


def test_a_serializer_derived_of_one_here_keeps_what_it_was_told() -> None:
    class Tuples(MessagepackSerializer):
        def deserialize(self, obj: bytes) -> Any:
            return "mine", super().deserialize(obj)

    packed = Tuples.serialize([1])
    assert Tuples(use_list=False).deserialize(packed) == ("mine", (1,))


@pytest.mark.parametrize("made", [MessagepackSerializer, JsonSerializer])
@pytest.mark.parametrize(
    "masked",
    [np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1.5]), np.ma.masked, np.ma.array([(1,)], dtype=[("x", "i4")])[0]],
)
def test_a_masked_array_is_refused_with_what_to_write_in_its_place(made: Any, masked: Any) -> None:
    with pytest.raises(TypeError, match=r"x\.filled\(value\), or two arrays"):
        made.serialize({"x": [masked]})
    instead = {"data": np.array(np.ma.getdata(masked)), "mask": np.array(np.ma.getmaskarray(masked))}
    assert made.deserialize(made.serialize(instead))["mask"].tolist() == instead["mask"].tolist()


@pytest.mark.parametrize("made", [MessagepackSerializer, JsonSerializer])
def test_other_classes_of_arrays_are_written_as_arrays(made: Any) -> None:
    record = np.rec.array([(1, 2.0)], dtype=[("x", "i4"), ("y", "f8")])
    assert made.deserialize(made.serialize(record)).tolist() == [(1, 2.0)]


MAPS = [{b"nd": True}, {b"nd": 1}, {b"complex": True}, {b"nd": False, b"type": "cat", b"data": b""}, {b"complex": 1}]


@pytest.mark.parametrize("value", MAPS)
def test_a_map_with_the_keys_of_an_array_comes_back_from_a_shard_and_is_refused_alone(
    tmp_path: Path, value: Any
) -> None:
    samples = [{"x": np.arange(2), "y": [value]}, value]
    for allow_pickle in (False, True):
        store = SquirrelStore(str(tmp_path), MessagepackSerializer(allow_pickle=allow_pickle))
        store.set(samples, key="a")
        first, second = store.get("a")
        assert first["x"].tolist() == [0, 1] and first["y"] == [value] and second == value == store.sample("a", 1)
    with pytest.raises(TypeError, match="use str for the key"):
        MessagepackSerializer.serialize(samples[0])
    assert MessagepackSerializer.deserialize(MessagepackSerializer.serialize([b"nd", {"nd": b"complex"}]))


def test_an_array_with_missing_fields_in_a_file_of_somebody_elses_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(msgpack.packb({b"nd": True, b"kind": b"", b"shape": [2], b"data": b"ab"}))
    with pytest.raises(DecodeError, match="not an array"):
        list(MessagepackSerializer.deserialize_shard_from_file(str(tmp_path / "a")))
