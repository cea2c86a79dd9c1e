"""The end of a study."""

from typing import TYPE_CHECKING

from airloom.contracts import RunContext, StudyResult
from airloom.errors import JobFailed
from airloom.metadata import tracking
from airloom.pipeline.spec import Pipeline
from airloom.settings import Settings
from airloom.tuning.study import open_study

if TYPE_CHECKING:
    from optuna import Study


def finish(settings: Settings, pipeline: Pipeline, ctx: RunContext) -> StudyResult:
    """Check that every trial is there and record the best on the parent run.

    Raises:
        JobFailed: not exactly `tune.trials` trials finished, or all of them were pruned.
    """
    study = open_study(settings, pipeline, ctx)
    _close_orphans(study)
    states = [trial.state.name for trial in study.get_trials(deepcopy=False)]
    pruned = states.count("PRUNED")
    finished, wanted = states.count("COMPLETE") + pruned, pipeline.tune.trials
    if finished != wanted:
        message = f"{finished} of {wanted} trials finished ({states.count('FAIL')} failed)"
        raise JobFailed(message, "clear the study's workers; they go on where they stood")
    if pruned == finished:
        raise JobFailed(f"all {pruned} trials were pruned", "set tune.pruner to none")
    best = study.best_trial
    result = StudyResult(ctx.key, finished, pruned, best.number, float(study.best_value), dict(best.params))
    _record(settings, pipeline, ctx, result)
    return result


def _close_orphans(study: "Study") -> None:
    """A worker killed in the instant between asking and signing leaves a trial that nobody owns."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if "worker" not in trial.user_attrs:
            study.tell(trial.number, state=TrialState.FAIL)


def _record(settings: Settings, pipeline: Pipeline, ctx: RunContext, result: StudyResult) -> None:
    api = tracking.client(settings)
    with tracking.reachable(settings):
        best = {f"best.{name}": value for name, value in result.best_parameters.items()}
        tracking.log_parameters(api, ctx.mlflow_run, best)
        metrics = {f"best.{pipeline.tune.objective.metric}": result.best_value, "pruned_trials": float(result.pruned)}
        tracking.log_metrics(api, ctx.mlflow_run, metrics, 0)
        api.set_tag(ctx.mlflow_run, "airloom.study", result.study)
