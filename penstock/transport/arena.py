"""Anonymous shared memory: one arena a worker, mapped by the worker and by the main process.

An arena is a memfd: it has no name, so nothing can collide with it or be left over, and its pages exist only once they
have been touched. Where there is no memfd it is an unlinked temporary file. Its first page is the worker's record
(`penstock.transport.record`).
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Final

from penstock.transport.record import RECORD_BYTES, Record, read_record, write_record

__all__ = ["ALIGN", "RECORD_BYTES", "Arena", "anonymous_file", "default_budget"]

ALIGN: Final = 64  # a cache line, and enough for every dtype
_MOST_BY_DEFAULT: Final = 2 << 30


def anonymous_file(name: str, *, memfd: bool = True) -> int:
    """Return a descriptor of a new file without a name. ``name`` shows in /proc/*/maps only."""
    if memfd and hasattr(os, "memfd_create"):
        return os.memfd_create(f"penstock-{name}", os.MFD_CLOEXEC)
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryFile(prefix="penstock-", dir=folder) as file:
        return os.dup(file.fileno())


def default_budget() -> int:
    """Return how many bytes all workers' batches on their way may take: a quarter of the free memory, 2 GiB at most."""
    free = _MOST_BY_DEFAULT * 4
    try:
        with open("/proc/meminfo") as lines:
            free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
        with open("/sys/fs/cgroup/memory.max") as limit, open("/sys/fs/cgroup/memory.current") as used:
            free = min(free, int(limit.read()) - int(used.read()))
    except (OSError, ValueError, StopIteration):  # no such file, or no limit ("max")
        pass
    return max(64 << 20, min(_MOST_BY_DEFAULT, free // 4))


class Arena:
    """A mapping of one arena. Both sides have one; views into it keep it mapped."""

    def __init__(self, fd: int) -> None:
        self.size = os.fstat(fd).st_size
        self.map = mmap.mmap(fd, self.size)

    @staticmethod
    def create(size: int, *, memfd: bool = True) -> int:
        """Return the descriptor of a new arena with room for ``size`` bytes."""
        fd = anonymous_file("arena", memfd=memfd)
        os.ftruncate(fd, RECORD_BYTES + -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        return fd

    def close(self) -> None:
        """Unmap it, unless something still looks into it: then it goes with the last view."""
        try:
            self.map.close()
        except BufferError:
            pass

    def record(
        self, what: str, *, waits: bool = False, resident_bytes: int = 0, call: tuple[str, str] = ("", "")
    ) -> None:
        """Write what the worker is doing."""
        write_record(self.map, what, waits=waits, resident_bytes=resident_bytes, call=call)

    def recorded(self) -> Record:
        """Read what the worker wrote last."""
        return read_record(self.map)
