"""Heavy steps: submitted as jobs that outlive the task, its worker and the scheduler."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException

from airloom.contracts import RunContext
from airloom.names import JobKey
from airloom_operators.base import AirloomOperator, StepOperator, cleared, map_index
from airloom_operators.connections import Place
from airloom_operators.templates import mapping
from airloom_operators.triggers.job import JobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airloom.contracts import CacheDecision, Decision
    from airloom.jobs.files import Follower
    from airloom.jobs.spec import JobSpec
    from airloom.jobs.states import Attempt
    from airloom.pipeline.steps.base import Step
    from airloom.settings import Settings

LOSSES = 5  # attempts in a row that may be lost before the task fails
SHOWN = 5000  # lines at most that a task shows, when it wakes up, of what its job printed meanwhile


class ToldToStop(AirflowException):
    """Airflow sent the task a SIGTERM."""


class WaitsForJob(AirloomOperator):
    """Submit a job, wait for it, return its result.

    The job does not end with this task. A retry finds it by its key and waits on; a person who clears or marks the task
    ends the job: the trigger does so while the task is deferred, the task itself while it waits in place, and where it
    was killed `airloom jobs reconcile`.

    The log of the task has each line of the job once. Of a long one that was printed while the task was deferred it has
    the newest, and says how many lines are left out, and where they are.

    Args:
        deferrable: give the worker slot back while the job runs; False waits in place.
        patience: seconds to wait in place before deferring: a short job does not pay for it.
    """

    _place: Mapping[str, Any] = MappingProxyType({})  # of the task instance that waits
    _follower: "Follower | None" = None  # of the log of the attempt that it waits for

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
        from airloom.jobs.table import Attempts

        with self.step() as settings:
            attempt = Attempts(settings.database_address).get(int(event["attempt"]))
            self._catch_up(attempt, int(event.get("shown", -1)))
            value = self._value(settings, context, attempt)
        return self.finished(context, value)

    def _submit(self, settings: "Settings", context: "Context") -> "Attempt":
        from airloom.jobs.submit import submit

        ti, (key, spec) = context["ti"], self.job_of(settings, context)
        self._place = task = {"dag": ti.dag_id, "run": ti.run_id, "task": ti.task_id, "map_index": map_index(ti)}
        # Airflow raises max_tries when a person clears the task, and only then.
        return submit(settings, key, spec, generation=max(0, ti.max_tries), task=task)

    def _wait(self, settings: "Settings", attempt: "Attempt") -> "Attempt":
        from airloom.jobs.files import LOG, Follower
        from airloom.jobs.wait import wait

        self._follower = Follower(attempt.path / LOG)
        seconds = self.patience if self.deferrable else None
        try:
            return wait(settings, attempt, self.log_line, seconds=seconds, follower=self._follower)
        except ToldToStop:  # here, and not in Airflow's signal handler, which may have come in the middle of anything
            self._stop(settings, attempt)
            raise

    def _catch_up(self, attempt: "Attempt", shown: int) -> None:
        """Show what the job printed since the task was deferred."""
        from airloom.jobs.files import LOG, Follower
        from airloom.jobs.submit import host

        path = attempt.path / LOG
        self._follower = Follower(path, max(0, shown))
        lines = self._follower.lines(last=not attempt.alive)
        where = f"`airloom jobs logs {attempt.key} --attempt {attempt.number}`, or {path} on {attempt.host}"
        if attempt.host != host() and not path.exists():
            self.log.info("what the job printed meanwhile is not here: %s", where)
        if left_out := max(0, len(lines) - SHOWN):
            self.log.info("%d lines of the job's log are left out here: %s", left_out, where)
        for line in lines[left_out:]:
            self.log_line(line)

    def _value(self, settings: "Settings", context: "Context", attempt: "Attempt") -> dict[str, Any]:
        """The job's value, or on to the next attempt where this one was lost."""
        from airloom.errors import JobFailed
        from airloom.jobs.wait import value

        for losses in range(LOSSES + 1):
            if attempt.alive:
                follow = f"`airloom jobs logs {attempt.key} --follow`"
                self.log.info(
                    "waiting without a slot; what the job prints now follows here when it ends, or %s", follow
                )
                shown = self._follower.position if self._follower else 0
                place = Place(self.connection_id, self.project).arguments()
                self.defer(trigger=JobTrigger(attempt.id, attempt.key, shown, **place), method_name="resume")
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
        """End the waiting: Airflow calls this for a shutdown and for a person's wish alike.

        Raises:
            ToldToStop: always.
        """
        raise ToldToStop("the task was told to stop; its job goes on until somebody clears or marks the task")

    def _stop(self, settings: "Settings", attempt: "Attempt") -> None:
        """End the job where a person marked, cleared or deleted the task; after a shutdown it goes on.

        Raises:
            AirflowException: the job was ended.
        """
        from airloom.jobs.table import Attempts

        if reason := self._given_up(attempt):
            Attempts(settings.database_address).change(attempt.id, cancel=reason)
            raise AirflowException(f"{reason}, so its job {attempt.key} is ended") from None

    def _given_up(self, attempt: "Attempt") -> str:
        """Why nobody wants the job any more; empty where its task still does, or nobody can tell."""
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        from airloom.jobs.given_up import verdict

        place, run = self._place, self._place["run"]
        wanted = {"task_ids": [place["task"]], "run_ids": [run], "map_index": place["map_index"]}
        try:
            states = RuntimeTaskInstance.get_task_states(dag_id=place["dag"], **wanted).get(run, {})
        except Exception as error:  # whatever it is: a job that may be wanted is not ended
            self.log.warning("Airflow does not say whether somebody marked or cleared the task: %r", error)
            return ""
        return verdict(attempt, {"state": next(iter(states.values()))} if states else None)

    def log_line(self, line: str) -> None:
        """Pass a line of the job's log on."""
        self.log.info("%s", line)


