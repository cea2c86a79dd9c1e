"""One trial after another in a warm process: what of a worker happens once for each trial that runs at a time."""

import logging
import time
from dataclasses import replace

from airloom.contracts import Record
from airloom.errors import AirloomError, ConfigError, JobFailed, NameRefused
from airloom.jobs.submit import host
from airloom.training.reporting.journal import Journal
from airloom.tuning import trial_folders
from airloom.tuning.ownership import reap
from airloom.tuning.slots import COMPLETE, PRUNED, TAKEN, Slot
from airloom.tuning.space import searched
from airloom.tuning.trials import OptunaTrials, finished
from airloom.tuning.worker import failures
from airloom.tuning.worker.messages import BrokenMessage, End, Ready, Reply, Report, RunTrial, Sync, TrialEnd, expect
from airloom.tuning.worker.recorder import TrialRecord
from airloom.tuning.worker.trial_process import Died, TrialProcess
from airloom.tuning.worker.worker import RunningTrial, Worker

TICK = 0.5  # seconds between two looks while a trial reports nothing
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

    Attributes:
        finished: how many trials it brought to their end.
        failed: how many failed by their own fault.
    """

    def __init__(self, worker: Worker, number: int) -> None:
        self._worker, self._number = worker, number
        self._slots, self._metrics = worker.slots, [target.metric for target in worker.pipeline.study.targets]
        self._process: TrialProcess | None = None
        self._reaped = -REAP
        self.finished = self.failed = 0

    def run(self) -> None:
        """Run trials until the study has all of them, its budget is used up, or the worker is to end.

        Raises:
            AirloomError: what no other trial would change.
        """
        try:
            self._trials = OptunaTrials(self._worker.settings, self._worker.pipeline, self._worker.ctx)
            while (slot := self._next_slot()) is not None:
                self._run_trial(slot)
        finally:
            if self._process:
                self._process.end()

    # -- between trials

    def _next_slot(self) -> Slot | None:
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
                reap(worker.settings, worker.slots, worker.ctx.key, self._trials)
            worker.ending.wait(WAIT)
        return None

    def _warm_process(self) -> TrialProcess:
        """A process that is ready for a trial: the last trial's, or a new one."""
        if self._process and not self._process.alive:
            self._end_process()
        if self._process is None:
            worker = self._worker
            process = TrialProcess(worker.setup(self._number), worker.pipeline.resources.threads)
            try:
                _await_ready(process)
            except BaseException:
                process.end()
                raise
            self._process = process
            worker.recorder.warm()
        return self._process

    def _end_process(self) -> None:
        if self._process:
            self._process.end()
        self._process = None

    # -- one trial

    def _run_trial(self, slot: Slot) -> None:
        try:
            process = self._warm_process()
        except BaseException:
            self._slots.hold(slot, state="FREE", owner="")
            raise
        if slot.resumes and (ended := finished(row := self._trials.get(slot.trial))):
            # Its worker died between ending the row and finishing the slot.
            value = row.values[0] if row.values else None
            self._slots.finish(slot, ended, **({} if value is None else {"value": value}))
            return
        trial = self._begin(slot, process)
        process.send(RunTrial(trial.record.parameters, str(trial.record.folder)))
        self._end(trial, self._follow(trial, process))

    def _begin(self, slot: Slot, process: TrialProcess) -> RunningTrial:
        worker = self._worker
        folder = trial_folders.folder_of(worker.settings, slot)
        active = self._trials.begin(slot, {"worker": worker.number, "host": host(), "pid": process.pid})
        number = active.trial.number
        self._slots.hold(slot, trial=number, parameters=active.values, step=active.step)
        slot = replace(slot, trial=number, parameters=active.values, step=active.step)
        parameters = searched(active.values, worker.pipeline, worker.ctx.parameters)
        record = TrialRecord(slot, parameters, Journal(folder / trial_folders.JOURNAL), folder)
        worker.recorder.begin(record)
        lost = active.trial.user_attrs.get("retry_of")
        how = f"goes on, retry of {lost}" if active.step >= 0 else "begins"
        log.info("trial %d of slot %d %s: %s", number, slot.slot, how, active.values)
        now = time.monotonic()
        return RunningTrial(slot, active, record, started=now, step=active.step, measured=now)

    def _follow(self, trial: RunningTrial, process: TrialProcess) -> TrialEnd:
        """Answer what the trial reports until it ends; returns how it ended."""
        while True:
            try:
                message = process.receive(TICK)
                if ended := self._look(trial, process):
                    return ended
                if isinstance(message, TrialEnd):
                    return message
                if message is not None:
                    process.send(self._answer(trial, message))
            except Died as error:
                self._end_process()
                return TrialEnd(End.DIED, error=str(error), code=error.code)
            except BrokenMessage as error:
                self._end_process()
                return TrialEnd(End.UNUSABLE, error=error.message, hint=error.hint)

    def _answer(self, trial: RunningTrial, message: Record) -> Reply:
        if isinstance(message, Sync):
            trial.record.journal.sync()
            return Reply()
        return Reply(self._report(trial, expect(message, Report)))

    def _report(self, trial: RunningTrial, report: Report) -> bool:
        """Write a report down and give it to the pruner; returns whether the trial goes on."""
        trial.record.journal.add(report.step, report.metrics)
        if report.resumed >= 0 and not trial.resumed:
            trial.resumed = True
            self._trials.note(trial.active, "resumed_at", report.resumed)
        goes_on = True
        if len(self._metrics) == 1 and self._metrics[0] in report.metrics:
            goes_on = self._trials.report(trial.active, report.step, report.metrics[self._metrics[0]])
        trial.step = max(trial.step, report.step)
        return goes_on

    def _look(self, trial: RunningTrial, process: TrialProcess) -> TrialEnd | None:
        """Note now and then how far it is, keep its limits, stop it where this worker is to end."""
        now, worker = time.monotonic(), self._worker
        if now - trial.measured > BEAT:
            trial.measured = now
            memory, cpu = process.usage()
            trial.measure(memory, cpu)
            if not self._slots.hold(trial.slot, **trial.used(), step=trial.step):
                self._end_process()
                return TrialEnd(End.FENCED)
            worker.beat()
            if reason := failures.broken_limit(worker.pipeline, memory, now - trial.started):
                self._end_process()
                return TrialEnd(End.FAILED, error=reason)
        if worker.ends() and not trial.stop_sent:
            trial.stop_sent = now
            process.stop()
        if trial.stop_sent and now - trial.stop_sent > STOPPING:
            self._end_process()
            return TrialEnd(End.STOPPED, error="it did not stop in time")
        return None

    # -- the end of one trial

    def _end(self, trial: RunningTrial, ended: TrialEnd) -> None:
        """Write its end to Optuna, then to the slot, then to MLflow: who finds a part done does the rest."""
        trial.cpu = max(trial.cpu, ended.cpu_seconds)
        trial.memory = max(trial.memory, ended.peak_memory)
        if ended.end == End.FENCED:
            trial.record.paused = True
            self._trials.fail(trial.slot.trial, "another worker has its slot")
        elif ended.end == End.COMPLETE:
            self._complete(trial, ended)
        elif ended.end == End.PRUNED:
            self._finish(trial, PRUNED, None)
        else:
            self._interrupted(trial, ended)
        self._worker.recorder.end()

    def _complete(self, trial: RunningTrial, ended: TrialEnd) -> None:
        newest = trial.record.journal.last
        missing = [metric for metric in self._metrics if metric not in newest]
        if missing:
            reported = ", ".join(sorted(newest)) or "nothing"
            reason = f"the objective {missing[0]!r} was never reported; reported: {reported}"
            self._give_up(trial, reason)
            self._worker.fail(reason)  # no other parameters would change it
            return
        self._finish(trial, COMPLETE, [newest[metric] for metric in self._metrics], ended.samples)

    def _finish(self, trial: RunningTrial, state: str, values: list[float] | None, samples: int = 0) -> None:
        slot = trial.slot
        self._trials.tell(slot.trial, state, values)
        value = values[0] if values else trial.record.journal.last.get(self._metrics[0])
        used = trial.used() | ({} if value is None else {"value": value})
        if not self._slots.finish(slot, state, step=trial.step, **used):
            trial.record.paused = True  # another worker has the slot and its run, or the end of the study completes it
            return
        self.finished += 1
        log.info("trial %d of slot %d: %s %s", slot.trial, slot.slot, state, "" if value is None else f"{value:g}")
        trial.record.slot = replace(slot, state=state, step=trial.step, **used)
        trial.record.finish(samples, trial.seconds)

    def _interrupted(self, trial: RunningTrial, ended: TrialEnd) -> None:
        """Give its slot back: it failed, was killed, or was stopped."""
        worker, slot = self._worker, trial.slot
        verdict = failures.judge(slot, ended, trial.moved)
        log.warning("trial %d of slot %d %s", slot.trial, slot.slot, verdict.reason)
        if verdict.fault and not verdict.keep:
            self._give_up(trial, verdict.reason)
        else:
            self._trials.fail(slot.trial, verdict.reason)
            self._slots.hold(slot, **trial.used(), step=trial.step)
            self._slots.release(slot, verdict.reason, fault=verdict.fault, keep=True)
            trial.record.paused = True
        self.failed += verdict.fault
        if ended.end == End.UNUSABLE:
            raise _as_error(ended)
        tally = self._slots.tally(worker.ctx.key)
        if verdict.fault and tally.faults > worker.pipeline.study.most_failures:
            worker.fail(f"{tally.faults} trials failed, the last with: {verdict.reason}")

    def _give_up(self, trial: RunningTrial, reason: str) -> None:
        """Have the slot begin anew with other parameters."""
        slot = trial.slot
        self._trials.fail(slot.trial, reason)
        self._slots.hold(slot, **trial.used())
        self._slots.release(slot, reason, fault=True, keep=False)
        trial.record.give_up(reason)


def _await_ready(process: TrialProcess) -> None:
    """Wait until the process takes trials.

    Raises:
        JobFailed: it died before, or cannot train.
        ConfigError: the training function cannot be found, or the like.
    """
    message: Record | None = None
    try:
        while message is None:
            message = process.receive(TICK)
    except Died as error:
        raise JobFailed(f"the process for trials {error} before its first trial", "the log may say why") from None
    if isinstance(message, TrialEnd):
        raise _as_error(message)
    expect(message, Ready)


def _as_error(ended: TrialEnd) -> AirloomError:
    kind = ConfigError if ended.type in (ConfigError.__name__, NameRefused.__name__) else JobFailed
    return kind(ended.error, ended.hint)
