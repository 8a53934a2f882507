"""The JSON record of a run: the rows, every side's rounds, and what they ran on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from statistics import median

from benchmarks._pair import Outcome, Side, peer_python, squirrel_python
from benchmarks._report import Row

PACKAGES = (
    *("penstock", "torch", "numpy", "orjson", "pyarrow", "pylance", "zarr"),
    *("torchdata", "webdataset", "psutil", "squirrel-core"),
)
SHOW_VERSIONS = """
import json, platform, sys
from importlib.metadata import PackageNotFoundError, version
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def as_json(
    rows: Sequence[Row],
    outcomes: Mapping[str, Outcome],
    sides: Mapping[str, Mapping[str, Side]],
    *,
    quick: bool,
) -> str:
    """The record as text; ``outcomes`` and ``sides`` are keyed by benchmark, then by the side's name."""
    return json.dumps(
        {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": quick,
            "machine": {"system": platform.platform(), "cpu_count": os.cpu_count(), "cpu": _cpu_model()},
            "versions": {
                "ours": _versions(sys.executable),
                "peers": _versions(peer_python()),
                "squirrel": _versions(squirrel_python()),
            },
            "rows": [asdict(row) for row in rows],
            "sides": {
                bench: {name: _spread(sides[bench][name].unit, values) for name, values in outcome.values.items()}
                for bench, outcome in outcomes.items()
            },
            "stolen": {bench: outcome.stolen for bench, outcome in outcomes.items()},
            "failures": {bench: outcome.failures for bench, outcome in outcomes.items() if outcome.failures},
        },
        indent=1,
    )


def _spread(unit: str, values: Sequence[float]) -> dict[str, object]:
    if not values:
        return {"unit": unit, "rounds": []}
    return {"unit": unit, "min": min(values), "median": median(values), "max": max(values), "rounds": list(values)}


def _versions(python: str) -> dict[str, str]:
    try:
        shown = subprocess.run([python, "-c", SHOW_VERSIONS, *PACKAGES], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):  # no such environment: only rows without peers ran
        return {}
    versions: dict[str, str] = json.loads(shown.stdout)
    return versions


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        return platform.processor()
