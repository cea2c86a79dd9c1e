"""Watch what a job uses: memory, wall time, the size of its log."""

import os
import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from airloom.jobs import files, processes

LOG_LIMIT = 64 * 2**20  # bytes; a longer log is cut, its newest part kept beside it
KEPT = 2**20


@dataclass
class Usage:
    """What a job has used so far."""

    peak_memory: int = 0  # bytes
    cpu_seconds: float = 0.0
    _ended_cpu: float = 0.0
    _last: float = 0.0

    def measure(self, pids: Iterable[int]) -> int:
        """Look at its processes; returns the memory that they use now.

        Processes that ended between two looks took their CPU seconds along, so the sum never falls.
        """
        memory, cpu = processes.usage(pids)
        if cpu < self._last:
            self._ended_cpu += self._last - cpu
        self._last = cpu
        self.cpu_seconds = max(self.cpu_seconds, self._ended_cpu + cpu)
        self.peak_memory = max(self.peak_memory, memory)
        return memory

    def ended(self) -> None:
        """Take what the kernel counted, once all processes ended and were waited for: also of those seen by no look."""
        of_children = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu_seconds = max(self.cpu_seconds, of_children.ru_utime + of_children.ru_stime)
        self.peak_memory = self.peak_memory or of_children.ru_maxrss * 1024


@dataclass(frozen=True)
class Limits:
    """What it may use."""

    memory: int  # bytes, 0: no limit
    seconds: float
    began: float  # of time.monotonic

    def broken(self, memory: int) -> str:
        """Which limit is broken, in words; empty for none."""
        if self.memory and memory > self.memory:
            used, allowed = (f"{value / 2**20:.0f} MiB" for value in (memory, self.memory))
            return f"memory: it used {used} of {allowed}; raise resources.memory"
        if time.monotonic() - self.began > self.seconds:
            return f"wall time: its {self.seconds:g} s are over; raise resources.time"
        return ""


def cut_log(folder: Path) -> None:
    """Keep the log's size in bounds: a job that prints without end must not fill the disk."""
    log = folder / files.LOG
    if not log.exists() or log.stat().st_size <= LOG_LIMIT:  # a job may remove its own files
        return
    with log.open("rb") as file:
        file.seek(-KEPT, os.SEEK_END)
        newest = file.read(KEPT)  # no more, however much is written meanwhile
    (folder / "log.cut.txt").write_bytes(newest)
    os.truncate(log, 0)  # its writers append, so they go on at the new end
    with log.open("ab") as file:
        file.write(f"[the log had {LOG_LIMIT >> 20} MiB and was cut; its last MiB is in log.cut.txt]\n".encode())
