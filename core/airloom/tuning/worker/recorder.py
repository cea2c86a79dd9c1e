"""Brings trials to MLflow, one child run each, in a thread of its own: no trial waits for MLflow."""

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.contracts import RunContext
from airloom.errors import MlflowAway, MlflowRefused
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tracking.tags import Tag
from airloom.training.reporting.journal import Journal
from airloom.training.reporting.upload import Sender, short
from airloom.tuning import trial_folders
from airloom.tuning.slots import Slot, Slots

if TYPE_CHECKING:
    from mlflow import MlflowClient

KIND, ASIDE = "trial", "failed_trial"
PAUSE = 5.0  # seconds between two batches of a trial's metrics; a trial that ends sooner comes whole, by fewer requests
LONGEST = 30.0  # seconds between two tries while MLflow is away
log = logging.getLogger(__name__)


@dataclass
class TrialRecord:
    """A trial on its way to MLflow.

    Attributes:
        slot: as reserved; when it ended, as it ended.
        parameters: all that the training function gets.
        journal: of its reports.
        folder: of the journal.
        status: how its run ends; empty while it goes on.
        tags: to set at its end.
        metrics: to add at its end.
        aside: the number of its row, where its slot begins with other parameters: the run gives its place up.
        paused: this worker has no more of it, another one may go on.
        run_id: of its MLflow run, once it is known.
        sender: brings the journal to the run.
        run_sought: a run was looked for, or created, before: there may be one.
        parameters_sent: MLflow has the parameters.
        began: milliseconds of Unix time.
    """

    slot: Slot
    parameters: dict[str, Any]
    journal: Journal
    folder: Path
    status: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    aside: int | None = None
    paused: bool = False
    run_id: str = ""
    sender: Sender | None = None
    run_sought: bool = False
    parameters_sent: bool = False
    began: int = field(default_factory=lambda: int(time.time() * 1000))

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return bool(self.status) or self.paused

    def finish(self, samples: int = 0, loop_seconds: float = 0.0) -> None:
        """Have its run end with state and cost, where `samples` are known also with how many a second it took."""
        slot = self.slot
        self.tags |= {Tag.STATE: slot.state}
        self.metrics |= {
            "cost.device_seconds": slot.seconds + slot.lost,
            "cost.cpu_seconds": slot.cpu_seconds,
            "cost.peak_memory_bytes": float(slot.peak_memory),
            "preempted": float(slot.preempted),
        }
        if samples and loop_seconds:
            self.metrics["cost.samples_per_second"] = samples / loop_seconds
        self.status = "FINISHED"  # last: from here on the recorder may take it

    def give_up(self, reason: str) -> None:
        """Have its run end as failed, and give its place up: its slot begins with other parameters."""
        self.tags |= {Tag.STATE: "FAIL", Tag.REASON: reason[:4000]}
        self.aside = self.slot.trial
        self.status = "FAILED"  # last: from here on the recorder may take it


