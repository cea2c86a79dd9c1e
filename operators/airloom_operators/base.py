"""What all operators of Airloom share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.exceptions import AirflowException

from airloom.contracts import RunContext
from airloom.errors import AirloomError
from airloom.settings import Settings, load
from airloom_operators.links import MlflowRunLink


class AirloomOperator(BaseOperator):
    """Anything that Airloom does in a task."""

    ui_color = "#d8ecf3"

    @contextmanager
    def step(self) -> Iterator[Settings]:
        """The settings of this installation; a mistake of a user becomes a failed task with one clear message."""
        try:
            yield load()
        except AirloomError as error:
            raise AirflowException(str(error)) from None


class StepOperator(AirloomOperator):
    """A step that works on a run context: the dict that `ResolveOperator` returned."""

    operator_extra_links: tuple[BaseOperatorLink, ...] = (MlflowRunLink(),)
    mlflow_link = ""  # set by execute, read by the link when the task ends

    def link_to(self, settings: Settings, context: RunContext, run: str = "") -> None:
        """Make the task link to its MLflow run, or to `run` of the same experiment."""
        base = settings.stack.get("mlflow_url", settings.mlflow_uri)
        self.mlflow_link = f"{base}/#/experiments/{context.experiment}/runs/{run or context.mlflow_run}"


def cleared(context: Any) -> bool:
    """Whether a person cleared the task: Airflow raises `max_tries` then, and only then."""
    return int(context["ti"].max_tries) > int(context["task"].retries or 0)


def job_name(ti: Any) -> str:
    """The task's name, which tells the mapped ones apart."""
    return str(ti.task_id) if ti.map_index is None or ti.map_index < 0 else f"{ti.task_id}-{ti.map_index}"
