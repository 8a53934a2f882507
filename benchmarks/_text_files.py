"""B6's files: made once in the system's temporary folder, and kept there under a name that tells their size."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROWS_PER_BLOCK, COLUMNS = 20_000, 10
WORDS = ("river", "turbine", "gate", "head, gross", "flow", "Ufer", "été", 'a "quoted" word', "steel", "crest")


@dataclass(frozen=True)
class File:
    """A file, how many rows it has, and its first row as it must be parsed."""

    path: Path
    rows: int
    first: Any


def csv_file(size_mb: int) -> File:
    """8 numbers and 2 texts a row, about one text in five quoted."""
    numbers = random.Random(0)
    rows = [
        [
            *(str(numbers.randrange(1_000_000)) for _ in range(4)),
            *(f"{numbers.uniform(-1, 1):.6f}" for _ in range(4)),
            numbers.choice(WORDS),
            f"station {numbers.randrange(10_000)}",
        ]
        for _ in range(ROWS_PER_BLOCK)
    ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return _file("csv", text.getvalue().encode(), size_mb, rows[0])


def json_file(size_mb: int) -> File:
    """Objects of six fields: an int, a float, a bool, two texts and a list."""
    numbers = random.Random(0)
    rows = [
        {
            "id": numbers.randrange(1_000_000_000),
            "score": round(numbers.uniform(-1, 1), 6),
            "valid": numbers.random() < 0.9,
            "label": numbers.choice(WORDS),
            "text": " ".join(numbers.choices(WORDS, k=12)),
            "pixels": [numbers.randrange(256) for _ in range(16)],
        }
        for _ in range(ROWS_PER_BLOCK)
    ]
    block = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    return _file("jsonl", block, size_mb, rows[0])


def _file(suffix: str, block: bytes, size_mb: int, first: Any) -> File:
    blocks = -(-size_mb * 1_000_000 // len(block))
    path = Path(tempfile.gettempdir()) / f"penstock-benchmark-{size_mb}mb-{os.getuid()}.{suffix}"
    if not path.exists() or path.stat().st_size != blocks * len(block):
        part = path.with_suffix(f".{os.getpid()}.part")
        with open(part, "wb") as file:
            for _ in range(blocks):
                file.write(block)
        part.replace(path)  # at once: another run never sees half a file
    return File(path, blocks * ROWS_PER_BLOCK, first)
