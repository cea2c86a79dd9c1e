"""What all operators of Airloom share."""

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException

from airloom.contracts import RunContext
from airloom.errors import AirloomError
from airloom.settings import Settings, load
from airloom_operators.links import MlflowRunLink


class AirloomOperator(BaseOperator):
    """A step that works on a run context: the dict that `ResolveOperator` returned."""

    operator_extra_links = (MlflowRunLink(),)
    ui_color = "#d8ecf3"
    mlflow_link = ""  # set by execute, read by the link when the task ends

    @contextmanager
    def step(self) -> Iterator[Settings]:
        """The settings of this installation; a mistake of a user becomes a failed task with one clear message."""
        try:
            yield load()
        except AirloomError as error:
            raise AirflowException(str(error)) from None

    def link_to(self, settings: Settings, context: RunContext) -> None:
        """Make the task link to its MLflow run."""
        base = settings.stack.get("mlflow_url", settings.mlflow_uri)
        self.mlflow_link = f"{base}/#/experiments/{context.experiment}/runs/{context.mlflow_run}"
