"""One trial after another in a warm process: what of a worker happens once for each trial that runs at a time."""

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airloom.errors import AirloomError, ConfigError, JobFailed
from airloom.jobs.submit import host
from airloom.tracking.tags import Tag
from airloom.training.reporting.journal import Journal
from airloom.tuning import trial_folders
from airloom.tuning.going import Going
from airloom.tuning.ownership import reap
from airloom.tuning.slots import COMPLETE, PRUNED, TAKEN, Slot
from airloom.tuning.space import searched
from airloom.tuning.trials import Begun, Rows, finished
from airloom.tuning.worker import failures
from airloom.tuning.worker.recorder import Entry
from airloom.tuning.worker.trial_process import Died, TrialProcess

if TYPE_CHECKING:
    from airloom.tuning.worker.worker import Worker

TICK = 0.5  # seconds between two looks while a trial says nothing
BEAT = 2.0  # seconds between two notes of how far it is
WAIT = 0.3  # seconds between two looks for a free slot
REAP = 2.0  # seconds between two looks for dead owners
STOPPING = 25.0  # seconds that a trial has to save its checkpoint
log = logging.getLogger(__name__)


class Lane:
    """Runs trials until there are none to run.

    Args:
        worker: that it belongs to.
        number: among the worker's lanes.
    """

    def __init__(self, worker: "Worker", number: int) -> None:
        self._worker, self._number = worker, number
        self._slots, self._metrics = worker.slots, [target.metric for target in worker.pipeline.tune.targets]
        self._process: TrialProcess | None = None
        self._reaped = -REAP
        self.done = self.failed = 0

    def run(self) -> None:
        """To the end of the study, or of its budget; raises what no other trial would change."""
        try:
            self._rows = Rows(self._worker.settings, self._worker.pipeline, self._worker.ctx)
            while (slot := self._next()) is not None:
                self._trial(slot)
        finally:
            if self._process:
                self._process.end()

    # -- between trials

    def _next(self) -> Slot | None:
        """A slot, as soon as there is one; None when the study is over, or this worker is to end."""
        worker = self._worker
        while not worker.ends():
            if slot := self._slots.reserve(worker.ctx.key, worker.owner, worker.number):
                return slot
            if not self._slots.all(worker.ctx.key, TAKEN):
                worker.ending.wait(WAIT / 6)  # they have just ended; look at the whole again
                continue
            if time.monotonic() - self._reaped > REAP:
                self._reaped = time.monotonic()
                reap(worker.settings, worker.slots, worker.ctx.key, self._rows)
            worker.ending.wait(WAIT)
        return None

    def _warm(self) -> TrialProcess:
        """A process that is ready for a trial."""
        if self._process and not self._process.alive:
            self._cool()
        while self._process is None:
            worker = self._worker
            made = TrialProcess(worker.setup(self._number), worker.pipeline.resources.threads)
            try:
                said = None
                while said is None:
                    said = made.next(TICK)
            except Died as error:
                made.end()
                raise JobFailed(
                    f"the process for trials {error} before its first trial", "the log may say why"
                ) from None
            if "ready" not in said:
                made.end()
                raise _as_error(said)
            self._process = made
            self._worker.recorder.warm()
        return self._process

    def _cool(self) -> None:
        if self._process:
            self._process.end()
        self._process = None

    # -- one trial

    def _trial(self, slot: Slot) -> None:
        try:
            process = self._warm()
        except BaseException:
            self._slots.hold(slot, state="FREE", owner="")
            raise
        if slot.resumes and (ended := finished(row := self._rows.get(slot.trial))):
            # Its worker died after it had told Optuna.
            value = row.values[0] if row.values else None
            self._slots.finish(slot, ended, **({} if value is None else {"value": value}))
            return
        going = self._begin(slot, process)
        process.tell({"parameters": going.entry.parameters, "folder": str(going.entry.folder)})
        self._end(going, self._follow(going, process))

    def _begin(self, slot: Slot, process: TrialProcess) -> Going:
        worker = self._worker
        folder = trial_folders.folder_of(worker.settings, slot)
        facts = {"worker": worker.number, "host": host(), "pid": process.pid}
        begun = self._rows.begin(slot, facts)
        number = begun.trial.number
        self._slots.hold(slot, trial=number, parameters=begun.values, step=begun.step)
        slot = replace(slot, trial=number, parameters=begun.values, step=begun.step)
        parameters = searched(begun.values, worker.pipeline, worker.ctx.parameters)
        entry = Entry(slot, parameters, Journal(folder / trial_folders.JOURNAL), folder)
        worker.recorder.begin(entry)
        how = f"goes on, retry of {self._retry_of(begun)}" if begun.step >= 0 else "begins"
        log.info("trial %d of slot %d %s: %s", number, slot.slot, how, begun.values)
        now = time.monotonic()
        return Going(slot, begun, entry, now, begun.step, now)

    def _retry_of(self, begun: Begun) -> Any:
        return begun.trial.user_attrs.get("retry_of")

    def _follow(self, going: Going, process: TrialProcess) -> dict[str, Any]:
        """Answer what the trial says until it ends; how it ended."""
        while True:
            try:
                message = process.next(TICK)
            except Died as error:
                self._cool()
                return {"end": "died", "error": str(error), "code": error.code}
            if ended := self._look(going, process):
                return ended
            if message is None:
                continue
            if "report" in message:
                process.tell({"go": self._report(going, message)})
            elif "sync" in message:
                going.entry.journal.sync()
                process.tell({})
            else:
                return message

    def _report(self, going: Going, message: dict[str, Any]) -> bool:
        """Write a report down and give it to the pruner; whether the trial goes on."""
        step, metrics = int(message["report"]), message["metrics"]
        going.entry.journal.add(step, metrics)
        if message["resumed"] >= 0 and not going.resumed:
            going.resumed = True
            self._rows.note(going.begun, "resumed_at", message["resumed"])
        if len(self._metrics) > 1 or self._metrics[0] not in metrics:
            going.step = max(going.step, step)
            return True
        goes_on = self._rows.report(going.begun, step, metrics[self._metrics[0]])
        going.step = max(going.step, step)
        return goes_on

    def _look(self, going: Going, process: TrialProcess) -> dict[str, Any] | None:
        """Now and then: note how far it is, keep its limits, stop it where this worker is to end."""
        now, worker = time.monotonic(), self._worker
        if now - going.looked > BEAT:
            going.looked = now
            memory, cpu = process.usage()
            going.cpu_before = cpu if going.cpu_before < 0 else going.cpu_before
            going.memory, going.cpu = max(going.memory, memory), max(going.cpu, cpu - going.cpu_before)
            if not self._slots.hold(going.slot, **going.used(), step=going.step):
                self._cool()
                return {"end": "fenced"}
            worker.beat()
            if broken := failures.broken(worker.pipeline, memory, now - going.began):
                self._cool()
                return {"end": "failed", "error": broken}
        if worker.ends() and not going.asked:
            going.asked = now
            process.stop()
        if going.asked and now - going.asked > STOPPING:
            self._cool()
            return {"end": "stopped", "error": "it did not stop in time"}
        return None

    # -- the end of one trial

    def _end(self, going: Going, ended: dict[str, Any]) -> None:
        """Optuna first, then the slot, then MLflow: whoever finds a part done does the rest."""
        going.cpu = max(going.cpu, ended.get("cpu_seconds", 0.0))
        going.memory = max(going.memory, ended.get("peak_memory", 0))
        if ended["end"] == "fenced":
            going.entry.paused = True
            self._rows.fail(going.slot.trial, "another worker has its slot")
        elif ended["end"] == "complete":
            self._complete(going, ended)
        elif ended["end"] == "pruned":
            self._finish(going, PRUNED, None)
        else:
            self._lost(going, ended)
        self._worker.recorder.end()

    def _complete(self, going: Going, ended: dict[str, Any]) -> None:
        newest = going.entry.journal.last
        missing = [metric for metric in self._metrics if metric not in newest]
        if missing:
            there = ", ".join(sorted(newest)) or "nothing"
            reason = f"the objective {missing[0]!r} was never reported; reported: {there}"
            self._give_up(going, reason)
            self._worker.fail(reason)  # no other parameters would change it
            return
        self._finish(going, COMPLETE, [newest[metric] for metric in self._metrics], ended.get("samples", 0))

    def _finish(self, going: Going, state: str, values: list[float] | None, samples: int = 0) -> None:
        number, slot = going.slot.trial, going.slot
        self._rows.tell(number, state, values)
        value = values[0] if values else going.entry.journal.last.get(self._metrics[0])
        used = going.used() | ({} if value is None else {"value": value})
        if not self._slots.finish(slot, state, step=going.step, **used):
            going.entry.paused = True  # another worker has the slot and its run, or the end of the study completes it
            return
        self.done += 1
        log.info("trial %d of slot %d: %s %s", number, slot.slot, state, "" if value is None else f"{value:g}")
        going.entry.slot = replace(slot, state=state, step=going.step, **used)
        failures.describe(going.entry, samples, going.seconds)
        going.entry.status = "FINISHED"

    def _lost(self, going: Going, ended: dict[str, Any]) -> None:
        """It failed, was killed, or was stopped."""
        worker, slot = self._worker, going.slot
        found = failures.judge(slot, ended, going.step > going.begun.step)
        log.warning("trial %d of slot %d %s", slot.trial, slot.slot, found.reason)
        if found.fault and not found.keep:
            self._give_up(going, found.reason)
        else:
            self._rows.fail(slot.trial, found.reason)
            self._slots.hold(slot, **going.used(), step=going.step)
            self._slots.release(slot, found.reason, fault=found.fault, keep=True)
            going.entry.paused = True
        self.failed += found.fault
        if ended["end"] == "unusable":
            raise _as_error(ended)
        tally = self._slots.tally(worker.ctx.key)
        if found.fault and tally.faults > worker.pipeline.tune.most_failures:
            worker.fail(f"{tally.faults} trials failed, the last with: {found.reason}")

    def _give_up(self, going: Going, reason: str) -> None:
        """The slot begins anew with other parameters."""
        slot = going.slot
        self._rows.fail(slot.trial, reason)
        self._slots.hold(slot, **going.used())
        self._slots.release(slot, reason, fault=True, keep=False)
        going.entry.tags |= {Tag.STATE: "FAIL", Tag.REASON: reason[:4000]}
        going.entry.aside = slot.trial
        going.entry.status = "FAILED"


def _as_error(said: dict[str, Any]) -> AirloomError:
    kind = ConfigError if said.get("type") == "ConfigError" else JobFailed
    return kind(str(said["error"]), str(said.get("hint", "")))
