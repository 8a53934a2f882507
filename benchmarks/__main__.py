"""``python -m benchmarks [--only B1,B2] [--sides TEXT] [--rounds N] [--quick] [--json PATH] [--strict]``.

Runs, prints a table, and writes the record.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import (
    b1_pipeline,
    b2_transport,
    b3_small_dicts,
    b4_start,
    b5_memory,
    b6_parsing,
    b7_random,
    b8_images,
    b9_pipes,
    b10_tar,
    b11_items,
    b12_shutdown,
    b13_fullsync,
    b14_resume,
    b15_threads,
    b16_state,
    b17_scale,
    b18_monitor,
    b19_streams,
    b20_stores,
    b21_zarr,
    b22_parquet,
    b23_text_columns,
    b24_lance,
    b25_formats,
)
from benchmarks._pair import ROOT, Outcome, Side, interleave, peer_python, squirrel_python
from benchmarks._record import as_json
from benchmarks._report import judge, table
from benchmarks.bars import BARS

ROUNDS, QUICK_ROUNDS = 5, 3

# For each benchmark the groups of sides that take turns, given ``quick``.
BENCHMARKS: dict[str, Callable[[bool], Sequence[Sequence[Side]]]] = {
    "B1": b1_pipeline.groups,
    "B2": b2_transport.groups,
    "B3": b3_small_dicts.groups,
    "B4": b4_start.groups,
    "B5": b5_memory.groups,
    "B6": b6_parsing.groups,
    "B7": b7_random.groups,
    "B8": b8_images.groups,
    "B9": b9_pipes.groups,
    "B10": b10_tar.groups,
    "B12": b12_shutdown.groups,
    "B11": b11_items.groups,
    "B13": b13_fullsync.groups,
    "B14": b14_resume.groups,
    "B15": b15_threads.groups,
    "B16": b16_state.groups,
    "B17": b17_scale.groups,
    "B18": b18_monitor.groups,
    "B19": b19_streams.groups,
    "B20": b20_stores.groups,
    "B21": b21_zarr.groups,
    "B22": b22_parquet.groups,
    "B23": b23_text_columns.groups,
    "B24": b24_lance.groups,
    "B25": b25_formats.groups,
}

_SQUIRRELS = {"B18", "B19", "B20"}  # those with a side of Squirrel's


def main() -> int:
    arguments = _arguments()
    sides: dict[str, dict[str, Side]] = {}
    outcomes: dict[str, Outcome] = {}
    for bench in arguments.only:
        groups = [group for group in BENCHMARKS[bench](arguments.quick) if _wanted(group, arguments.sides)]
        sides[bench] = {side.name: side for group in groups for side in group}
        outcomes[bench] = Outcome()
        for group in groups:
            print(f"{bench}: {', '.join(side.name for side in group)} ...", file=sys.stderr, flush=True)
            rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)
            outcome = interleave(group, rounds)
            if (again := len(outcome.stolen) - rounds * group[0].times) > 0:
                print(
                    f"{bench}: {again} passes made again: the host had given the processors to others", file=sys.stderr
                )
            outcomes[bench].values |= outcome.values
            outcomes[bench].failures |= outcome.failures
            outcomes[bench].stolen += outcome.stolen
            for failure in outcome.failures.values():
                print(f"{bench}: FAILED: {failure}", file=sys.stderr)
    rows = [judge(bar, outcomes[bar.bench], sides[bar.bench]) for bar in BARS if bar.ours in sides.get(bar.bench, ())]
    print(table(rows))
    arguments.json.write_text(as_json(rows, outcomes, sides, quick=arguments.quick) + "\n", encoding="utf-8")
    if any(outcome.failures for outcome in outcomes.values()):
        return 1
    return int(arguments.strict and any(row.verdict != "ok" for row in rows))


def _wanted(group: Sequence[Side], text: str) -> bool:
    return any(text in side.name for side in group)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Paired benchmarks against the peers.")
    parser.add_argument("--only", type=_names, default=list(BENCHMARKS), help="for example B1,B2")
    parser.add_argument("--sides", default="", metavar="TEXT", help="only groups with a side whose name has this in it")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"of each side; {ROUNDS} unless given")
    parser.add_argument("--quick", action="store_true", help="less data and fewer rounds: a smoke test")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results.json", metavar="PATH")
    parser.add_argument("--strict", action="store_true", help="exit with 1 also if a bar is missed")
    arguments = parser.parse_args()
    if not Path(peer_python()).exists():
        parser.error("the peers' environment is missing: run benchmarks/setup.sh, or set PENSTOCK_BENCH_PYTHON")
    if _SQUIRRELS.intersection(arguments.only) and not Path(squirrel_python()).exists():
        parser.error("Squirrel's environment is missing: run benchmarks/setup.sh, or set PENSTOCK_BENCH_SQUIRREL")
    return arguments


def _names(text: str) -> list[str]:
    names = text.upper().split(",")
    if unknown := set(names) - BENCHMARKS.keys():
        raise argparse.ArgumentTypeError(f"no such benchmark: {', '.join(sorted(unknown))}")
    return names


if __name__ == "__main__":
    sys.exit(main())
