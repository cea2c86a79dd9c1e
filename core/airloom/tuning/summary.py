"""The end of a study: checked, completed in MLflow, and summed up on the parent run."""

import logging
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from airloom.contracts import RunContext, StudyResult
from airloom.errors import JobFailed
from airloom.settings import Settings
from airloom.spec.pipeline import Pipeline
from airloom.tracking import runs
from airloom.tracking.tags import Tag
from airloom.training.reporting.journal import Journal
from airloom.tuning import foreign, selection, trial_folders
from airloom.tuning import study as budget
from airloom.tuning.ownership import reap
from airloom.tuning.slots import FINISHED, Slot, Slots
from airloom.tuning.space import searched
from airloom.tuning.study import open_study
from airloom.tuning.trials import OptunaTrials
from airloom.tuning.worker.recorder import ASIDE, KIND, Recorder, TrialRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from optuna import Study

FOLDER = "study"  # of the figures, among the artifacts of the parent run
log = logging.getLogger(__name__)


def finish(settings: Settings, pipeline: Pipeline, ctx: RunContext) -> StudyResult:
    """Check that every trial is there, and record the best and the study's figures on the parent run.

    Raises:
        JobFailed: the study failed; not exactly `tune.trials` trials finished, and its budget is not the reason; or
            none of them was complete.
        MlflowAway: MLflow does not take what is left to bring.
    """
    slots = Slots(settings.database_address)
    _agree(settings, slots, OptunaTrials(settings, pipeline, ctx), ctx.key)
    tally = slots.tally(ctx.key)
    over = "" if tally.over else budget.over(pipeline.study, tally)
    if not tally.over and not (over and tally.finished):
        why = tally.failed or over or "not all of its workers came to their end"
        message = f"{tally.finished} of {tally.trials} trials finished: {why}"
        raise JobFailed(message, "clear the study's workers; they go on where they stood")
    with runs.connection_errors(settings):
        _bring(settings, pipeline, ctx, slots)
        result = _result(settings, pipeline, ctx, slots, over)
        _record(settings, pipeline, ctx, result)
    return result


def _agree(settings: Settings, slots: Slots, trials: OptunaTrials, study: str) -> None:
    """See to it that no row is RUNNING without a worker, and no slot finished without its row."""
    reap(settings, slots, study, trials)
    states = trials.states()
    for slot in slots.all(study, *FINISHED):
        if states.get(slot.trial) not in FINISHED:
            log.warning("slot %d is %s, its trial %d is not: it is done again", slot.slot, slot.state, slot.trial)
            slots.renew(slot)


def _bring(settings: Settings, pipeline: Pipeline, ctx: RunContext, slots: Slots) -> None:
    """Bring what killed workers left to MLflow, and remove the runs that they left twice."""
    left = [slot for slot in slots.all(ctx.key, *FINISHED) if not slot.logged]
    if left:
        recorder = Recorder(settings, ctx, slots)
        for slot in left:
            recorder.begin(_record_of(settings, pipeline, ctx, slot))
        recorder.close()
    api = runs.client(settings)
    _remove_doubles(api, ctx)
    for run in runs.children(api, ctx, ASIDE):
        if run.info.status == "RUNNING":
            api.set_terminated(run.info.run_id, "FAILED")
    trial_folders.remove(trial_folders.study_folder(settings, ctx.key))


def _record_of(settings: Settings, pipeline: Pipeline, ctx: RunContext, slot: Slot) -> TrialRecord:
    folder = trial_folders.folder_of(settings, slot)
    parameters = searched(slot.parameters or {}, pipeline, ctx.parameters)
    record = TrialRecord(slot, parameters, Journal(folder / trial_folders.JOURNAL), folder, run_sought=True)
    record.finish()
    return record


def _remove_doubles(api: "MlflowClient", ctx: RunContext) -> None:
    """Remove second runs: a worker that was killed while MLflow created a run for it may leave one."""
    seen: set[str] = set()
    for run in sorted(runs.children(api, ctx, KIND), key=lambda run: run.info.status != "FINISHED"):
        key = run.data.tags[Tag.KEY]
        if key in seen:
            api.delete_run(run.info.run_id)
        seen.add(key)


