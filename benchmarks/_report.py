"""From the rounds to verdicts, and to the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks._pair import Outcome, Side
from benchmarks.bars import Bar

COLUMNS = ("", "what", "ours", "peer", "ratio", "required", "")


@dataclass(frozen=True)
class Row:
    """A bar and what came of it: each side's median, the median of the rounds' ratios, the verdict."""

    bench: str
    what: str
    unit: str
    required: str
    ours: float | None = None
    peer: float | None = None
    peer_name: str | None = None
    ratio: float | None = None
    verdict: str = "FAILED"


def judge(bar: Bar, outcome: Outcome, sides: Mapping[str, Side]) -> Row:
    """Compare with the best peer. Ratios are taken within a round, between neighbours in time; then their median."""
    unit = sides[bar.ours].unit
    failed = Row(bar.bench, bar.what, unit, _required(bar))
    needed = (bar.ours, *bar.peers) if bar.ratio else (bar.ours,)
    if outcome.failures.keys() & set(needed):
        return failed
    lower_is_better = bar.at_most is not None
    ours = outcome.values[bar.ours]
    medians = {name: median(outcome.values[name]) for name in bar.peers if name not in outcome.failures}
    peer_name = (min if lower_is_better else max)(medians, key=medians.__getitem__, default=None)
    ratio = None
    if peer_name is not None:
        pairs = zip(ours, outcome.values[peer_name], strict=True)
        ratio = median(theirs / mine if lower_is_better else mine / theirs for mine, theirs in pairs)
    holds = (
        (bar.ratio is None or (ratio is not None and ratio >= bar.ratio))
        and (bar.at_least is None or median(ours) >= bar.at_least)
        and (bar.at_most is None or median(ours) <= bar.at_most)
    )
    return Row(
        bar.bench,
        bar.what,
        unit,
        _required(bar),
        ours=median(ours),
        peer=medians[peer_name] if peer_name else None,
        peer_name=peer_name,
        ratio=ratio,
        verdict="ok" if holds else "BELOW",
    )


def table(rows: Sequence[Row]) -> str:
    """All rows as one plain-text table."""
    lines = [COLUMNS]
    for row in rows:
        ours, peer = (f"{_short(value)} {row.unit}" if value is not None else "-" for value in (row.ours, row.peer))
        ratio = f"{row.ratio:.2f}x" if row.ratio is not None else "-"
        lines.append((row.bench, row.what, ours, peer, ratio, row.required, row.verdict))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _required(bar: Bar) -> str:
    if bar.ratio is not None:
        return f">= {bar.ratio:.3g}x"
    return f">= {_short(bar.at_least)}" if bar.at_least is not None else f"<= {bar.at_most:g}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
