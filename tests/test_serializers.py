"""Squirrel's serializers, by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.serialization import JsonSerializer, MessagepackSerializer


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
