"""What all operators of Airloom share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airloom import errors
from airloom.contracts import RunContext
from airloom.errors import AirloomError, ConfigError, CorruptFile, DataAway, DataError, JobFailed
from airloom.project.person import service
from airloom.setting_sources import Given
from airloom.settings import Settings, load
from airloom_operators.connections import Place
from airloom_operators.links import MlflowRunLink
from airloom_operators.templates import record

MISTAKES = (ConfigError, DataError)  # of a person: the same again ends the same
PASSING = (DataAway, CorruptFile)  # of these, what may be otherwise the next time


class AirloomOperator(BaseOperator):
    """Anything that Airloom does in a task.

    Args:
        connection_id: of type `airloom`, whose settings come before `airloom.toml` and the environment.
        project: a folder of the project, where neither connection nor environment names one.
    """

    ui_color = "#d8ecf3"
    _given: "Given | None" = None

    def __init__(self, *, connection_id: str = "", project: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.connection_id = connection_id
        self.project = project

    def settings(self) -> Settings:
        """The settings of the task, read anew; its connections are asked for once.

        Raises:
            ConfigError: a setting has a value that it cannot have.
            AirflowNotFoundException: a connection is not there.
        """
        if self._given is None:
            self._given = Place(self.connection_id, self.project).given()
        return load(self._given)

    @contextmanager
    def step(self) -> Iterator[Settings]:
        """The settings of this installation; an error becomes a failed task with one clear message.

        Raises:
            AirflowFailException: a mistake of a person: the task fails at once, as no retry would mend it.
            AirflowException: any other error of ours, which a retry may find mended.
        """
        try:
            yield self.settings()
        except AirloomError as error:
            raise (AirflowFailException if is_mistake(error) else AirflowException)(str(error)) from None

    def note(self, context: Any, text: str) -> None:
        """Write a note on the DAG run, for those who look at the grid."""
        from airloom.stack.airflow_api import AirflowApi

        try:
            with self.step() as settings, AirflowApi(settings) as api:
                api.note(context["ti"].dag_id, context["run_id"], text)
        except AirflowException as error:  # a note is worth no failure
            self.log.warning("the run got no note: %s", error)


class StepOperator(AirloomOperator):
    """A step that works on a run context: the dict that `ResolveOperator` returned."""

    context: Any  # set by each operator, from what `ResolveOperator` returned
    operator_extra_links: tuple[BaseOperatorLink, ...] = (MlflowRunLink(),)
    mlflow_link = ""  # set by execute, read by the link when the task ends

    def run_context(self) -> RunContext:
        """The run that the step works on.

        Raises:
            ConfigError: it is none.
        """
        return record(RunContext, "context", self.context)

    def link_to(self, settings: Settings, context: RunContext, run: str = "") -> None:
        """Make the task link to its MLflow run, or to `run` of the same experiment."""
        self.mlflow_link = f"{settings.mlflow_uri}/#/experiments/{context.experiment}/runs/{run or context.mlflow_run}"


def is_mistake(error: AirloomError) -> bool:
    """Whether a person has to mend something first, also where it was found in a job."""
    kind = vars(errors).get(error.cause, JobFailed) if isinstance(error, JobFailed) else type(error)
    return issubclass(kind, MISTAKES) and not issubclass(kind, PASSING)


def cleared(context: Any) -> bool:
    """Whether a person cleared the task: Airflow raises `max_tries` then, and only then."""
    return int(context["ti"].max_tries) > int(context["task"].retries or 0)


def who(context: Any, settings: Settings) -> str:
    """The user who triggered the DAG run; where a schedule or a dataset did, the service."""
    return str(getattr(context.get("dag_run"), "triggering_user_name", None) or "") or service(settings).name


def map_index(ti: Any) -> int:
    """Which of the mapped tasks it is; -1 where it is not mapped."""
    return -1 if ti.map_index is None else int(ti.map_index)
