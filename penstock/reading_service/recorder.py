"""A worker's end of the flight recorder: a thread writes down, 50 times a second, what the main thread is doing.

The main thread only sets attributes. So an item costs it next to nothing, and the record may be 0.02 s old, or older
where a function holds on to the interpreter's lock; that is why it says when it was written.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import time
from typing import Any

from penstock.core.calls import Calls
from penstock.core.pipe import IterDataPipe
from penstock.core.walk import describe, names, walk
from penstock.reading_service.base import Run
from penstock.reading_service.lanes import Making
from penstock.transport.arena import Arena
from penstock.transport.codec import encode

__all__ = ["Recorder", "watched_calls"]

_EVERY_S = 0.02


class Recorder:
    """Keeps an arena's record up to date.

    Attributes:
        making: what tells which item is being made. The main thread sets it, for each item.
    """

    def __init__(self, arena: Arena, graph: IterDataPipe[Any], what: str) -> None:
        self.making: Making | None = None
        self._arena = arena
        self._functions = _functions(graph)
        self._main = threading.main_thread().ident or 0
        self._where = what
        self._traced = self._waits_for = ""
        self._call = ("", "")
        self._beside = False
        self._lock = threading.Lock()  # so that nothing is written over by what was looked at before
        try:
            self._statm = os.open("/proc/self/statm", os.O_RDONLY)
        except OSError:  # not on this system
            self._statm = -1
        self._write()
        threading.Thread(target=self._watch, name="penstock-record", daemon=True).start()

    def waiting(self, for_whom: str) -> None:
        """Note that there is a wait for another process, until `working`.

        Where it is another thread that waits, the main thread may be at work meanwhile.
        """
        self._beside = threading.get_ident() != self._main
        self._waits_for = for_whom

    def working(self) -> None:
        """Note that the wait is over."""
        self._waits_for = ""

    def entered(self, where: str) -> None:
        """Write, at once, which pipe's code runs: for the run that finds out which one it is that kills."""
        with self._lock:
            self._traced = f"in pipe {where}"
            self._write()

    def calling(self, pipe: str, mark: str, what: str) -> None:
        """Write, at once, which pipe's function is called, and with what; empty where none is any more."""
        with self._lock:
            self._call, self._traced = (pipe, mark), what
            self._write()

    def _watch(self) -> None:
        while True:
            time.sleep(_EVERY_S)
            with self._lock:
                self._write()

    def _write(self) -> None:
        inside, whom, making = self._look(), self._waits_for, self.making
        waits = bool(whom) and not (inside and self._beside)
        what = f"waiting for {whom}" if waits else self._traced or self._where
        if making is not None and not waits:
            what = f"{what}, at {making.place()}"
        self._arena.record(what, waits=waits, resident_bytes=self._resident(), call=self._call)

    def _look(self) -> bool:
        """See where the main thread is; tell whether that is in a pipe's function. Else it stays where it was."""
        frame: Any = sys._current_frames().get(self._main)
        while frame is not None and frame.f_code not in self._functions:
            frame = frame.f_back
        if frame is not None:
            self._where = self._functions[frame.f_code]
        return frame is not None

    def _resident(self) -> int:
        if self._statm < 0:
            return 0
        return int(os.pread(self._statm, 128, 0).split()[1]) * mmap.PAGESIZE


def watched_calls(run: Run, recorder: Recorder) -> Calls | None:
    """Return what watches the calls of functions in an epoch, where a process has been lost and samples may be."""
    watches = run.careful and run.bad is not None and run.bad.action == "skip"
    if not (run.killers or watches):
        return None
    return Calls(run.killers, _bytes, recorder.calling if watches else None)


def _bytes(item: Any) -> bytes:
    return encode(item, in_band=True)[0]


def _functions(graph: IterDataPipe[Any]) -> dict[Any, str]:
    """Return the code of every function that a pipe runs, and what it is to be called."""
    named = names(graph)
    functions: dict[Any, str] = {}
    for pipe in walk(graph):
        for value in (*vars(pipe).values(), *vars(type(pipe)).values()):
            call = getattr(type(value), "__call__", None)  # noqa: B004  # its code is wanted, not whether it is there
            code = getattr(value, "__code__", None) or getattr(call, "__code__", None)
            if code is not None:
                where = f"in pipe {named[id(pipe)]!r} ({describe(pipe)})"
                functions[code] = f"{functions[code]}, or {where}" if code in functions else where
    return functions
