"""How the MLflow run of a pipeline run ends where its last step did not end it, and how it opens again."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airloom.contracts import RunContext
from airloom.errors import AirloomError, MlflowAway, StoppedByRequest
from airloom.settings import Settings
from airloom.tracking import runs, titles
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ending:
    """How a pipeline run ended.

    Attributes:
        status: of the MLflow run, as MLflow names it.
        outcome: the value of `Tag.OUTCOME`; empty where the run's steps have said it, or nobody can.
    """

    status: str
    outcome: str = ""


COMPLETE = Ending("FINISHED")
FAILED = Ending("FAILED", "failed")
STOPPED = Ending("KILLED", "stopped")
BAD = (FAILED, STOPPED)


def end_run(settings: Settings, mlflow_run: str, status: str, outcome: str = "", metric: str = "") -> None:
    """End an MLflow run, which is called by how it ended then; again does no harm, but moves its end.

    Args:
        settings: of this installation.
        mlflow_run: its id.
        status: FINISHED, FAILED or KILLED.
        outcome: what its tag says then; empty leaves the tag as it is, but a run that is FINISHED did not fail.
        metric: that its name tells, see `titles.ended`.

    Raises:
        MlflowAway: MLflow does not answer.
    """
    client = runs.client(settings)
    with runs.connection_errors(settings):
        if outcome:
            client.set_tag(mlflow_run, Tag.OUTCOME, outcome)
            data = client.get_run(mlflow_run).data
            if name := titles.ended(data.tags, data.metrics, outcome, metric):
                client.update_run(mlflow_run, name=name)
        elif status == COMPLETE.status:
            _take_back(client, client.get_run(mlflow_run))
        client.set_terminated(mlflow_run, status)


def open_again(settings: Settings, mlflow_run: str) -> None:
    """Set an MLflow run running again, and take back that it failed or was stopped.

    Raises:
        MlflowAway: MLflow does not answer.
    """
    client = runs.client(settings)
    with runs.connection_errors(settings):
        run = client.get_run(mlflow_run)
        _take_back(client, run)
        if run.info.status != "RUNNING":
            client.update_run(mlflow_run, status="RUNNING")


def _take_back(client: "MlflowClient", run: "Run") -> None:
    if run.data.tags.get(Tag.OUTCOME) in {bad.outcome for bad in BAD}:
        client.delete_tag(run.info.run_id, Tag.OUTCOME)
        if name := titles.begun(run.data.tags):
            client.update_run(run.info.run_id, name=name)


@contextmanager
def ending(settings: Settings, context: RunContext) -> Iterator[None]:
    """Do the steps of a pipeline run in the block: an error ends its MLflow run, one that goes well ends itself.

    FAILED on an error, KILLED where a person stopped it (Ctrl-C, a request to stop). The error goes on its way.
    """
    try:
        yield
    except MlflowAway:
        raise  # asking a dead server again would only delay the message
    except BaseException as error:
        end = STOPPED if isinstance(error, KeyboardInterrupt | StoppedByRequest) else FAILED
        _try_to_end(settings, context.mlflow_run, end)
        raise


def _try_to_end(settings: Settings, mlflow_run: str, end: Ending) -> None:
    """The error that is on its way matters more than one of MLflow."""
    from mlflow.exceptions import MlflowException

    try:
        end_run(settings, mlflow_run, end.status, end.outcome)
    except (AirloomError, MlflowException) as error:
        log.warning("MLflow run %s stays open: %s", mlflow_run, error)
