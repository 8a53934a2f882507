"""What must be reached: one row a bar. The names are those of the sides in the benchmark's own file."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks._format_files import FORMATS, TABLES


@dataclass(frozen=True)
class Bar:
    """One row of the table.

    Of several ``peers`` the best one counts. Exactly one of the limits is set: ``ratio`` (at least so many times better
    than the peer), ``at_least`` or ``at_most`` (of our own number, in its unit; a peer is then shown for comparison).
    """

    bench: str
    what: str
    ours: str
    peers: tuple[str, ...] = ()
    ratio: float | None = None
    at_least: float | None = None
    at_most: float | None = None


TORCH_PREFETCHES = (2, 4, 8)


def _best_prefetch(dtype: str) -> tuple[str, ...]:
    return tuple(f"torch DataLoader {dtype}, prefetch {n}" for n in TORCH_PREFETCHES)


BARS = (
    Bar("B1", "5 steps / torch datapipes", "penstock", ("torch datapipes",), ratio=25),
    Bar("B1", "5 steps / WebDataset", "penstock", ("WebDataset",), ratio=2.5),
    Bar("B1", "5 steps / torchdata.nodes' map, batch", "penstock", ("torchdata.nodes map, batch",), ratio=2.5),
    Bar("B1", "map, batch / torchdata.nodes' same", "penstock map, batch", ("torchdata.nodes map, batch",), ratio=2.5),
    Bar("B1", "5 steps / C iterators by hand", "penstock", ("by hand",), ratio=1 / 1.4),
    Bar("B2", "uint8 9.6 MB / torch's best prefetch", "penstock uint8", _best_prefetch("uint8"), ratio=8),
    Bar("B2", "uint8 9.6 MB / bare ring", "penstock uint8", ("bare ring uint8",), ratio=0.8),
    Bar("B2", "float32 38 MB / torch's best prefetch", "penstock float32", _best_prefetch("float32"), ratio=8),
    Bar("B2", "float32 38 MB / bare ring", "penstock float32", ("bare ring float32",), ratio=0.8),
    Bar("B3", "small dicts / torch DataLoader", "penstock", ("torch DataLoader",), ratio=10),
    Bar("B4", "import penstock", "import penstock", at_most=0.15),
    Bar("B4", "first batch", "first batch", ("torch first batch",), at_most=1.0),
    Bar("B4", "first batch, script imports torch", "first batch, torch", ("torch first batch",), at_most=1.0),
    Bar("B4", "first batch, 128 MB of strings", "first batch, strings", ("torch first batch, strings",), at_most=1.5),
    Bar("B5", "private memory of a worker", "penstock", ("torch DataLoader",), at_most=40),
    Bar("B6", "CSV / torchdata 0.9", "penstock CSV", ("torchdata 0.9 CSV",), ratio=1.5),
    Bar("B6", "JSON lines, orjson / json.loads", "penstock JSON, orjson", ("json.loads",), ratio=2),
    Bar("B6", "JSON lines, no orjson / json.loads", "penstock JSON, plain", ("json.loads",), ratio=1.2),
    Bar("B7", "random_map over map", "random_map", at_most=3.0),
    Bar("B7", "permutation of 100M indices", "permutation", at_least=1e6),
    Bar("B7", "longest gap in a refilling shuffle", "gap", at_most=3.0),
    Bar("B8", "__getitems__ / torch DataLoader", "penstock __getitems__", ("torch DataLoader __getitems__",), ratio=3),
    Bar("B8", "__getitems__ / plain loop", "penstock __getitems__", ("plain loop",), ratio=1),
    Bar("B8", "item by item / torch DataLoader", "penstock", ("torch DataLoader",), ratio=3),
    Bar("B8", "item by item / plain loop", "penstock", ("plain loop",), ratio=1),
    *(
        Bar("B9", f"{pipe} / torch's", f"penstock {pipe}", (f"torch {pipe}",), ratio=10)
        for pipe in ("map", "filter", "shuffle", "sharding_filter", "fork, zip")
    ),
    Bar("B9", "prefetch(10)", "penstock prefetch", ("torchdata prefetch",), at_most=3.0),
    Bar("B10", "tar of small files / torchdata's", "penstock", ("torchdata 0.9",), ratio=1.5),
    Bar("B10", "tar of small files / WebDataset", "penstock", ("WebDataset",), ratio=1),
    Bar("B12", "shutdown, 4 idle workers", "shutdown, idle", at_most=0.2),
    Bar("B12", "shutdown, a worker in a 10 s call", "shutdown, busy", at_most=2.0),
    Bar("B11", "an int from 2 workers", "penstock", ("torch DataLoader",), at_most=5.0),
    Bar("B11", "from made to had, items of 10 ms", "slow pipe", at_most=1.0),
    *(
        Bar("B13", f"fullsync, 2 ranks, {kind}, {clock} time", f"{kind}, {clock}", at_most=3.0)
        for kind in ("blocks", "lanes")
        for clock in ("wall", "processor")
    ),
    *(
        Bar(
            "B14",
            f"{kind}: resumed at 1, 50, 99%, longest / shortest",
            f"penstock {kind}",
            (f"StatefulDataLoader {kind}",),
            at_most=1.5,
        )
        for kind in ("csv", "jsonl")
    ),
    *(
        Bar("B15", f"2 threads / 2 processes, {what}", f"threads, {what}", (f"processes, {what}",), ratio=0.8)
        for what in ("zstd", "numpy", "JPEG")
    ),
    Bar("B16", "state_dict(), 8 lanes", "state_dict", at_most=1.0),
    Bar("B16", "its size for a lane", "state of a lane", at_most=4.0),
    *(
        Bar("B16", f"{bench}, states {what}", f"{bench}: {what}", at_most=5.0)
        for bench in ("B1", "B2", "B3")
        for what in ("kept, and none kept", "asked, and never asked", "asked, and none kept")
    ),
    *(
        Bar("B17", f"a worker of 1,024 x 8, 100M items: {source}", source, at_least=1_000)
        for source in ("list", "table", "shuffled")
    ),
    Bar("B18", "monitor(every_s=1) / none, 1M items/s", "monitor(every_s=1)", ("no monitor",), ratio=0.95),
    *(
        Bar("B18", f"a call for each item, {kind} / Squirrel's", f"penstock, {kind}", (f"Squirrel, {kind}",), ratio=3)
        for kind in ("ints", "dicts")
    ),
    Bar("B19", "async_map of a trivial function / Squirrel's", "async_map", ("Squirrel's async_map",), ratio=2),
    Bar("B19", "shuffle / Squirrel's", "shuffle", ("Squirrel's shuffle",), ratio=2),
    Bar("B19", "leaving an async_map early", "leaving early", ("leaving Squirrel's",), at_most=0.1),
    Bar(
        "B19",
        "four steps as a stream / as DataPipes",
        "four steps as a stream",
        ("four steps as DataPipes",),
        ratio=0.97,
    ),
    *(
        Bar("B20", f"{what} {format} / Squirrel", f"{what} {format}", (f"Squirrel's {what} {format}",), ratio=ratio)
        for what, format, ratio in (
            ("write", "msgpack", 5),
            ("read", "msgpack", 3),
            ("read old", "msgpack", 1.5),
            ("write", "jsonl", 20),
            ("read", "jsonl", 5),
            ("read old", "jsonl", 1.5),
        )
    ),
    Bar(
        "B20",
        "200 shards, 20 ms away, 16 threads / one at a time",
        "far away, 16 threads",
        ("far away, one at a time",),
        ratio=8,
    ),
    *(
        Bar("B21", f"read_zarr, {kind} / {peer}", f"penstock, {kind}", (f"zarr {peer}, {kind}",), ratio=ratio)
        for kind in ("array", "group", "shards")
        for peer, ratio in (("by rows", 20), ("by chunks", 0.8))
    ),
    *(
        Bar("B22", f"read_parquet to tensors / {peer}", "penstock", (peer,), ratio=ratio)
        for peer, ratio in (("pyarrow, a bare loop", 0.7), ("datasets", 5), ("torch's DataLoader over rows", 20))
    ),
    Bar("B22", "2 workers / one process, words parsed", "2 workers, parsed", ("one process, parsed",), ratio=1.6),
    Bar("B22", "2 workers / 2 bare loops, words parsed", "2 workers, parsed", ("2 bare loops, parsed",), ratio=0.8),
    Bar("B22", "2 workers / one process, nothing done", "2 workers, nothing", ("one process, nothing",), ratio=0.9),
    Bar("B22", "2 workers / one process, a sum", "2 workers, a sum", ("one process, a sum",), ratio=0.9),
    *(
        Bar("B22", f"4 GB in row groups of 64 MB, {kind}: memory {where}", f"memory {where}, {kind}", at_most=250)
        for kind in ("all", "filtered", "shuffled")
        for where in ("in process", "of a worker", "beside workers")
    ),
    *(
        Bar(
            "B23",
            f"read_{kind}_columns to tensors / pyarrow, a bare loop",
            f"penstock {kind}",
            (f"pyarrow {kind}, a bare loop",),
            ratio=0.7,
        )
        for kind in ("csv", "jsonl")
    ),
    Bar("B24", "Lance, a scan / LanceDataset", "penstock scan", ("LanceDataset",), ratio=1),
    Bar("B24", "Lance, random batches / SafeLanceDataset", "penstock random", ("SafeLanceDataset",), ratio=2),
    *(
        Bar("B24", f"{ours} / Lance's get_safe_loader", ours, ("get_safe_loader",), ratio=10)
        for ours in ("penstock random, 2 workers", "penstock's get_safe_loader")
    ),
    # What docs/formats.md prints: limits that only a fault would miss.
    *(
        Bar("B25", f"{what} {data}, {format}", f"{what} {data}, {format}", at_least=least)
        for what, least in (("scan", 1_000), ("random", 1_000), ("unkept", 10), ("write", 100))
        for data, formats in FORMATS.items()
        for format in formats
        if what not in TABLES or format in TABLES[what]
    ),
    *(
        Bar("B25", f"size {data}, {format}", f"size {data}, {format}", at_most=most)
        for data, most in (("numbers", 1_100), ("vectors", 600), ("images", 25_000))
        for format in FORMATS[data]
    ),
)
