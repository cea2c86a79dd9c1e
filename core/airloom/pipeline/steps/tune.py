"""The study of a pipeline run: its workers, its end, and taking the study of an earlier run instead."""

from dataclasses import replace
from typing import Any

from airloom.cache import lookup, manifest
from airloom.cache.entries import CacheEntry, name_of
from airloom.cache.manifest import Reading, StepManifest
from airloom.contracts import CacheDecision, RunContext, StudyResult
from airloom.errors import JobFailed
from airloom.jobs.spec import Resources
from airloom.pipeline.steps.base import Arguments, Step, light
from airloom.settings import Settings, load
from airloom.spec.load import definition
from airloom.spec.pipeline import Pipeline
from airloom.tracking import runs
from airloom.tracking.tags import Tag

WORKER_MEMORY = 2**30  # bytes of a worker itself, beside its trials
LONGEST_STUDY = 30 * 86_400.0  # seconds; a study ends by its trials and its budget
_NOT_READ = {"workers", "share", "failures", "warm_start"}  # who does the trials, not which
_ASKED = "asked"


def _of_worker(pipeline: Pipeline) -> Resources:
    """A worker is one process; the limits of the file are those of each trial, and it holds its trials to them."""
    asked = pipeline.resources
    memory = int(asked.memory) + WORKER_MEMORY if asked.memory else 0
    return Resources(asked.devices, 1, asked.threads * pipeline.study.lanes, memory, LONGEST_STUDY)


def reads(settings: Settings, ctx: RunContext, arguments: Arguments | None = None) -> Reading:  # noqa: ARG001 - of no worker
    """What a study reads: what its trainings do, and its own section of the pipeline file."""
    pipeline = definition(ctx)
    if pipeline.study.warm_start:
        return ["tune.warm_start: it begins with earlier studies, which may have changed"]
    section = pipeline.study.model_dump(mode="json", by_alias=True, exclude=_NOT_READ)
    function = pipeline.study.space_function
    code = manifest.function_code(settings, function) if function else {}
    read = manifest.of_training(settings, ctx, {}, manifest.flat(section, "tune"), code)
    # As `tuning.space.searched` has it: `tune.epochs` stands in their place in every trial.
    searched = function or "epochs" in pipeline.study.dimensions
    if pipeline.study.epochs and not searched:
        return replace(read, parameters={name: v for name, v in read.parameters.items() if name != "epochs"})
    return read


def _usable(settings: Settings, entry: CacheEntry) -> str:
    from airloom.tuning.study import open_study

    try:
        open_study(settings, entry.value["study"])
    except JobFailed:
        return f"the study {entry.value['study']} was deleted"
    return ""


def _adopt(settings: Settings, ctx: RunContext, decision: CacheDecision) -> None:
    api, result = runs.client(settings), StudyResult.from_dict(decision.value)
    known = api.get_run(ctx.mlflow_run).data.params
    best = {f"best.{name}": value for name, value in result.best_parameters.items()}
    runs.log_parameters(api, ctx.mlflow_run, {name: v for name, v in best.items() if name not in known})
    values = {f"best.{name}": value for name, value in result.values.items()}
    values |= {"trials": float(result.trials), "pruned_trials": float(result.pruned)}
    runs.log_metrics(api, ctx.mlflow_run, values, result.trials)
    api.set_tag(ctx.mlflow_run, Tag.STUDY, result.study)


def decided(settings: Settings, ctx: RunContext) -> CacheDecision:
    """What `resolve` decided for this run's study; a HIT has the `StudyResult` of the earlier run as a dict."""
    reused = reused_study(settings, ctx)
    if reused is not None:
        return reused
    why = CacheDecision.from_dict(ctx.studies[""]).why if "" in ctx.studies else []
    return CacheDecision(STEP.name, False, why or ["its study was run anew"])


def _decided(settings: Settings, ctx: RunContext, arguments: Arguments) -> CacheDecision:
    """Of one worker: it has nothing to do where the run took an earlier study."""
    return decided(settings, ctx).with_(value={"worker": arguments["worker"], "trials": 0, "failed": 0, "over": ""})


