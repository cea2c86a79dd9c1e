"""What all operators of Airloom share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException

from airloom.contracts import RunContext
from airloom.errors import AirloomError
from airloom.settings import Settings, load
from airloom_operators.links import MlflowRunLink

if TYPE_CHECKING:
    from airflow.sdk import Context


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

    operator_extra_links = (MlflowRunLink(),)
    mlflow_link = ""  # set by execute, read by the link when the task ends

    def link_to(self, settings: Settings, context: RunContext) -> None:
        """Make the task link to its MLflow run."""
        base = settings.stack.get("mlflow_url", settings.mlflow_uri)
        self.mlflow_link = f"{base}/#/experiments/{context.experiment}/runs/{context.mlflow_run}"


class WaitsForJob:
    """For operators whose work is done by a child process."""

    log: Any  # an operator's

    def on_kill(self) -> None:
        """The waiting side was told to stop: end the job with it."""
        raise KeyboardInterrupt  # unwinds the wait in run_job, which ends the job's process group

    def say(self, line: str) -> None:
        """Pass a line of the job's log on."""
        self.log.info("%s", line)


def job_name(ti: Any) -> str:
    """The task's name, which tells the mapped ones apart."""
    return str(ti.task_id) if ti.map_index is None or ti.map_index < 0 else f"{ti.task_id}-{ti.map_index}"


class JobOperator(WaitsForJob, StepOperator):
    """A heavy step: it runs in a child process of its own, never in the task's.

    Args:
        context: what `ResolveOperator` returned.
        arguments: further arguments of the step, results of earlier tasks.
    """

    job = ""  # module:function of the step, set by each subclass
    template_fields: Sequence[str] = ("context", "arguments")

    def __init__(self, *, context: Any, arguments: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.context = context
        self.arguments = arguments

    def execute(self, context: "Context") -> Any:
        """Submit the job, pass its log on, return its result."""
        from airloom.pipeline import steps

        ti, run = context["ti"], RunContext.from_dict(dict(self.context))
        with self.step() as settings:
            self.link_to(settings, run)
            return steps.run_job(
                settings,
                run,
                self.job,
                dict(self.arguments or {}),
                name=job_name(ti),
                attempt=ti.try_number,
                say=self.say,
            )