class Recorder:
    """The thread that brings trials to MLflow.

    Args:
        settings: of this installation.
        ctx: of the pipeline run, whose MLflow run is the parent.
        slots: where it notes what MLflow has.
    """

    def __init__(self, settings: Settings, ctx: RunContext, slots: Slots) -> None:
        self._settings, self._ctx, self._slots = settings, ctx, slots
        self._api: MlflowClient | None = None
        self._records: list[TrialRecord] = []
        self._changed = threading.Condition()
        self._closing = False
        self._deadline = 0.0
        self._error: Exception | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._work, name="airloom-recorder", daemon=True)
        self._thread.start()

    def warm(self) -> None:
        """Wait until MLflow is imported, which takes seconds of CPU that the first trial would miss."""
        self._ready.wait()

    def begin(self, record: TrialRecord) -> None:
        """Take a trial that begins, or goes on.

        Raises:
            MlflowRefused: MLflow does not take an earlier one: it would not take this one either.
        """
        self._check()
        with self._changed:
            self._records.append(record)
            self._changed.notify()

    def end(self) -> None:
        """Look at the records: one was changed, it is over."""
        with self._changed:
            self._changed.notify()

    def close(self, timeout: float = 60.0) -> None:
        """Bring the rest and end.

        Raises:
            MlflowAway: MLflow did not take it in time. The journals have it, and the end of the study sends it.
            MlflowRefused: it answers, and does not take it.
        """
        with self._changed:
            self._closing, self._deadline = True, time.monotonic() + timeout
            self._changed.notify()
        self._thread.join(timeout + 30)
        if self._records:
            self._check()
            message = f"MLflow did not take {len(self._records)} trials of {self._ctx.key}: {self._error}"
            raise MlflowAway(message, "they are kept: start MLflow (`airloom up`), and retry the task")

    def _check(self) -> None:
        if refused := runs.refusal(self._error):
            hint = "mend what its message names; a retry would send the same again"
            raise MlflowRefused(f"MLflow does not take a trial of {self._ctx.key}: {refused}", hint)

    def _work(self) -> None:
        pause = PAUSE
        with suppress(Exception):  # the first trial tells what is wrong
            self._client()
        self._ready.set()
        due = time.monotonic() + pause  # when all are brought, not only those that ended
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closing or any(record.over for record in self._records), due - time.monotonic()
                )
                closing, everything = self._closing, time.monotonic() >= due
                records = [record for record in self._records if everything or closing or record.over]
            error = self._bring_all(records)
            if error is None:
                if self._error is not None:
                    log.warning("MLflow takes trials again")
                self._error, pause = None, PAUSE
                due = time.monotonic() + pause if everything else due
                if closing:
                    return
                continue
            if self._error is None:
                log.warning("MLflow does not take trials, they wait: %s", short(error))
            self._error, pause = error, min(2 * pause, LONGEST)
            if closing and (time.monotonic() > self._deadline or runs.refusal(error)):
                return
            time.sleep(1.0 if closing else pause)
            due = 0.0

    def _bring_all(self, records: list[TrialRecord]) -> Exception | None:
        """What went wrong with one of them; the others go their way, the trials too, and the end says so."""
        wrong: Exception | None = None
        for record in records:
            try:
                self._bring(record)
            except Exception as error:
                wrong = error
        return wrong

    def _bring(self, record: TrialRecord) -> None:
        over = record.over  # looked at first: what comes after it is for the next time
        api = self._client()
        if not record.sender:
            record.run_id = ensure_run(api, self._ctx, self._slots, record)
            record.sender = Sender(record.journal, record.folder / trial_folders.SENT, api, record.run_id)
        if not record.parameters_sent and not (record.status and over):
            runs.log_parameters(api, record.run_id, record.parameters)
            record.parameters_sent = True
        if record.status and over:
            finish_run(api, self._ctx, record, record.sender)
            self._slots.note(record.slot, logged=1)
        else:
            record.sender.send(last=over)
        if not over:
            return
        record.journal.close()
        if record.status:
            trial_folders.remove(record.folder)
        with self._changed:
            self._records.remove(record)

    def _client(self) -> "MlflowClient":
        self._api = self._api or runs.client(self._settings)
        return self._api


def ensure_run(api: "MlflowClient", ctx: RunContext, slots: Slots, record: TrialRecord) -> str:
    """The slot's child run; the same one however often its workers were killed.

    Args:
        api: of MLflow.
        ctx: of the pipeline run, whose MLflow run is the parent.
        slots: where the run is noted.
        record: of the slot's trial.
    """
    slot = record.slot
    if slot.mlflow_run:
        api.update_run(slot.mlflow_run, status="RUNNING")
        return slot.mlflow_run
    new = slot.token == 1 and not record.run_sought
    run = None if new else runs.find_child(api, ctx, KIND, slot.slot)
    record.run_sought = True
    if run and run.data.tags.get(Tag.TRY) != str(slot.tries):  # of a worker that died before it set it aside
        number = run.data.tags[Tag.TRIAL]
        _set_aside(api, run.info.run_id, runs.child_key(ctx, ASIDE, int(number)))
        api.set_terminated(run.info.run_id, "FAILED")
    tags = {Tag.STUDY: ctx.key, Tag.SLOT: str(slot.slot), Tag.TRIAL: str(slot.trial)}
    if not run:
        (record.folder / trial_folders.SENT).unlink(missing_ok=True)  # a new run has nothing of the journal
    create = partial(runs.create_child, began=record.began) if new else runs.ensure_child
    run_id = create(api, ctx, KIND, slot.slot, {**tags, Tag.TRY: str(slot.tries)})
    slots.note(slot, mlflow_run=run_id)
    return run_id


def finish_run(api: "MlflowClient", ctx: RunContext, record: TrialRecord, sender: Sender) -> None:
    """Send the rest of its reports and everything else in one request, and end its run.

    Args:
        api: of MLflow.
        ctx: of the pipeline run.
        record: of a trial that ended.
        sender: of its reports.
    """
    from mlflow.entities import Metric, Param, RunTag

    tags, now = {**record.tags, Tag.TRIAL: str(record.slot.trial)}, int(time.time() * 1000)
    if record.aside is not None:
        _set_aside(api, record.run_id, runs.child_key(ctx, ASIDE, record.aside))
    metrics = [Metric(name, value, now, max(0, record.slot.step)) for name, value in record.metrics.items()]
    parameters = (
        [] if record.parameters_sent else [Param(name, str(value)) for name, value in record.parameters.items()]
    )
    sender.finish(metrics, [RunTag(*pair) for pair in tags.items()], parameters)
    record.parameters_sent = True
    api.set_terminated(record.run_id, record.status)


def _set_aside(api: "MlflowClient", run_id: str, key: str) -> None:
    """Its slot has another run."""
    api.set_tag(run_id, Tag.KEY, key)
    api.set_tag(run_id, Tag.KIND, ASIDE)
