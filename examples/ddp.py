"""DistributedDataParallel over CSV files of different lengths, with checkpoints that any number of ranks goes on from.

    torchrun --nproc-per-node 2 examples/ddp.py RUN_FOLDER

It runs on GPUs with NCCL where every rank of the machine has one, else on CPUs with gloo. Stop it in any way and start
it again, with as many ranks as you like: it goes on from the newest checkpoint in RUN_FOLDER, and each sample is seen
once an epoch all the same. With ``--write-ids`` it writes which samples each step saw.
"""

import argparse
import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from penstock import (
    DataLoader2,
    DistributedReadingService,
    FileLister,
    IterDataPipe,
    MultiProcessingReadingService,
    SequentialReadingService,
)

FEATURES, FILES, BATCH = 8, 24, 16
LANES = 4  # fixed, so that what is batched with what depends on neither ranks nor workers; 1, 2 and 4 ranks divide it


def write_data(folder: Path) -> None:
    """Write rows of an id, a target and its features, in files of 20 to 180 rows."""
    random = np.random.default_rng(0)
    weights = random.normal(size=FEATURES)
    number = 0
    unfinished = folder.with_suffix(".part")
    unfinished.mkdir(parents=True, exist_ok=True)
    for part, rows in enumerate(random.integers(20, 180, FILES)):
        x = random.normal(size=(rows, FEATURES))
        y = np.tanh(x @ weights)
        with open(unfinished / f"part-{part:02}.csv", "w", newline="") as file:
            csv.writer(file).writerows([number + i, y[i], *x[i]] for i in range(rows))
        number += rows
    unfinished.rename(folder)


def sample(row: list[str]) -> tuple[int, np.ndarray, np.float32]:
    values = np.array(row[1:], dtype=np.float32)
    return int(row[0]), values[1:], values[0]


def pipeline(folder: Path) -> IterDataPipe[Any]:
    """Return the graph. Whole files are dealt out, so a rank's share is longer or shorter than another's."""
    files = FileLister(str(folder), "*.csv").shuffle().sharding_filter()
    rows = files.open_files(encoding="utf-8").parse_csv()
    return rows.shuffle(buffer_size=100).map(sample).batch(BATCH).collate()


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint so that it is there whole or not at all."""
    torch.save(content, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def total(values: list[float], device: torch.device) -> list[float]:
    """Return the sums over all ranks."""
    sums = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    return sums.tolist()


def main() -> None:
    arguments = parsed()
    local_rank, here = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if torch.cuda.device_count() >= here:
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
        torch.set_num_threads(1)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    data, log = arguments.folder / "data", None
    if rank == 0 and not data.exists():
        write_data(data)
    dist.barrier()

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(FEATURES, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1)).to(device)
    model = DistributedDataParallel(net)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    # "longest": no sample is dropped. A rank that has no more repeats a batch, which counts for nothing below.
    ranks = DistributedReadingService(timeout=arguments.timeout, policy="longest")
    workers = MultiProcessingReadingService(num_workers=arguments.workers, lanes=LANES)
    dl = DataLoader2(pipeline(data), reading_service=SequentialReadingService(ranks, workers))
    dl.seed(arguments.seed)

    first_epoch, step, samples = 0, 0, 0
    if checkpoints := sorted(arguments.folder.glob("step-*.pt")):
        saved = torch.load(checkpoints[-1], map_location=device, weights_only=True)
        net.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        dl.load_state_dict(saved["loader"])
        first_epoch, step, samples = saved["epoch"], saved["step"], saved["samples"]
        if rank == 0:
            print(f"goes on from {checkpoints[-1].name} with {world} ranks", flush=True)
    if arguments.write_ids:
        log = open(arguments.folder / f"seen-from-{step:06}-rank-{rank}.jsonl", "w")  # noqa: SIM115  # closed below

    mean = float("nan")
    for epoch in range(first_epoch, arguments.epochs):
        seen, loss_sum = 0, 0.0
        for ids, x, y in dl:
            share = 0.0 if dl.is_padding else len(ids) / BATCH
            loss = torch.nn.functional.mse_loss(model(x.to(device)).squeeze(1), y.to(device)) * share
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            loss_sum += loss.item() * BATCH
            if not dl.is_padding:
                seen += len(ids)
                if log is not None:
                    print(json.dumps({"epoch": epoch, "step": step, "ids": ids.tolist()}), file=log, flush=True)
            if step % arguments.every == 0:
                loader = dl.gather_state()  # every rank takes part, and gets the state of all
                (in_all,) = total([seen], device)
                if rank == 0:
                    content = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "loader": loader}
                    content |= {"epoch": epoch, "step": step, "samples": samples + int(in_all)}
                    save(arguments.folder / f"step-{step:06}.pt", content)
        in_all, loss_sum = total([seen, loss_sum], device)
        samples += int(in_all)
        mean = loss_sum / max(in_all, 1)
        if rank == 0:
            print(f"epoch {epoch}: {step} steps, {samples} samples, loss {mean:.4f}", flush=True)
    if rank == 0:
        print(json.dumps({"steps": step, "samples": samples, "loss": mean, "ranks": world}))
    if log is not None:
        log.close()
    dl.shutdown()
    dist.destroy_process_group()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train on uneven CSV files with DistributedDataParallel.")
    parser.add_argument("folder", type=Path, help="of the run: its data (made if missing), checkpoints and logs")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--every", type=int, default=20, help="steps between two checkpoints")
    parser.add_argument("--workers", type=int, default=2, help="of each rank")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=300, help="seconds to wait for other ranks' data")
    parser.add_argument("--write-ids", action="store_true", help="write the ids of the samples that each step saw")
    return parser.parse_args()


if __name__ == "__main__":
    main()
