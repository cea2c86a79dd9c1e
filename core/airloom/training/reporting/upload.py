"""Bring a journal to MLflow in batches, behind the training's back."""

import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from airloom.errors import MlflowAway, MlflowRefused
from airloom.tracking import runs
from airloom.training.reporting.journal import Journal, JournalEntry
from airloom.training.reporting.pictures import Pictures

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

INTERVAL = 1.0  # seconds between two looks at the journal
BATCH = 1000  # metrics that MLflow takes in one request
LONGEST = 30.0  # seconds between two tries while MLflow is away
log = logging.getLogger(__name__)


class Sender:
    """Sends what a journal holds, each entry with the time at which it was reported.

    How far MLflow has got it stands in a file beside the journal. It is written after the request, so after a crash
    some entries are sent again, exactly as before; MLflow keeps equal ones once.

    Args:
        journal: of the run.
        sent: the file with the offset up to which the journal was sent.
        api: of the tracking server.
        run_id: the MLflow run.
    """

    def __init__(self, journal: Journal, sent: Path, api: "MlflowClient", run_id: str) -> None:
        self._journal, self._sent, self._api, self._run_id = journal, sent, api, run_id
        self._offset = min(_number(sent), journal.end)

    @property
    def left(self) -> int:
        """Reports that MLflow does not have."""
        return sum(1 for _ in self._journal.entries(self._offset)) + len(self._journal.waiting)

    def send(self, *, last: bool = False) -> None:
        """Send what is new; with `last` also what the disk did not take."""
        self._send(last, [], [], [])

    def finish(self, metrics: "list[Metric]", tags: "list[RunTag]", parameters: "list[Param]") -> None:
        """Send the rest, and in the same request further metrics, tags and parameters."""
        self._send(True, metrics, tags, parameters)

    def _send(self, last: bool, metrics: "list[Metric]", tags: "list[RunTag]", params: "list[Param]") -> None:
        batch: list[Metric] = []
        end = self._offset
        for entry in self._journal.entries(self._offset):
            new = _metrics(entry)
            if batch and len(batch) + len(new) > BATCH:
                self._log(batch, end, [], [])
                batch = []
            batch += new
            end = entry.end
        if last:
            batch += [metric for entry in self._journal.waiting for metric in _metrics(entry)]
        batch += metrics
        if batch or tags:
            self._log(batch, end, tags, params)
        if last:
            self._journal.waiting.clear()

    def _log(self, batch: "list[Metric]", end: int, tags: "list[RunTag]", params: "list[Param]") -> None:
        for start in range(runs.MOST_PARAMETERS, len(params), runs.MOST_PARAMETERS):
            self._api.log_batch(self._run_id, params=params[start : start + runs.MOST_PARAMETERS])
        for start in range(0, max(1, len(batch)), BATCH):
            first = params[: runs.MOST_PARAMETERS]
            self._api.log_batch(self._run_id, metrics=batch[start : start + BATCH], tags=tags, params=first)
        self._offset = end
        self._sent.write_text(f"{end}\n")


class Uploader:
    """A thread that sends what a journal holds, and pictures. MLflow being away does not disturb the training.

    Args:
        journal: of the run.
        sent: the file with the offset up to which the journal was sent.
        api: of the tracking server.
        run_id: the MLflow run.
        pictures: of the run.
    """

    def __init__(self, journal: Journal, sent: Path, api: "MlflowClient", run_id: str, pictures: Pictures) -> None:
        self._sender, self._run_id = Sender(journal, sent, api, run_id), run_id
        self._pictures, self._api = pictures, api
        self._ending = threading.Event()
        self._deadline = 0.0
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="airloom-metrics", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Go on, unless MLflow answers that it does not take what is reported.

        Raises:
            MlflowRefused: it does not; the training would only report more of it.
        """
        if refused := runs.refusal(self._error):
            hint = "mend what is reported, or look at the run in MLflow; a retry would send the same again"
            raise MlflowRefused(f"MLflow does not take the reports of run {self._run_id}: {refused}", hint)

    def close(self, timeout: float = 60.0) -> None:
        """Send the rest and end.

        Raises:
            MlflowAway: MLflow did not take it in time. The journal has it, and a next attempt sends it.
            MlflowRefused: it answers, and does not take it.
        """
        self._deadline = time.monotonic() + timeout
        self._ending.set()
        self._thread.join(timeout + 5)  # it may be in the middle of a request
        reports, pictures = self._sender.left, self._pictures.left
        if reports or pictures:
            self.check()
            left = f"{reports} reports" if reports else f"{pictures} pictures"
            message = f"MLflow did not take the last {left} of run {self._run_id}: {self._error}"
            raise MlflowAway(message, "they are kept: start MLflow (`airloom up`), and retry the task")

    def _work(self) -> None:
        pause = INTERVAL
        while True:
            ending = self._ending.wait(pause)
            try:
                self._sender.send(last=ending)
                self._pictures.send(self._api)
                if self._error is not None:
                    log.warning("MLflow takes metrics again")
                self._error, pause = None, INTERVAL
                if ending:
                    return
            except Exception as error:  # whatever it is: the training goes on, and the end says so
                if self._error is None:
                    log.warning("MLflow does not take metrics, they wait in the journal: %s", short(error))
                self._error = error
                pause = min(2 * pause, LONGEST)
                if ending and (time.monotonic() > self._deadline or runs.refusal(error)):
                    return
            if ending:
                time.sleep(min(pause, 1.0))


def _metrics(entry: JournalEntry) -> "list[Metric]":
    from mlflow.entities import Metric

    return [Metric(name, value, entry.time, entry.step) for name, value in entry.metrics.items()]


def _number(path: Path) -> int:
    """The offset in the file; 0 where there is none, or where a crash cut it: sending again does no harm."""
    try:
        text = path.read_text()
        return int(text) if text.endswith("\n") else 0
    except (FileNotFoundError, ValueError):
        return 0


def short(error: Exception) -> str:
    """An error in one line, for the log."""
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
