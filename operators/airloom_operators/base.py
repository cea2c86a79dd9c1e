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


def map_index(ti: Any) -> int:
    """Which of the mapped tasks it is; -1 where it is not mapped."""
    return -1 if ti.map_index is None else int(ti.map_index)