class JobOperator(WaitsForJob, StepOperator):
    """A heavy step of a pipeline. Where an earlier run did the same on the same inputs, its result is taken: a HIT.

    Log and XCom `cache` say HIT or MISS, and why; the link of a HIT leads to the MLflow run that it takes.

    Args:
        context: what `ResolveOperator` returned.
        arguments: further arguments of the step, results of earlier tasks.
        candidate: the name of the candidate that it works for, where the pipeline has several.
        step: what it does; subclasses have it as a class attribute.
    """

    step_record: "Step"
    template_fields: Sequence[str] = ("context", "arguments")

    def __init__(
        self, *, context: Any, arguments: Any = None, candidate: str = "", step: "Step | None" = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.candidate = candidate
        self.context = context
        self.arguments = arguments
        if step is not None:
            self.step_record = step

    def execute(self, context: "Context") -> Any:
        """Take an earlier run's result; else submit the job, pass its log on, return its result."""
        decision = self._decision(context)
        for line in decision.lines if decision else []:
            self.log_line(line)
        if decision is None or not decision.hit:
            return super().execute(context)
        return self.finished(context, decision.value)

    def run_context(self) -> RunContext:
        """The run that the step works on, or that of its candidate."""
        return super().run_context().of_candidate(self.candidate)

    def end_without_news(self, context: "Context", decision: "Decision") -> None:
        """End the run of a candidate that is the champion itself: this task and what follows are skipped.

        Raises:
            AirflowSkipException: always.
        """
        from airflow.sdk.exceptions import AirflowSkipException

        from airloom.pipeline import run

        with self.step() as settings:
            run.finish(settings, self.run_context(), decision)
        self.note(context, decision.reasons[0])
        raise AirflowSkipException(decision.reasons[0])

    def given(self) -> dict[str, Any]:
        """The step's arguments."""
        return mapping("arguments", self.arguments)

    def key(self, context: "Context", run: RunContext) -> JobKey:
        """The key of the task's job: the step's own, so that `airloom run` has the same, unless the task is called
        otherwise than its step."""
        ti, step = context["ti"], self.step_record
        usual = ti.task_id in (step.name, f"{step.name}_{self.candidate}")
        return JobKey(run.key, step.name if usual else str(ti.task_id), map_index(ti))

    def _decision(self, context: "Context") -> "CacheDecision | None":
        from airloom.pipeline.steps.submit import decide

        with self.step() as settings:
            run, arguments = self.run_context(), self.given()
            anew = cleared(context)
            decision = decide(settings, run, self.step_record, arguments, self.key(context, run), cleared=anew)
            if decision:
                self.link_to(settings, run, decision.run if decision.hit else "")
                context["ti"].xcom_push("cache", {"hit": decision.hit, "why": decision.why, "run": decision.run})
        return decision

    def job_of(self, settings: "Settings", context: "Context") -> "tuple[str, JobSpec]":
        """See `WaitsForJob`."""
        from airloom.pipeline.steps.submit import known_key

        run = self.run_context()
        self.link_to(settings, run)
        key = known_key(settings, self.key(context, run), self.candidate)
        return key, self.step_record.specification(run, self.given())

    def resume(self, context: "Context", event: dict[str, Any]) -> Any:
        """See `WaitsForJob`; Airflow takes the link from whoever ends the task."""
        with self.step() as settings:
            self.link_to(settings, self.run_context())
        return super().resume(context, event)
