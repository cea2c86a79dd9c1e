"""The end of a study: checked, completed in MLflow, and summed up on the parent run."""

import logging
from typing import TYPE_CHECKING, Any

from airloom.contracts import RunContext, StudyResult
from airloom.errors import JobFailed
from airloom.metadata import tracking
from airloom.pipeline.spec import Pipeline
from airloom.settings import Settings
from airloom.training.journal import Journal
from airloom.tuning import budget, figures, folders, pick, verdict
from airloom.tuning.owner import reap
from airloom.tuning.recorder import ASIDE, KIND, Entry, Recorder
from airloom.tuning.rows import Rows
from airloom.tuning.slots import FINISHED, Slot, Slots
from airloom.tuning.space import searched
from airloom.tuning.study import open_study

if TYPE_CHECKING:
    from mlflow import MlflowClient

SUMMED = "airloom.study.trials"  # tag of the parent: the study of so many trials is summed up on it
log = logging.getLogger(__name__)


def finish(settings: Settings, pipeline: Pipeline, ctx: RunContext) -> StudyResult:
    """Check that every trial is there, and record the best and the study's figures on the parent run.

    Raises:
        JobFailed: the study failed; not exactly `tune.trials` trials finished, and its budget is not the reason; or
            none of them was complete.
        MlflowAway: MLflow does not take what is left to bring.
    """
    slots = Slots(settings.database_address)
    rows = Rows(settings, pipeline, ctx)
    _agree(settings, slots, rows, ctx.key)
    tally = slots.tally(ctx.key)
    over = "" if tally.over else budget.over(pipeline.tune, tally)
    if not tally.over and not (over and tally.finished):
        why = tally.failed or over or "not all of its workers came to their end"
        message = f"{tally.finished} of {tally.trials} trials finished: {why}"
        raise JobFailed(message, "clear the study's workers; they go on where they stood")
    with tracking.reachable(settings):
        _bring(settings, pipeline, ctx, slots)
        result = _result(settings, pipeline, ctx, slots, over)
        _record(settings, pipeline, ctx, result)
    return result


def _agree(settings: Settings, slots: Slots, rows: Rows, study: str) -> None:
    """No row is RUNNING without a worker, and no slot finished without its row."""
    reap(settings, slots, study, rows)
    states = rows.states()
    for slot in slots.all(study, *FINISHED):
        if states.get(slot.trial) not in FINISHED:
            log.warning("slot %d is %s, its trial %d is not: it is done again", slot.slot, slot.state, slot.trial)
            slots.renew(slot)


def _bring(settings: Settings, pipeline: Pipeline, ctx: RunContext, slots: Slots) -> None:
    """What workers that were killed had not brought to MLflow, and away with runs that their end left twice."""
    left = [slot for slot in slots.all(ctx.key, *FINISHED) if not slot.logged]
    if left:
        recorder = Recorder(settings, ctx, slots)
        for slot in left:
            recorder.begin(_entry(settings, pipeline, ctx, slot))
        recorder.close()
    api = tracking.client(settings)
    _once(api, ctx)
    for run in tracking.children(api, ctx, ASIDE):
        if run.info.status == "RUNNING":
            api.set_terminated(run.info.run_id, "FAILED")
    folders.remove(folders.study_folder(settings, ctx.key))


def _entry(settings: Settings, pipeline: Pipeline, ctx: RunContext, slot: Slot) -> Entry:
    folder = folders.folder_of(settings, slot)
    parameters = searched(slot.parameters or {}, pipeline, ctx.parameters)
    entry = Entry(slot, parameters, Journal(folder / folders.JOURNAL), folder, asked=True)
    verdict.describe(entry)
    entry.status = "FINISHED"
    return entry


def _once(api: "MlflowClient", ctx: RunContext) -> None:
    """A worker that was killed while MLflow created a run for it may leave a second one."""
    seen: set[str] = set()
    for run in sorted(tracking.children(api, ctx, KIND), key=lambda run: run.info.status != "FINISHED"):
        key = run.data.tags[tracking.KEY]
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
    found = pick.best(pipeline.tune, complete)
    parameters = dict(done[found.number].parameters or {})
    return StudyResult(
        ctx.key, len(done), pruned, found.number, found.value, parameters, found.values, found.front, over
    )


def _record(settings: Settings, pipeline: Pipeline, ctx: RunContext, result: StudyResult) -> None:
    api = tracking.client(settings)
    parent = api.get_run(ctx.mlflow_run).data
    if parent.tags.get(SUMMED) == str(result.trials):
        return  # an attempt of this job after a crash
    best: dict[str, Any] = {f"best.{name}": value for name, value in result.best_parameters.items()}
    tracking.log_parameters(api, ctx.mlflow_run, {n: v for n, v in best.items() if n not in parent.params})
    tags = {"airloom.study": result.study, "airloom.best_trial": str(result.best_trial)}
    # An extended study may have found better ones; MLflow keeps a parameter as it was first.
    tags |= {name: str(v) for name, v in best.items() if parent.params.get(name, str(v)) != str(v)}
    metrics = {f"best.{name}": value for name, value in result.values.items()}
    metrics |= {"trials": float(result.trials), "pruned_trials": float(result.pruned)}
    tracking.log_metrics(api, ctx.mlflow_run, metrics, result.trials)
    figures.record(settings, pipeline, ctx, api)
    for name, value in {**tags, SUMMED: str(result.trials)}.items():
        api.set_tag(ctx.mlflow_run, name, value)
