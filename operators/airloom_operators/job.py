"""Heavy steps: submitted as jobs that outlive the task, its worker and the scheduler."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException

from airloom.contracts import RunContext
from airloom_operators.base import AirloomOperator, StepOperator, cleared, job_name
from airloom_operators.triggers.job import JobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airloom.contracts import Verdict
    from airloom.jobs.spec import JobSpec
    from airloom.jobs.states import Attempt
    from airloom.settings import Settings

LOSSES = 5  # attempts in a row that may be lost before the task fails
SHOWN = 500  # lines of a deferred job's log that the task shows when it wakes up


class WaitsForJob(AirloomOperator):
    """Submit a job, wait for it, return its result.

    The job does not end with this task. A retry finds it by its key and waits on; a person who clears or marks the task
    ends the job (the trigger does so while the task is deferred, the stack's reconciler while it waits in place).

    Args:
        deferrable: give the worker slot back while the job runs; False waits in place.
        patience: seconds to wait in place before deferring: a short job does not pay for it.
    """

    def __init__(self, *, deferrable: bool = True, patience: float = 20, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.patience = patience

    def job_of(self, settings: "Settings", context: "Context") -> "tuple[str, JobSpec]":
        """The key of the job and what it does; the same whenever it is called for this task."""
        raise NotImplementedError

    def finished(self, context: "Context", value: dict[str, Any]) -> Any:  # noqa: ARG002 - for subclasses
        """What the task returns of the job's value."""
        return value

    def execute(self, context: "Context") -> Any:
        """Submit the job, pass its log on, return its result."""
        with self.step() as settings:
            attempt = self._submit(settings, context)
            self.log.info("job %s attempt %s, log %s", attempt.key, attempt.number, attempt.path / "log.txt")
            value = self._value(settings, context, self._wait(settings, attempt))
        return self.finished(context, value)

    def resume(self, context: "Context", event: dict[str, Any]) -> Any:
        """Called when the job of a deferred task ended."""
        from airloom.jobs.files import LOG, Follower
        from airloom.jobs.table import Attempts

        with self.step() as settings:
            attempt = Attempts(settings.database_address).get(int(event["attempt"]))
            for line in Follower(attempt.path / LOG).lines(last=True)[-SHOWN:]:
                self.say(line)
            value = self._value(settings, context, attempt)
        return self.finished(context, value)

    def _submit(self, settings: "Settings", context: "Context") -> "Attempt":
        from airloom.jobs.submit import submit

        ti, (key, spec) = context["ti"], self.job_of(settings, context)
        place = ti.map_index if ti.map_index is not None and ti.map_index >= 0 else -1
        task = {"dag": ti.dag_id, "run": ti.run_id, "task": ti.task_id, "map_index": place}
        # Airflow raises max_tries when a person clears the task, and only then.
        return submit(settings, key, spec, generation=max(0, ti.max_tries), task=task)

    def _wait(self, settings: "Settings", attempt: "Attempt") -> "Attempt":
        from airloom.jobs.wait import wait

        return wait(settings, attempt, self.say, seconds=self.patience if self.deferrable else None)

    def _value(self, settings: "Settings", context: "Context", attempt: "Attempt") -> dict[str, Any]:
        """The job's value, or on to the next attempt where this one was lost."""
        from airloom.errors import JobFailed
        from airloom.jobs.wait import value

        for losses in range(LOSSES + 1):
            if attempt.alive:
                self.defer(trigger=JobTrigger(attempt=attempt.id, key=attempt.key), method_name="resume")
            try:
                return value(attempt)
            except JobFailed as error:
                if losses == LOSSES or not self.goes_on(attempt):
                    raise
                self.log.warning("%s; it goes on from its checkpoint", error.message)
            attempt = self._wait(settings, self._submit(settings, context))
        raise AssertionError("the loop returns, raises or defers")

    def goes_on(self, attempt: "Attempt") -> bool:
        """Whether the task starts the next attempt at once, rather than fail."""
        from airloom.jobs.states import LOST

        return attempt.state == LOST

    def on_kill(self) -> None:
        """End the waiting, never the job: Airflow calls this for a shutdown and for a person's wish alike."""
        raise AirflowException("the task was told to stop; its job goes on until somebody clears or marks the task")

    def say(self, line: str) -> None:
        """Pass a line of the job's log on."""
        self.log.info("%s", line)


class JobOperator(WaitsForJob, StepOperator):
    """A heavy step of a pipeline. Where an earlier run did the same on the same inputs, its result is taken: a HIT.

    Log and XCom `cache` say HIT or MISS, and why; the link of a HIT leads to the MLflow run that it takes.

    Args:
        context: what `ResolveOperator` returned.
        arguments: further arguments of the step, results of earlier tasks.
        candidate: the name of the candidate that it works for, where the pipeline has several.
    """

    job = ""  # module:function of the step, set by each subclass
    cached = ""  # its name in `cache:` of a pipeline file; empty: it always runs
    light = False  # whether it needs neither devices nor several processes
    template_fields: Sequence[str] = ("context", "arguments")

    def __init__(self, *, context: Any, arguments: Any = None, candidate: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.candidate = candidate
        self.context = context
        self.arguments = arguments

    def execute(self, context: "Context") -> Any:
        """Take an earlier run's result; else submit the job, pass its log on, return its result."""
        verdict = self._verdict(context) if self.cached else None
        for line in verdict.lines if verdict else []:
            self.say(line)
        if verdict is None or not verdict.hit:
            return super().execute(context)
        return self.finished(context, verdict.value)

    def _verdict(self, context: "Context") -> "Verdict | None":
        from airloom.pipeline.steps import cached, candidate

        run = candidate(RunContext.from_dict(dict(self.context)), self.candidate)
        job, arguments = f"{run.key}/{job_name(context['ti'])}", dict(self.arguments or {})
        with self.step() as settings:
            verdict = cached(settings, run, self.cached, arguments, job, cleared=cleared(context))
            if verdict:
                self.link_to(settings, run, verdict.run if verdict.hit else "")
                context["ti"].xcom_push("cache", {"hit": verdict.hit, "why": verdict.why, "run": verdict.run})
        return verdict

    def job_of(self, settings: "Settings", context: "Context") -> "tuple[str, JobSpec]":
        """See `WaitsForJob`."""
        from airloom.pipeline.steps import candidate, job_of

        run = RunContext.from_dict(dict(self.context))
        self.link_to(settings, run)
        run = candidate(run, self.candidate)
        spec = job_of(run, self.job, dict(self.arguments or {}), light=self.light)
        return f"{run.key}/{job_name(context['ti'])}", spec

    def resume(self, context: "Context", event: dict[str, Any]) -> Any:
        """See `WaitsForJob`; Airflow takes the link from whoever ends the task."""
        with self.step() as settings:
            self.link_to(settings, RunContext.from_dict(dict(self.context)))
        return super().resume(context, event)
