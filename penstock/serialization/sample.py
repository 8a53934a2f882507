"""A sample with a key, and a shard of them: the primitives of Squirrel's older API."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from penstock.core.errors import DecodeError

__all__ = ["Sample", "Shard", "check_key", "keyed", "random_key"]

_FORBIDDEN = re.compile(r"[/\\\x00-\x1f]")


class Sample:
    """A value under a key.

    Args:
        value: anything that the store's format has a word for. The only positional argument.
        key: without a separator of folders; a random one unless given.

    Raises:
        ValueError: the key cannot be the name of a file.

    Example:
        >>> Sample(key="a", value={"x": 1})
        Sample(key='a', value={'x': 1})
        >>> Sample({"x": 1}).values["x"]
        1
    """

    __slots__ = ("key", "value")

    def __init__(self, value: Any = None, key: str | None = None) -> None:
        self.key = random_key() if key is None else check_key(key)
        self.value = value

    @property
    def values(self) -> Any:
        """The value: another name, which older programs use."""
        return self.value

    def __repr__(self) -> str:
        return f"Sample(key={self.key!r}, value={self.value!r:.200})"


class Shard:
    """Samples under a key.

    Args:
        value: the samples. The only positional argument.
        key: without a separator of folders; a random one unless given.

    Raises:
        ValueError: the key cannot be the name of a file.
    """

    __slots__ = ("key", "value")

    def __init__(self, value: Iterable[Any] = (), key: str | None = None) -> None:
        self.key = random_key() if key is None else check_key(key)
        self.value = list(value)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.value)

    def __len__(self) -> int:
        return len(self.value)

    def __repr__(self) -> str:
        return f"Shard(key={self.key!r}, {len(self.value)} samples)"


def random_key() -> str:
    """Return 16 random characters. `random.seed` does not make them repeat."""
    return secrets.token_hex(8).upper()


def check_key(key: Any) -> str:
    """Return a key as text.

    Raises:
        ValueError: it cannot be the name of a file: it is empty, has a separator, or names a folder above.
    """
    text = str(key)
    if not text or text.startswith(".") or _FORBIDDEN.search(text):
        raise ValueError(
            "a key is the name of a file: not empty, without / and \\ and control characters, and with no dot at its "
            f"start, got {key!r}"
        )
    return text


def keyed(
    values: Iterable[Any],
    shard: str,
    failed: Callable[[DecodeError], Any],
    first: int = 0,
    seen: set[str] | None = None,
    hole: type | None = None,
) -> Iterator[Any]:
    """Yield what was read as `Sample` objects; one that was written without a key has its place as its key.

    Args:
        values: what was read.
        shard: the shard's key.
        failed: makes of an error what is yielded in a sample's place, or raises it.
        first: the place of the first value in the shard.
        seen: the keys of the shard so far.
        hole: objects of this class are yielded as they are.
    """
    seen = set() if seen is None else seen
    for number, value in enumerate(values, first):
        if type(value) is hole:
            yield value
            continue
        has_key = isinstance(value, dict) and value.keys() == {"key", "value"}
        key = value["key"] if has_key else f"{shard}-{number}"
        if key in seen:
            yield failed(DecodeError(f"sample {number}: its key, {key!r}, is that of another sample of the shard"))
            continue
        seen.add(key)
        try:
            sample = Sample(value["value"] if has_key else value, key)
        except ValueError as error:
            sample = failed(DecodeError(f"sample {number}: {error}"))
        yield sample
