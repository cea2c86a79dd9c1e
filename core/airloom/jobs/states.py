"""The states of an attempt, and its record.

QUEUED ─▶ LAUNCHING ─▶ RUNNING ─▶ SUCCEEDED | FAILED | CANCELLED | LOST

LOST means that nobody saw it end, or that it was stopped to go on later: the next attempt starts from its checkpoint.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airloom.contracts import Record

QUEUED, LAUNCHING, RUNNING = "QUEUED", "LAUNCHING", "RUNNING"
SUCCEEDED, FAILED, CANCELLED, LOST = "SUCCEEDED", "FAILED", "CANCELLED", "LOST"
ALIVE = (QUEUED, LAUNCHING, RUNNING)
ENDED = (SUCCEEDED, FAILED, CANCELLED, LOST)


@dataclass(frozen=True)
class Attempt(Record):
    """One attempt of a key, as the table has it. Times are seconds since 1970."""

    id: int
    key: str
    number: int
    generation: int  # a person's clear starts another one
    state: str
    reason: str
    host: str
    owner: int  # pid of the supervisor, 0 before it is there
    token: int  # how often the attempt was claimed; only the newest claim may write
    pid: int  # of the job's first process
    submitted: float
    started: float
    heartbeat: float
    ended: float
    folder: str
    name: str
    wanted: int  # devices
    devices: str  # those leased, with commas between
    task: dict[str, Any] = field(default_factory=dict)  # who waits: dag, run, task, map_index
    cancel: str = ""  # why it shall end for good
    stop: str = ""  # why it shall end at a checkpoint, to go on later
    cpu_seconds: float = 0.0
    device_seconds: float = 0.0
    peak_memory: int = 0  # bytes

    @property
    def alive(self) -> bool:
        """Whether it may still do something."""
        return self.state in ALIVE

    @property
    def path(self) -> Path:
        """Its folder, which has its files."""
        return Path(self.folder)
