"""Real programs, as users write them: unguarded, with everything in the main module."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

METHODS = ["forkserver", "spawn", "fork"]


def run(folder: Path, source: str, *arguments: str) -> Any:
    """Run a program; return what its last line of output says, as JSON."""
    path = folder / "program.py"
    path.write_text(textwrap.dedent(source).lstrip())
    command = [sys.executable, "-W", "error", str(path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


TUTORIAL = """
    import torch
    import json, sys
    from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService

    print("main runs")
    with open("runs", "a") as file:
        file.write("x")

    for name in "ab":
        with open(f"{name}.csv", "w") as file:
            file.writelines(f"{name}{i},{i}\\n" for i in range(20))

    def fn(row):
        return row[0], int(row[1]), "torch" in sys.modules, hasattr(sys.modules["__main__"], "TUTORIAL")

    TUTORIAL = True
    datapipe = IterableWrapper(["a.csv", "b.csv"])
    datapipe = datapipe.open_files(encoding="utf-8").parse_csv().shuffle().sharding_filter().map(fn).batch(8)
    rs = MultiProcessingReadingService(num_workers=2, multiprocessing_context=sys.argv[1])
    dl = DataLoader2(datapipe, reading_service=rs)
    epochs = []
    for epoch in range(2):
        dl.seed(epoch)
        epochs.append([list(batch) for batch in dl])
    dl.shutdown()
    with open("runs") as file:
        print(json.dumps([file.read(), epochs]))
    """


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_the_tutorial_runs_unguarded_and_its_workers_load_no_torch(tmp_path: Path, method: str) -> None:
    runs, epochs = run(tmp_path, TUTORIAL, method)
    assert runs == "x", "the main module ran once"
    for epoch in epochs:
        rows = [row for batch in epoch for row in batch]
        assert sorted(row[0] for row in rows) == sorted(f"{name}{i}" for name in "ab" for i in range(20))
        assert [len(batch) for batch in epoch] == [8] * 5
        assert not any(row[2] for row in rows), "a worker loaded torch"
        assert not any(row[3] for row in rows), "a worker ran the main module"
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("method", METHODS)
def test_everything_of_the_main_module_works_in_workers(tmp_path: Path, method: str) -> None:
    got = run(
        tmp_path,
        """
        import dataclasses, enum, json, sys
        from typing import NamedTuple
        import numpy as np
        from penstock import DataLoader2, IterableWrapper, IterDataPipe, MultiProcessingReadingService

        class Color(enum.Enum):
            RED = 1

        @dataclasses.dataclass
        class Sample:
            number: int
            array: np.ndarray
            color: Color = Color.RED

            class Inner:
                pass

        class Pair(NamedTuple):
            a: int
            b: Sample

        class MyError(Exception):
            def __init__(self, where, *, code):
                super().__init__(f"{where}/{code}")
                self.code = code

        class Doubler(IterDataPipe):
            def __init__(self, source_datapipe):
                self.source_datapipe = source_datapipe
            def __iter__(self):
                for x in self.source_datapipe:
                    yield OFFSET + 2 * x

        OFFSET = 100

        def helper(x):
            return Sample(x, np.full(30_000, x))

        def make(x):
            inner = Sample.Inner()
            return Pair(x, helper(x)), inner, (lambda: x + OFFSET), helper

        def init(graph, info):
            assert info.num_workers == 2

        def fails(x):
            raise MyError("here", code=4)

        def service():
            return MultiProcessingReadingService(2, sys.argv[1], worker_init_fn=init)

        source = IterableWrapper(range(8)).shuffle().sharding_filter()
        with DataLoader2(Doubler(source).map(make), reading_service=service()) as dl:
            items = list(dl)
        ok = all(
            type(pair) is Pair and type(pair.b) is Sample and pair.b.color is Color.RED and type(inner) is Sample.Inner
            and (pair.b.array == pair.a).all() and f() == pair.a + 100
            for pair, inner, f, _ in items
        )
        with DataLoader2(source.map(fails), reading_service=service()) as dl:
            try:
                list(dl)
            except MyError as error:
                caught = [error.code, str(error), type(error) is MyError]
        print(json.dumps([ok, len(items), sorted(item[0].a for item in items), caught]))
        """,
        method,
    )
    assert got == [True, 8, list(range(100, 116, 2)), [4, "here/4", True]]


@pytest.mark.parametrize("method", ["forkserver"])  # its workers load torch, which takes seconds
def test_a_guarded_program_with_a_torch_dataset_runs(tmp_path: Path, method: str) -> None:
    got = run(
        tmp_path,
        """
        import json, sys
        import torch
        from penstock import DataLoader2, MultiProcessingReadingService

        class Squares(torch.utils.data.Dataset):
            def __len__(self):
                return 10
            def __getitem__(self, i):
                return torch.tensor([i, i * i])

        if __name__ == "__main__":
            service = MultiProcessingReadingService(2, sys.argv[1])
            with DataLoader2(Squares(), reading_service=service) as dl:
                print(json.dumps([item.tolist() for item in dl]))
        """,
        method,
    )
    assert got == [[i, i * i] for i in range(10)]


def test_a_program_from_the_command_line_runs(tmp_path: Path) -> None:
    source = textwrap.dedent(
        """
        from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService
        class A:
            def __init__(self, x): self.x = x
        with DataLoader2(
            IterableWrapper(range(5)).sharding_filter().map(lambda x: A(x)),
            reading_service=MultiProcessingReadingService(2),
        ) as dl:
            print([a.x for a in dl if type(a) is A])
        """
    )
    for arguments, stdin in ((["-c", source], None), (["-"], source)):
        done = subprocess.run(
            [sys.executable, *arguments], input=stdin, capture_output=True, text=True, timeout=30, cwd=tmp_path
        )
        assert done.stdout == "[0, 1, 2, 3, 4]\n", done.stderr


SPAWNED = """
    import json, multiprocessing, sys
    from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService

    class Sample:
        def __init__(self, number):
            self.number = number

    def rank(number, pipe):
        service = MultiProcessingReadingService(2, multiprocessing_context=sys.argv[1])
        with DataLoader2(IterableWrapper(range(6)).sharding_filter().map(Sample), reading_service=service) as dl:
            samples = list(dl)
        pipe.send([sorted(sample.number for sample in samples), all(type(sample) is Sample for sample in samples)])

    if __name__ == "__main__":
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=rank, args=(0, there))
        process.start()
        assert here.poll(40)
        print(json.dumps(here.recv()))
        process.join()
    """


@pytest.mark.parametrize("method", METHODS)
def test_a_rank_that_multiprocessing_has_spawned_has_workers_of_its_own(tmp_path: Path, method: str) -> None:
    """It knows the program as ``__mp_main__``."""
    assert run(tmp_path, SPAWNED, method) == [list(range(6)), True]


def test_the_pools_of_workers_leave_no_semaphores_over(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import multiprocessing
            from concurrent.futures import ProcessPoolExecutor
            from penstock import DataLoader2, IterableWrapper, MultiProcessingReadingService

            def pool():
                return ProcessPoolExecutor(1, multiprocessing.get_context("forkserver"))

            if __name__ == "__main__":
                pipe = IterableWrapper(range(9)).sharding_filter().async_map(abs, 4, 1, "processes")
                pipe = pipe.async_map(abs, 4, executor=pool)
                with DataLoader2(pipe, reading_service=MultiProcessingReadingService(2)) as dl:
                    assert list(dl) == list(range(9))
            """
        )
    )
    # With -W error the tracker of such resources would say nothing.
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr, done.stderr
