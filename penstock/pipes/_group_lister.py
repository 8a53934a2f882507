"""What lists the groups of files of tables: behind ``list_row_groups`` and ``list_record_batches``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.core.context import Context
from penstock.core.errors import PenstockError, StateError
from penstock.core.pipe import IterDataPipe, check_source, no_length
from penstock.core.stream import State, Stream, sequence_stream
from penstock.pipes._nested import nested_parts
from penstock.pipes._table_columns import span_of
from penstock.pipes.wrapper import IterableWrapper

__all__ = ["GroupLister", "count_of_groups", "listed_groups"]


class GroupLister(IterDataPipe[tuple[str, int, int]]):
    """Files of tables as spans of their groups: (url, first group, the one behind the last)."""

    def __init__(self, source_datapipe: IterDataPipe[Any], groups: int, storage_options: dict[str, Any] | None) -> None:
        self.source_datapipe = check_source(self, source_datapipe)
        if groups < 1:
            raise ValueError(f"groups must be at least 1, got {groups}")
        self.groups = groups
        self.storage_options = storage_options or {}

    def found(self, url: str) -> tuple[int, Any]:
        """Return how many groups a file has, and which of them are wanted."""
        raise NotImplementedError

    def build(self, ctx: Context, state: State = None) -> Stream[tuple[str, int, int]]:
        return nested_parts(self, self.source_datapipe, lambda item, place: _Spans(self, item, place), ctx, state)


class _Spans:
    """The spans of a file, being given out."""

    def __init__(self, pipe: GroupLister, item: Any, place: Any) -> None:
        url, *_ = span_of(item)
        spans = listed_groups(pipe, url)
        given, seen = place or (0, len(spans))
        if seen != len(spans):
            raise StateError(f"{url} has {len(spans)} spans, and had {seen} when the state was saved: it has changed")
        stream = sequence_stream(spans, given)
        self.it: Iterator[tuple[str, int, int]] = stream.it
        self.tell = lambda: [stream.state(), seen]


def count_of_groups(pipe: GroupLister) -> int:
    """Return how many spans a lister gives. TypeError where that cannot be known ahead."""
    source = pipe.source_datapipe
    if not isinstance(source, IterableWrapper) or not isinstance(source.iterable, (list, tuple)):
        raise no_length(pipe)
    try:
        return sum(len(listed_groups(pipe, span_of(item)[0])) for item in source.iterable)
    except (PenstockError, OSError, TypeError):
        raise no_length(pipe) from None


def listed_groups(pipe: GroupLister, url: str) -> list[tuple[str, int, int]]:
    """Return the spans of a file."""
    count, wanted = pipe.found(url)
    spans = ((start, min(start + pipe.groups, count)) for start in range(0, count, pipe.groups))
    return [(url, *span) for span in spans if any(group in wanted for group in range(*span))]
