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
from airloom.errors import MlflowAway
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
class Entry:
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
    asked: bool = False  # a run was asked for before, so there may be one
    told: bool = False  # MLflow has the parameters
    began: int = field(default_factory=lambda: int(time.time() * 1000))  # milliseconds of Unix time

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return bool(self.status) or self.paused


class Recorder:
    """The thread.

    Args:
        settings: of this installation.
        ctx: of the pipeline run, whose MLflow run is the parent.
        slots: where it notes what MLflow has.
    """

    def __init__(self, settings: Settings, ctx: RunContext, slots: Slots) -> None:
        self._settings, self._ctx, self._slots = settings, ctx, slots
        self._api: MlflowClient | None = None
        self._entries: list[Entry] = []
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

    def begin(self, entry: Entry) -> None:
        """A trial begins, or goes on."""
        with self._changed:
            self._entries.append(entry)
            self._changed.notify()

    def end(self) -> None:
        """An entry was changed: it is over."""
        with self._changed:
            self._changed.notify()

    def close(self, timeout: float = 60.0) -> None:
        """Bring the rest and end.

        Raises:
            MlflowAway: MLflow did not take it in time. The journals have it, and the end of the study sends it.
        """
        with self._changed:
            self._closing, self._deadline = True, time.monotonic() + timeout
            self._changed.notify()
        self._thread.join(timeout + 30)
        if self._entries:
            message = f"MLflow did not take {len(self._entries)} trials of {self._ctx.key}: {self._error}"
            raise MlflowAway(message, "they are kept: start MLflow (`airloom up`), and retry the task")

    def _work(self) -> None:
        pause = PAUSE
        with suppress(Exception):  # the first trial tells what is wrong
            self._client()
        self._ready.set()
        due = time.monotonic() + pause  # when all are brought, not only those that ended
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closing or any(e.over for e in self._entries), due - time.monotonic()
                )
                closing, everything = self._closing, time.monotonic() >= due
                entries = [entry for entry in self._entries if everything or closing or entry.over]
            error = self._bring_all(entries)
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
            if closing and time.monotonic() > self._deadline:
                return
            time.sleep(1.0 if closing else pause)
            due = 0.0

    def _bring_all(self, entries: list[Entry]) -> Exception | None:
        """What went wrong with one of them; the others go their way, the trials too, and the end says so."""
        wrong: Exception | None = None
        for entry in entries:
            try:
                self._bring(entry)
            except Exception as error:
                wrong = error
        return wrong

    def _bring(self, entry: Entry) -> None:
        over = entry.over  # looked at first: what comes after it is for the next time
        api = self._client()
        if not entry.sender:
            entry.run_id = ensure_run(api, self._ctx, self._slots, entry)
            entry.sender = Sender(entry.journal, entry.folder / trial_folders.SENT, api, entry.run_id)
        if not entry.told and not (entry.status and over):
            runs.log_parameters(api, entry.run_id, entry.parameters)
            entry.told = True
        if entry.status and over:
            finish_run(api, self._ctx, entry, entry.sender)
            self._slots.note(entry.slot, logged=1)
        else:
            entry.sender.send(last=over)
        if not over:
            return
        entry.journal.close()
        if entry.status:
            trial_folders.remove(entry.folder)
        with self._changed:
            self._entries.remove(entry)

    def _client(self) -> "MlflowClient":
        self._api = self._api or runs.client(self._settings)
        return self._api


def ensure_run(api: "MlflowClient", ctx: RunContext, slots: Slots, entry: Entry) -> str:
    """The slot's child run; the same one however often its workers were killed."""
    slot = entry.slot
    if slot.mlflow_run:
        api.update_run(slot.mlflow_run, status="RUNNING")
        return slot.mlflow_run
    new = slot.token == 1 and not entry.asked
    found = None if new else runs.find_child(api, ctx, KIND, slot.slot)
    entry.asked = True
    if found and found.data.tags.get(Tag.TRY) != str(slot.tries):  # of a worker that died before it set it aside
        number = found.data.tags[Tag.TRIAL]
        _set_aside(api, found.info.run_id, runs.child_key(ctx, ASIDE, int(number)))
        api.set_terminated(found.info.run_id, "FAILED")
    tags = {Tag.STUDY: ctx.key, Tag.SLOT: str(slot.slot), Tag.TRIAL: str(slot.trial)}
    if not found:
        (entry.folder / trial_folders.SENT).unlink(missing_ok=True)  # a new run has nothing of the journal
    make = partial(runs.create_child, began=entry.began) if new else runs.ensure_child
    run_id = make(api, ctx, KIND, slot.slot, {**tags, Tag.TRY: str(slot.tries)})
    slots.note(slot, mlflow_run=run_id)
    return run_id


def finish_run(api: "MlflowClient", ctx: RunContext, entry: Entry, sender: Sender) -> None:
    """The rest of its reports and everything else, in one request, and its end."""
    from mlflow.entities import Metric, Param, RunTag

    tags, now = {**entry.tags, Tag.TRIAL: str(entry.slot.trial)}, int(time.time() * 1000)
    if entry.aside is not None:
        _set_aside(api, entry.run_id, runs.child_key(ctx, ASIDE, entry.aside))
    metrics = [Metric(name, value, now, max(0, entry.slot.step)) for name, value in entry.metrics.items()]
    parameters = [] if entry.told else [Param(name, str(value)) for name, value in entry.parameters.items()]
    sender.finish(metrics, [RunTag(*pair) for pair in tags.items()], parameters)
    entry.told = True
    api.set_terminated(entry.run_id, entry.status)


def _set_aside(api: "MlflowClient", run_id: str, key: str) -> None:
    """Its slot has another run."""
    api.set_tag(run_id, Tag.KEY, key)
    api.set_tag(run_id, Tag.KIND, ASIDE)
