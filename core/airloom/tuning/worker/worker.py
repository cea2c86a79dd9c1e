"""What one worker of a study holds: what its lanes share, and the trial that a lane has in work."""

import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airloom.tuning import ownership, study
from airloom.tuning.slots import Slot, Slots, Tally
from airloom.tuning.worker.messages import Setup

if TYPE_CHECKING:
    from airloom.contracts import RunContext
    from airloom.settings import Settings
    from airloom.spec.pipeline import Pipeline
    from airloom.tuning.trials import ActiveTrial
    from airloom.tuning.worker.recorder import Recorder, TrialRecord

LOOK = 1.0  # seconds between two looks at the study
BEAT = 2.0  # seconds between two signs of life


@dataclass
class Worker:
    """What the lanes of a worker share.

    Attributes:
        settings: of this installation.
        pipeline: says what to search.
        ctx: of the pipeline run.
        number: of this worker, for people.
        slots: of the study.
        recorder: brings its trials to MLflow.
        reads: files of the project that a training is known to read.
        owner: its name on the slots that it holds.
        ending: set when no lane is to begin another trial.
        stopped: the job was asked to end.
    """

    settings: "Settings"
    pipeline: "Pipeline"
    ctx: "RunContext"
    number: int
    slots: Slots
    recorder: "Recorder"
    reads: list[str] = field(default_factory=list)
    owner: str = field(default_factory=ownership.this_owner)
    ending: threading.Event = field(default_factory=threading.Event)
    stopped: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._beaten = self._looked = -LOOK
        self._tally: Tally | None = None

    def ends(self) -> bool:
        """Whether nothing more is to begin: the study is over, has failed, is out of budget, or this job is to end."""
        with self._lock:
            if self.ending.is_set():
                return True
            if time.monotonic() - self._looked < LOOK and self._tally and not self._tally.over:
                return False
            self._looked, self._tally = time.monotonic(), self.slots.tally(self.ctx.key)
            if self._tally.over or self._tally.failed or study.over(self.pipeline.study, self._tally):
                self.ending.set()
            return self.ending.is_set()

    def fail(self, reason: str) -> None:
        """Record that the study has failed: no other trial begins."""
        self.slots.fail(self.ctx.key, reason)
        self.ending.set()

    def stop(self) -> None:
        """Have the lanes save and end: the job was asked to."""
        self.stopped = True
        self.ending.set()

    def beat(self) -> None:
        """Record, now and then, that somebody works on the study."""
        with self._lock:
            if time.monotonic() - self._beaten < BEAT:
                return
            self._beaten = time.monotonic()
        self.slots.beat(self.ctx.key)

    def setup(self, lane: int) -> Setup:
        """What all trials of a lane share; where there are CPUs enough, each lane has its own."""
        lanes, cpus = self.pipeline.study.lanes, sorted(os.sched_getaffinity(0))
        return Setup(
            train=self.pipeline.train,
            command=self.pipeline.command,
            snapshot=self.ctx.snapshot,
            seed=self.pipeline.seed,
            cpus=cpus[lane::lanes] if lanes > 1 and len(cpus) >= lanes else [],
            reads=self.reads,
            weights=self.ctx.weights,
        )


@dataclass
class RunningTrial:
    """The trial that a lane has in work.

    Attributes:
        slot: as reserved.
        active: its row in Optuna.
        record: its way to MLflow.
        started: when this attempt began, of time.monotonic.
        step: newest one reported, by earlier attempts too.
        measured: when it was last looked at and noted down, of time.monotonic.
        stop_sent: when it was asked to stop, 0: it was not.
        memory: most bytes seen.
        cpu: seconds of the processor in this attempt; until it ends only since the first look.
        cpu_before: of its process at the first look.
        resumed: it was noted that a checkpoint let it go on.
    """

    slot: Slot
    active: "ActiveTrial"
    record: "TrialRecord"
    started: float
    step: int
    measured: float
    stop_sent: float = 0.0
    memory: int = 0
    cpu: float = 0.0
    cpu_before: float = -1.0
    resumed: bool = False

    @property
    def seconds(self) -> float:
        """Wall time of this try, all attempts together."""
        return self.slot.seconds + time.monotonic() - self.started

    @property
    def moved(self) -> bool:
        """Whether it reported a step that no attempt before it had reached."""
        return self.step > self.active.step

    def measure(self, memory: int, cpu: float) -> None:
        """Take what its process uses now: bytes, and seconds of the processor since the process began."""
        self.cpu_before = cpu if self.cpu_before < 0 else self.cpu_before
        self.memory, self.cpu = max(self.memory, memory), max(self.cpu, cpu - self.cpu_before)

    def used(self) -> dict[str, Any]:
        """What this try has used until now, by the columns of its slot."""
        return {
            "seconds": self.seconds,
            "cpu_seconds": self.slot.cpu_seconds + self.cpu,
            "peak_memory": max(self.slot.peak_memory, self.memory),
        }
