"""The steps of a pipeline, in order, for Airflow's operators and for `airloom run` alike.

`resolve`, `register` and `deploy` are light and run where they are called; `tune`, `train`, `evaluate` and `gate`
run in a child process of their own (see `airloom.jobs`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.contracts import Decision, Evaluation, RegisteredVersion, RunContext, TrainedModel, Verdict
from airloom.errors import ConfigError
from airloom.jobs.spec import JobSpec, Resources
from airloom.settings import Settings
from airloom.spec.candidates import address
from airloom.spec.load import load_pipeline
from airloom.spec.pipeline import Pipeline
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from airloom.training.stopping import Budget

Say = Callable[[str], None]
WORKER = "airloom.tuning.step:work"
WORKER_MEMORY = 2**30  # bytes of a worker itself, beside its trials
LONGEST_STUDY = 30 * 86_400.0  # seconds; a study ends by its trials and its budget


def resolve(
    settings: Settings,
    file: Path,
    key: str,
    version: int | None = None,
    parameters: dict[str, Any] | None = None,
    *,
    cache: bool = True,
) -> RunContext:
    """Fix what this run works on: dataset version, snapshot, parent MLflow run, study, its own or an earlier run's.

    Args:
        settings: of this installation.
        file: the pipeline file.
        key: names the pipeline run; the same key always gives the same MLflow run.
        version: dataset version number, None for the newest.
        parameters: override the file's `parameters`, or fix a key of its search space.
        cache: whether steps may take what earlier runs with the same inputs returned.
    """
    from airloom.cache.manifest import declared
    from airloom.datasets import versions
    from airloom.datasets.snapshots import snapshot
    from airloom.tracking import runs

    pipeline = load_pipeline(file)
    declared(settings.project, pipeline.inputs)  # before anything is made: a wrong path is a mistake in the file
    overrides = dict(parameters or {})
    _check_overrides(file, pipeline, overrides)
    dataset = pipeline.dataset.name
    found = versions.latest(settings, dataset) if version is None else versions.get(settings, dataset, version)
    split = {str(name): share for name, share in pipeline.dataset.split.items()}
    prepared = snapshot.prepare(settings, found, split, since=pipeline.dataset.since, tags=pipeline.dataset.tags)
    tags = {Tag.DATASET: found.name, Tag.DATASET_COMMIT: found.commit, Tag.SNAPSHOT: prepared.id}
    experiment, run = runs.ensure_parent(settings, pipeline.pipeline, key, tags)
    context = RunContext(pipeline.pipeline, str(file), key, run, experiment, prepared, overrides, cache)
    # Here, once: workers that start together would race for the tables, and might not agree on the cache.
    studies = {name: _study(settings, one) for name, one in contexts(context, pipeline).items()}
    return context.with_(studies={name: verdict.to_dict() for name, verdict in studies.items() if verdict})


def _study(settings: Settings, ctx: RunContext) -> Verdict | None:
    """Take an earlier run's study or make one; None where the run has one already, and goes on with it."""
    from airloom.cache import keep, verdicts
    from airloom.tuning.slots import Slots

    settings.make_home()
    verdict = None
    if not Slots(settings.database_address).tally(ctx.key).trials:
        verdict = verdicts.of_tune(settings, load_pipeline(Path(ctx.pipeline_file)), ctx)
        if verdict.hit:
            keep.adopt(settings, ctx, verdict)
            return verdict
    make_study(settings, ctx)
    return verdict


def make_study(settings: Settings, ctx: RunContext) -> None:
    """The run's own study, created or found."""
    from airloom.cache import keep
    from airloom.tuning.study import create

    pipeline = load_pipeline(Path(ctx.pipeline_file))
    create(settings, pipeline, ctx)
    keep.begin_study(settings, pipeline, ctx)


def cached(
    settings: Settings, context: RunContext, step: str, arguments: dict[str, Any], job: str, *, cleared: bool = False
) -> Verdict | None:
    """HIT or MISS of a step that is about to be submitted; a HIT's traces are left in this run. See `airloom.cache`."""
    from airloom.cache import keep, verdicts

    verdict = verdicts.decide(settings, context, step, arguments, job, cleared=cleared)
    if cleared:
        keep.disown(settings, context, step)
    if verdict and verdict.hit:
        if step != "tune":  # `resolve` did
            keep.adopt(settings, context, verdict)
        else:
            found = {"worker": arguments["worker"], "trials": 0, "failed": 0, "over": ""}
            return verdict.with_(value=found)
    return verdict


def contexts(context: RunContext, pipeline: Pipeline) -> dict[str, RunContext]:
    """What each candidate of a run works on; one without a name where the pipeline has none."""
    return {name: candidate(context, name) for name in pipeline.candidates} or {"": context}


def candidate(context: RunContext, name: str) -> RunContext:
    """The run of one candidate: studies, jobs and child runs of its own, in the same MLflow run."""
    if not name:
        return context
    own = {"": context.studies[name]} if name in context.studies else {}
    return context.with_(key=f"{context.key}/{name}", pipeline_file=address(context.pipeline_file, name), studies=own)