def _result(settings: Settings, pipeline: Pipeline, ctx: RunContext, slots: Slots, over: str) -> StudyResult:
    done = {slot.trial: slot for slot in slots.all(ctx.key, *FINISHED)}
    study = open_study(settings, ctx.key).study
    complete = [t for t in study.get_trials(deepcopy=False) if t.number in done and t.state.name == "COMPLETE"]
    pruned = len(done) - len(complete)
    if not complete:
        raise JobFailed(f"all {pruned} trials were pruned", "set tune.pruner to none")
    best = selection.best(pipeline.study, complete)
    parameters = dict(done[best.number].parameters or {})
    return StudyResult(ctx.key, len(done), pruned, best.number, best.value, parameters, best.values, best.front, over)


def _record(settings: Settings, pipeline: Pipeline, ctx: RunContext, result: StudyResult) -> None:
    api = runs.client(settings)
    parent = api.get_run(ctx.mlflow_run).data
    if parent.tags.get(Tag.STUDY_TRIALS) == str(result.trials):
        return  # an attempt of this job after a crash
    best: dict[str, Any] = {f"best.{name}": value for name, value in result.best_parameters.items()}
    runs.log_parameters(api, ctx.mlflow_run, {n: v for n, v in best.items() if n not in parent.params})
    tags = {Tag.STUDY: result.study, Tag.BEST_TRIAL: str(result.best_trial)}
    # An extended study may have found better ones; MLflow keeps a parameter as it was first.
    tags |= {name: str(v) for name, v in best.items() if parent.params.get(name, str(v)) != str(v)}
    metrics = {f"best.{name}": value for name, value in result.values.items()}
    metrics |= {"trials": float(result.trials), "pruned_trials": float(result.pruned)}
    runs.log_metrics(api, ctx.mlflow_run, metrics, result.trials)
    _draw_figures(settings, pipeline, ctx, api)
    for name, value in {**tags, Tag.STUDY_TRIALS: str(result.trials)}.items():
        api.set_tag(ctx.mlflow_run, name, value)


def _draw_figures(settings: Settings, pipeline: Pipeline, ctx: RunContext, api: "MlflowClient") -> None:
    """Draw the study's figures and log them: `study/history.png`, …; one that cannot be drawn is left out."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    study = foreign.without(open_study(settings, ctx.key).study)
    names = [target.metric for target in pipeline.study.targets]
    for name, draw in _figures(study, names).items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the interface is experimental, or a layout tight
                axes = draw()
                figure = _figure_of(axes)
                figure.set_size_inches(9, 6)
                api.log_figure(ctx.mlflow_run, figure, f"{FOLDER}/{name}.png")
        except (ValueError, RuntimeError, ImportError) as error:  # too few trials, or no parameter at all
            log.warning("the figure %s cannot be drawn: %s", name, error)
        finally:
            pyplot.close("all")


def _figures(study: "Study", names: list[str]) -> dict[str, Callable[[], Any]]:
    from optuna.visualization import matplotlib as draw

    figures: dict[str, Callable[[], Any]] = {"timeline": lambda: draw.plot_timeline(study)}
    if len(names) in (2, 3):
        figures["pareto_front"] = lambda: draw.plot_pareto_front(study, target_names=names)
    for index, metric in enumerate(names):
        # A target makes it one objective; without one Optuna takes the study's own.
        options: dict[str, Any] = {"target_name": metric}
        if len(names) > 1:
            options["target"] = lambda trial, index=index: trial.values[index]
        end = f"_{metric}" if len(names) > 1 else ""
        figures |= {
            f"history{end}": partial(draw.plot_optimization_history, study, **options),
            f"parallel_coordinates{end}": partial(draw.plot_parallel_coordinate, study, **options),
            f"slice{end}": partial(draw.plot_slice, study, **options),
        }
        # Of a single trial nothing can be said, and Optuna would import scikit-learn to find that out.
        if sum(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)) > 1:
            figures[f"importances{end}"] = partial(draw.plot_param_importances, study, **options)
    return figures


def _figure_of(axes: Any) -> Any:
    """The figure of one pair of axes, or of several."""
    while not hasattr(axes, "get_figure"):
        axes = axes[0]
    return axes.get_figure()
