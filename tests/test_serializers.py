"""Squirrel's serializers, by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