STEP = Step(
    "tune",
    "airloom.pipeline.steps.tune:work",
    resources=_of_worker,
    reads=reads,
    usable=_usable,
    adopt=_adopt,
    decided=_decided,
    mapped_by="worker",
)
SUMMARY = Step("study", "airloom.pipeline.steps.tune:finish", resources=light)


def work(context: dict[str, Any], worker: int) -> dict[str, Any]:
    """Job entry: be one of the study's workers; see `airloom.tuning.worker`. Code that is new is rehearsed first."""
    from airloom.pipeline.rehearsal import before_training
    from airloom.tuning.worker.main import work as work_on

    settings, ctx = load(), RunContext.from_dict(context)
    before_training(settings, ctx)
    return work_on(settings, definition(ctx), ctx, worker)


def finish(context: dict[str, Any]) -> dict[str, Any]:
    """Job entry: check the study and sum it up. Returns a `StudyResult` as a dict."""
    return finished(load(), RunContext.from_dict(context))


def finished(settings: Settings, ctx: RunContext) -> dict[str, Any]:
    """This run's study at its end, kept for later runs; or that of the earlier run whose study it takes."""
    from airloom.project import watch
    from airloom.tuning.summary import finish as sum_up
    from airloom.tuning.trial_folders import study_folder

    if reused := reused_study(settings, ctx):
        return reused.value
    read = watch.kept(study_folder(settings, ctx.key))  # its folder goes when it is summed up
    result = sum_up(settings, definition(ctx), ctx)
    _keep(settings, ctx, result, read)
    return result.to_dict()


def prepare(settings: Settings, ctx: RunContext) -> CacheDecision | None:
    """Take an earlier run's study or make one; None where the run has one already, and goes on with it."""
    from airloom.tuning.slots import Slots

    settings.make_home()
    decision = None
    if not Slots(settings.database_address).tally(ctx.key).trials:
        decision = lookup.look_up(settings, ctx, STEP, {})
        if decision.hit:
            lookup.take(settings, ctx, STEP, decision)
            return decision
    make_study(settings, ctx)
    return decision


def make_study(settings: Settings, ctx: RunContext) -> None:
    """The run's own study, created or found; what it is about to read is noted, and must be the same at its end."""
    from airloom.tuning.study import create

    create(settings, definition(ctx), ctx)
    reading = reads(settings, ctx)
    if isinstance(reading, StepManifest):
        with runs.connection_errors(settings):
            runs.client(settings).set_tag(ctx.mlflow_run, _asked(ctx), reading.key)


def reused_study(settings: Settings, ctx: RunContext) -> CacheDecision | None:
    """The decision with which the run took an earlier one's study; None where it has its own."""
    from airloom.tuning.slots import Slots

    decision = CacheDecision.from_dict(ctx.studies[""]) if "" in ctx.studies else None
    if decision is None or not decision.hit or Slots(settings.database_address).tally(ctx.key).trials:
        return None  # a person who clears the workers gets a study of this run
    return decision


def _keep(settings: Settings, ctx: RunContext, result: StudyResult, read: dict[str, str]) -> None:
    """A study that its budget cut is none for later runs: the next one may come further."""
    from airloom.tuning.foreign import touched
    from airloom.tuning.study import open_study

    now, api = reads(settings, ctx), runs.client(settings)
    if not isinstance(now, StepManifest):
        return
    with runs.connection_errors(settings):
        asked = api.get_run(ctx.mlflow_run).data.tags.get(_asked(ctx))
    unless = result.over or ("" if asked == now.key else "what it reads changed while it ran")
    if not unless and touched(open_study(settings, ctx.key).study):
        unless = "others added trials to it by Optuna"
    value, run = result.to_dict(), ctx.mlflow_run
    lookup.keep(settings, ctx, STEP, (now, now), value=value, run=run, read=read, unless=unless)


def _asked(ctx: RunContext) -> str:
    return f"{Tag.CACHE}.{name_of(ctx, STEP.name)}.{_ASKED}"
