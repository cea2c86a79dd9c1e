"""One worker's share of a study. Killed at any point and started again, it goes on where it stood."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airloom.contracts import RunContext
from airloom.errors import AirloomError, JobFailed, MlflowAway
from airloom.metadata import tracking
from airloom.pipeline.spec import Pipeline
from airloom.settings import Settings
from airloom.training.load import load_function
from airloom.training.run import DataProvider, Pruned, TrainingRun, execute, snapshot_data
from airloom.tuning.sink import MetricMissing, TrialSink
from airloom.tuning.study import open_study, share, suggest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

KIND = "trial"
FAILURES = 3
log = logging.getLogger(__name__)


def work(
    settings: Settings, pipeline: Pipeline, ctx: RunContext, worker: int, data: DataProvider | None = None
) -> dict[str, Any]:
    """Run this worker's trials.

    Returns:
        `worker`, `trials` (finished by it, all attempts together) and `failed` (in this attempt).

    Raises:
        JobFailed: the third failure in a row, with the last one's text; or the objective is never reported.
        ConfigError: the training function cannot be found.
    """
    with tracking.reachable(settings):
        return _Worker.start(settings, pipeline, ctx, worker, data).run()


@dataclass
class _Worker:
    settings: Settings
    pipeline: Pipeline
    ctx: RunContext
    number: int
    study: "Study"
    api: "MlflowClient"
    function: Any
    data: DataProvider

    @classmethod
    def start(cls, settings: Settings, pipeline: Pipeline, ctx: RunContext, number: int, data: Any) -> "_Worker":
        function = load_function(settings.project, pipeline.train)
        api = tracking.client(settings)
        study = open_study(settings, pipeline, ctx, number)
        begun = sum(t.user_attrs.get("worker") == number for t in study.get_trials(deepcopy=False))
        study = open_study(settings, pipeline, ctx, number, begun) if begun else study
        reader = data or snapshot_data(settings, ctx.snapshot)
        return cls(settings, pipeline, ctx, number, study, api, function, reader)

    def run(self) -> dict[str, Any]:
        first, count = share(self.pipeline.tune.trials, self.pipeline.tune.workers, self.number)
        self._recover()
        failed = in_a_row = 0
        while (done := self._finished()) < count:
            error = self._trial(first + done)
            in_a_row = in_a_row + 1 if error else 0
            failed += error is not None
            if error and in_a_row >= FAILURES:
                message = f"{FAILURES} trials in a row failed, the last with: {error.message}"
                raise JobFailed(message, error.hint) from error
        return {"worker": self.number, "trials": done, "failed": failed}

    def _mine(self) -> "list[FrozenTrial]":
        return [t for t in self.study.get_trials(deepcopy=False) if t.user_attrs.get("worker") == self.number]

    def _finished(self) -> int:
        return sum(t.state.name in ("COMPLETE", "PRUNED") for t in self._mine())

    def _recover(self) -> None:
        """Give up what an earlier, killed process of this worker left running, and queue its point again."""
        from optuna.trial import TrialState

        for trial in self._mine():
            if trial.state != TrialState.RUNNING:
                continue
            log.warning("trial %d was left running by a killed worker; its parameters are tried again", trial.number)
            self._give_up(trial.number, trial.user_attrs.get("mlflow_run"), "the worker was killed")
            self.study.tell(trial.number, state=TrialState.FAIL)
            if trial.params:
                self.study.enqueue_trial(trial.params)

    def _trial(self, slot: int) -> JobFailed | None:
        """Run one trial; a failure of the user's function is recorded and returned."""
        from optuna.trial import TrialState

        trial = self.study.ask()
        trial.set_user_attr("worker", self.number)
        run_id = tracking.ensure_child(self.api, self.ctx, KIND, slot, {"airloom.trial": str(trial.number)})
        # Before anything immutable is logged: a killed trial's run must be known to be set aside.
        trial.set_user_attr("mlflow_run", run_id)
        try:
            value = self._objective(trial, run_id)
        except Pruned:
            self._end(trial, run_id, TrialState.PRUNED)
            return None
        except MlflowAway:
            raise  # the trial stays open: the next attempt sets it aside and queues its parameters again
        except AirloomError as error:
            trial.set_user_attr("reason", error.message)
            self._give_up(trial.number, run_id, error.message)
            self.study.tell(trial, state=TrialState.FAIL)
            log.warning("trial %d failed: %s", trial.number, error.message)
            if isinstance(error, JobFailed) and not isinstance(error, MetricMissing):
                return error
            raise
        self._end(trial, run_id, TrialState.COMPLETE, value)
        return None

    def _objective(self, trial: "Trial", run_id: str) -> float:
        tune = self.pipeline.tune
        values = {**self.pipeline.parameters, **suggest(trial, tune.space, self.ctx.parameters), **self.ctx.parameters}
        if tune.epochs and "epochs" not in tune.space:
            values["epochs"] = tune.epochs
        tracking.log_parameters(self.api, run_id, values)
        sink = TrialSink(self.settings, trial, tune.objective.metric, self.api, run_id)
        execute(self.function, TrainingRun(values, self.pipeline.seed, self.data, sink), self.pipeline.train)
        return sink.value

    def _end(self, trial: "Trial", run_id: str, state: Any, value: float | None = None) -> None:
        self.api.set_tag(run_id, "airloom.state", state.name)
        self.api.set_terminated(run_id, "FINISHED")
        self.study.tell(trial, value, state=state)
        log.info("trial %d: %s %s", trial.number, state.name, "" if value is None else value)

    def _give_up(self, number: int, run_id: str | None, reason: str) -> None:
        """Set the MLflow run aside under another key, so that the slot's next trial gets a fresh one."""
        if run_id is None:
            return
        self.api.set_tag(run_id, tracking.KEY, tracking.child_key(self.ctx, "failed_trial", number))
        self.api.set_tag(run_id, "airloom.reason", reason[:4000])
        self.api.set_terminated(run_id, "FAILED")
