"""A worker of a study. Killed at any point and started again, it goes on where the study stands."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airloom.cache.manifest import files_of
from airloom.errors import JobFailed, MlflowAway, StoppedByRequest
from airloom.tuning import ownership, study
from airloom.tuning.slots import Slots, Tally
from airloom.tuning.trials import Rows
from airloom.tuning.worker.lane import Lane
from airloom.tuning.worker.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airloom.contracts import RunContext
    from airloom.settings import Settings
    from airloom.spec.pipeline import Pipeline

LOOK = 1.0  # seconds between two looks at the study
BEAT = 2.0  # seconds between two signs of life


def work(settings: "Settings", pipeline: "Pipeline", ctx: "RunContext", number: int) -> dict[str, Any]:
    """Run trials of the study until all its slots are finished, or its budget is over.

    Args:
        settings: of this installation.
        pipeline: says what to search.
        ctx: of the pipeline run.
        number: of this worker, for people.

    Returns:
        `worker`, `trials` (finished by this attempt), `failed` (by own fault) and `over` (which budget is).

    Raises:
        JobFailed: the study has failed; the message says how many of its trials are finished.
        StoppedByRequest: the job was asked to end; its trials saved their checkpoints.
        ConfigError: the training function cannot be found, or the like: no trial would change it.
        MlflowAway: all is done, but MLflow has not taken it.
    """
    slots = Slots(settings.database_address)
    if not slots.tally(ctx.key).trials:
        raise JobFailed(f"there is no study {ctx.key}", "start a new run; `resolve` creates it")
    study.forgive(settings, slots, ctx.key)
    worker = Worker(settings, pipeline, ctx, number, slots, Recorder(settings, ctx, slots))
    with worker.stoppable():
        return worker.run()


@dataclass
class Worker:
    """What the lanes of a worker share.

    Attributes:
        ending: set when no lane is to begin another trial.
        stopped: the job was asked to end.
    """

    settings: "Settings"
    pipeline: "Pipeline"
    ctx: "RunContext"
    number: int
    slots: Slots
    recorder: Recorder
    owner: str = field(default_factory=ownership.this_owner)
    ending: threading.Event = field(default_factory=threading.Event)
    stopped: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._beaten = self._looked = -LOOK
        self._tally: Tally | None = None
        self._reads: list[str] = []

    def run(self) -> dict[str, Any]:
        """All lanes to their end."""
        lanes = [Lane(self, number) for number in range(self.pipeline.tune.lanes)]
        try:
            # Once, and in one thread: Python 3.11 may fail when two parse at a time (gh-106905).
            self._reads = files_of(self.settings, self.pipeline)
            with ThreadPoolExecutor(len(lanes), thread_name_prefix="airloom-lane") as pool:
                for ended in as_completed([pool.submit(self._guarded, lane) for lane in lanes]):
                    ended.result()
        except BaseException:
            with suppress(MlflowAway):  # what went wrong first matters more
                self.recorder.close(5)
            raise
        self.recorder.close()
        ownership.reap(self.settings, self.slots, self.ctx.key, Rows(self.settings, self.pipeline, self.ctx))
        tally = self.slots.tally(self.ctx.key)
        if tally.failed:
            message = f"the study failed with {tally.finished} of {tally.trials} trials finished: {tally.failed}"
            raise JobFailed(message, "mend the cause; a retry, or clearing its workers, goes on where they stood")
        if self.stopped and not tally.over:
            raise StoppedByRequest("stopped on request", "the next attempt goes on where the study stands")
        done, failed = sum(lane.done for lane in lanes), sum(lane.failed for lane in lanes)
        over = "" if tally.over else study.over(self.pipeline.tune, tally)
        return {"worker": self.number, "trials": done, "failed": failed, "over": over}

    def ends(self) -> bool:
        """Whether nothing more is to begin: the study is over, has failed, is out of budget, or this job is to end."""
        with self._lock:
            if self.ending.is_set():
                return True
            if time.monotonic() - self._looked < LOOK and self._tally and not self._tally.over:
                return False
            self._looked, self._tally = time.monotonic(), self.slots.tally(self.ctx.key)
            if self._tally.over or self._tally.failed or study.over(self.pipeline.tune, self._tally):
                self.ending.set()
            return self.ending.is_set()

    def fail(self, reason: str) -> None:
        """The study has failed: no other trial begins."""
        self.slots.fail(self.ctx.key, reason)
        self.ending.set()

    def beat(self) -> None:
        """Somebody works on the study."""
        with self._lock:
            if time.monotonic() - self._beaten < BEAT:
                return
            self._beaten = time.monotonic()
        self.slots.beat(self.ctx.key)

    def setup(self, lane: int) -> dict[str, Any]:
        """What all trials of a lane share."""
        lanes, cpus = self.pipeline.tune.lanes, sorted(os.sched_getaffinity(0))
        mine = cpus[lane::lanes] if lanes > 1 and len(cpus) >= lanes else []
        values: dict[str, Any] = {"train": self.pipeline.train, "command": self.pipeline.command, "cpus": mine}
        values |= {"snapshot": self.ctx.snapshot.to_dict(), "seed": self.pipeline.seed}
        return {**values, "reads": self._reads}

    @contextmanager
    def stoppable(self) -> "Iterator[None]":
        """Take SIGTERM as the wish to save and end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _on_signal(self, *_: object) -> None:
        self.stopped = True
        self.ending.set()

    def _guarded(self, lane: Lane) -> None:
        try:
            lane.run()
        except BaseException:
            self.ending.set()  # the other lanes save and end
            raise