def chosen(trained: dict[str, Any], evaluation: Evaluation) -> TrainedModel:
    """The model that the evaluation chose: the only one, or of several by name the best."""
    models = [trained] if "model_uri" in trained else list(trained.values())
    best = evaluation.candidates[0] if evaluation.candidates else models[0]["model_uri"]
    return TrainedModel.from_dict(next(model for model in models if model["model_uri"] == best))


def job_of(context: RunContext, step: str, arguments: dict[str, Any], *, light: bool = False) -> JobSpec:
    """The job of a heavy step; a light one (evaluate, gate) needs neither devices nor several processes."""
    pipeline = load_pipeline(Path(context.pipeline_file))
    asked = pipeline.resources
    share = {"devices": 0, "processes": 1} if light else {"devices": asked.devices, "processes": asked.processes}
    limits = {"threads": asked.threads, "memory": int(asked.memory), "time": asked.time}
    if step == WORKER:
        share, limits = _of_worker(pipeline)
    return JobSpec(
        step=step,
        arguments={"context": context.to_dict(), **arguments},
        resources=Resources(**share, **limits),  # type: ignore[arg-type] # only `time` is no int
        interpreter=asked.interpreter,
        environment=list(asked.environment),
    )


def _of_worker(pipeline: Pipeline) -> tuple[dict[str, int], dict[str, Any]]:
    """A worker is one process; the limits of the file are those of each trial, and it holds its trials to them."""
    asked, lanes = pipeline.resources, pipeline.tune.lanes
    memory = int(asked.memory) + WORKER_MEMORY if asked.memory else 0
    limits = {"threads": asked.threads * lanes, "memory": memory, "time": LONGEST_STUDY}
    return {"devices": asked.devices, "processes": 1}, limits


def run_job(
    settings: Settings, context: RunContext, step: str, arguments: dict[str, Any], *, name: str, say: Say
) -> dict[str, Any]:
    """Run one heavy step as a job and return its result, or an earlier run's; `name` tells the steps of a run apart."""
    from airloom.jobs import wait

    if name in ("train", "evaluate"):
        verdict = cached(settings, context, name, arguments, f"{context.key}/{name}")
        for line in verdict.lines if verdict else []:
            say(line)
        if verdict and verdict.hit:
            return verdict.value
    spec = job_of(context, step, arguments, light=name in ("evaluate", "gate"))
    return wait.run_job(settings, f"{context.key}/{name}", spec, on_line=say)


def train(context: dict[str, Any]) -> dict[str, Any]:
    """Job entry, of each rank: close the study, train with its best parameters. Returns `{"study": …, "model": …}`."""
    from airloom import settings as settings_module
    from airloom.cache import keep, manifest
    from airloom.project import watch
    from airloom.training.train import train as train_best
    from airloom.training.world import joined
    from airloom.tuning.step import finished_study

    settings, ctx = settings_module.load(), RunContext.from_dict(context)
    pipeline = load_pipeline(Path(ctx.pipeline_file))
    read: dict[str, str] = {}
    with joined() as world:
        study = world.from_first(lambda: finished_study(settings, pipeline, ctx))
        best = study["best_parameters"]
        before = manifest.of_train(settings, pipeline, ctx, best)
        with watch.reading(settings.project, settings.home, [*before.code, *before.inputs], read):
            model = train_best(
                settings, pipeline, ctx, best, command=pipeline.command or None, budget=_budget(pipeline)
            )
        if world.rank == 0:
            now = manifest.of_train(settings, load_pipeline(Path(ctx.pipeline_file)), ctx, best)
            keep.training(settings, ctx, before, now, model, read)
    return {"study": study, "model": model.to_dict()}


def _budget(pipeline: Pipeline) -> "Budget":
    from airloom.training.stopping import Budget

    stop = pipeline.stop
    return Budget(stop.steps, stop.time, stop.device_hours * 3600 if stop.device_hours else None)


def register(
    settings: Settings, context: RunContext, trained: TrainedModel, evaluation: Evaluation, decision: Decision
) -> RegisteredVersion:
    """Make the accepted candidate a registered model version with its lineage."""
    from airloom.registry import register as registry

    pipeline = load_pipeline(Path(context.pipeline_file))
    return registry.register(settings, pipeline, context, trained, evaluation, decision)


def deploy(settings: Settings, registered: RegisteredVersion, say: Say, timeout: float = 60) -> dict[str, Any]:
    """Make the version the champion and wait until the model server answers with it."""
    from airloom.deployment import record

    desired = record.deploy(settings, registered.model, registered.version).to_dict()
    record.wait_until_served(settings, registered.model, registered.version, timeout, say)
    return desired


def _check_overrides(file: Path, pipeline: Pipeline, overrides: dict[str, Any]) -> None:
    every = [load_pipeline(Path(address(str(file), name))) for name in pipeline.candidates] or [pipeline]
    if any(one.tune.space_function for one in every):
        return  # only the function knows its names
    allowed = sorted({name for one in every for name in (*one.parameters, *one.tune.dimensions)})
    unknown = sorted(set(overrides) - set(allowed))
    if unknown:
        raise ConfigError(f"unknown parameters: {', '.join(unknown)}", f"{pipeline.pipeline} has: {', '.join(allowed)}")
