"""The files that ``on_disk_cache`` keeps for one item: whether they are there, and how they are made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

__all__ = ["FilesOfItem", "Rules"]

_LIST = ".torchdata_list"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Rules:
    """How files are checked and written, as the two pipes say."""

    hash_dict: Mapping[str, str] | None
    hash_type: str
    extra_check_fn: Callable[[str], bool] | None
    skip_read: bool


class FilesOfItem:
    """The files of one item, which are declared to be ``paths``."""

    def __init__(self, item: Any, paths: list[str], rules: Rules) -> None:
        self.paths = paths
        self._item = item
        self._rules = rules

    def cached(self) -> list[str] | None:
        """Return the paths of the files, None unless they are all there and as they should be."""
        found: list[str] = []
        for path in self.paths:
            listed = _read_list(path)
            found += [path] if listed is None else listed
        return found if all(self._is_good(path) for path in found) else None

    def make(self, made: Iterable[tuple[Any, Any]]) -> list[str]:
        """Write what the section yields, (path, data) each, and return the paths. Called with the lock held."""
        temporary: dict[str, str] = {}  # by target
        try:
            for path, data in made:
                target = os.fspath(path)
                temporary[target] = self._temporary(target)
                self._write(temporary[target], target, data)
            return self._put_in_place(temporary)
        except BaseException:
            for name in temporary.values():
                _remove(name)
            raise
        finally:
            close = getattr(made, "close", None)
            if close is not None:
                close()

    def _is_good(self, path: str) -> bool:
        rules = self._rules
        if not os.path.exists(path):
            return False
        expected = None if rules.hash_dict is None else rules.hash_dict.get(path)
        if expected is not None:
            import hashlib

            with open(path, "rb") as file:
                if hashlib.file_digest(file, rules.hash_type).hexdigest() != expected:
                    return False
        return rules.extra_check_fn is None or bool(rules.extra_check_fn(path))

    def _temporary(self, target: str) -> str:
        """Return the name of the temporary file: always the same one, so that a crash leaves none for long."""
        import hashlib

        mine = hashlib.sha256(os.path.abspath(self.paths[0]).encode()).hexdigest()[:8]
        return f"{target}.{mine}.partial"

    def _write(self, name: str, target: str, data: Any) -> None:
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        import hashlib

        digest = hashlib.new(self._rules.hash_type)
        try:
            with open(name, "wb") as file:
                for piece in [data] if self._rules.skip_read else _pieces(data):
                    digest.update(_put(file, piece, target))
        finally:
            close = getattr(data, "close", None)
            if close is not None:
                close()
        expected = None if self._rules.hash_dict is None else self._rules.hash_dict.get(target)
        if expected is not None and digest.hexdigest() != expected:
            raise RuntimeError(
                f"The computed hash {digest.hexdigest()} of {target} does not match the expected hash {expected}: the "
                f"caching section made another file of the item {self._item!r} than hash_dict says"
            )

    def _put_in_place(self, temporary: dict[str, str]) -> list[str]:
        """Rename what was written; the declared files come last, so that they stand for the whole item."""
        declared = self.paths
        alone = len(declared) == 1
        missing = [] if alone and temporary else [path for path in declared if path not in temporary]
        if missing:
            raise RuntimeError(
                f"the caching section made no file for {missing}, which on_disk_cache declared for the item "
                f"{self._item!r}; it made {sorted(temporary) or 'nothing'}. Do its names lead to these paths "
                "(end_caching's filepath_fn)?"
            )
        others = [path for path in temporary if path not in declared]
        for path in others:
            os.replace(temporary[path], path)
        listed = list(temporary) if alone else [declared[0], *others]
        if others:
            partial = self._temporary(declared[0] + _LIST)
            with open(partial, "w", encoding="utf-8") as file:
                file.writelines(f"{path}\n" for path in listed)
            os.replace(partial, declared[0] + _LIST)
        else:
            _remove(declared[0] + _LIST)
        for path in reversed(declared):
            if path in temporary:
                os.replace(temporary[path], path)
        return [*listed, *declared[1:]] if others else list(declared)


def _read_list(path: str) -> list[str] | None:
    try:
        with open(path + _LIST, encoding="utf-8") as file:
            return [line.rstrip("\n") for line in file if line != "\n"]
    except FileNotFoundError:
        return None


def _pieces(data: Any) -> Iterator[Any]:
    """Yield data in pieces, whatever it is: bytes, text, a file, or anything that yields pieces."""
    if isinstance(data, (str, bytes, bytearray, memoryview)):
        yield data
    elif hasattr(data, "read"):
        while piece := data.read(_CHUNK_BYTES):
            yield piece
    else:
        yield from data


def _put(file: IO[bytes], piece: Any, target: str) -> Any:
    """Write one piece, and return its bytes."""
    encoded = piece.encode() if isinstance(piece, str) else piece
    if not isinstance(encoded, (bytes, bytearray, memoryview)):
        raise TypeError(f"a caching section yields bytes or text, or streams of them; for {target} got {type(piece)}")
    file.write(encoded)
    return encoded


def _remove(name: str) -> None:
    try:
        os.unlink(name)
    except FileNotFoundError:
        pass
