"""Heavy steps: submitted as jobs that outlive the task, its worker and the scheduler."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException

from airloom.contracts import RunContext
from airloom_operators.base import AirloomOperator
from airloom_operators.triggers.job import JobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airloom.jobs.states import Attempt
    from airloom.settings import Settings

LOSSES = 5  # attempts in a row that may be lost before the task fails
SHOWN = 500  # lines of a deferred job's log that the task shows when it wakes up


class JobOperator(AirloomOperator):
    """A heavy step: submit it as a job, wait, return its result.

    The job does not end with this task. A retry finds it by its key and waits on; a person who clears or marks the task
    ends the job (the trigger does so while the task is deferred, the stack's reconciler while it waits in place).

    Args:
        context: what `ResolveOperator` returned.
        arguments: further arguments of the step, results of earlier tasks.
        deferrable: give the worker slot back while the job runs; False waits in place.
        patience: seconds to wait in place before deferring: a short job does not pay for it.
    """

    job = ""  # module:function of the step, set by each subclass
    template_fields: Sequence[str] = ("context", "arguments")

    def __init__(
        self, *, context: Any, arguments: Any = None, deferrable: bool = True, patience: float = 20, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.context = context
        self.arguments = arguments
        self.deferrable = deferrable
        self.patience = patience

    def execute(self, context: "Context") -> Any:
        """Submit the job, pass its log on, return its result."""
        from airloom.jobs.wait import wait

        with self.step() as settings:
            attempt = self._submit(settings, context)
            self.log.info("job %s attempt %s, log %s", attempt.key, attempt.number, attempt.path / "log.txt")
            seconds = self.patience if self.deferrable else None
            attempt = wait(settings, attempt, self._say, seconds=seconds)
            return self._finish(settings, context, attempt)

    def resume(self, context: "Context", event: dict[str, Any]) -> Any:
        """Called when the job of a deferred task ended."""
        from airloom.jobs.files import LOG, Follower
        from airloom.jobs.table import Attempts

        with self.step() as settings:
            attempt = Attempts(settings.database_address).get(int(event["attempt"]))
            for line in Follower(attempt.path / LOG).lines(last=True)[-SHOWN:]:
                self._say(line)
            return self._finish(settings, context, attempt)

    def _submit(self, settings: "Settings", context: "Context") -> "Attempt":
        from airloom.jobs.submit import submit
        from airloom.pipeline.steps import job_of

        ti, run = context["ti"], RunContext.from_dict(dict(self.context))
        place = ti.map_index if ti.map_index is not None and ti.map_index >= 0 else None
        name = self.task_id if place is None else f"{self.task_id}-{place}"
        self.link_to(settings, run)
        spec = job_of(run, self.job, dict(self.arguments or {}), light=self.task_id in ("evaluate", "gate"))
        task = {"dag": ti.dag_id, "run": ti.run_id, "task": ti.task_id, "map_index": -1 if place is None else place}
        # Airflow raises max_tries when a person clears the task, and only then.
        return submit(settings, f"{run.key}/{name}", spec, generation=max(0, ti.max_tries), task=task)

    def _finish(self, settings: "Settings", context: "Context", attempt: "Attempt") -> Any:
        """The job's value, or on to the next attempt where this one was lost."""
        from airloom.errors import JobLost
        from airloom.jobs.wait import value, wait

        for losses in range(LOSSES + 1):
            if attempt.alive:
                trigger = JobTrigger(attempt=attempt.id, key=attempt.key)
                self.defer(trigger=trigger, method_name="resume")
            try:
                return value(attempt)
            except JobLost as error:
                if losses == LOSSES:
                    raise
                self.log.warning("%s; it goes on from its checkpoint", error.message)
            seconds = self.patience if self.deferrable else None
            attempt = wait(settings, self._submit(settings, context), self._say, seconds=seconds)
        raise AssertionError("the loop returns, raises or defers")

    def on_kill(self) -> None:
        """End the waiting, never the job: Airflow calls this for a shutdown and for a person's wish alike."""
        raise AirflowException("the task was told to stop; its job goes on until somebody clears or marks the task")

    def _say(self, line: str) -> None:
        self.log.info("%s", line)
