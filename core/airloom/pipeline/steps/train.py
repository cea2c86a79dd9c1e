"""The final training of a pipeline run, with the parameters that its study chose; without a study, the file's."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.cache import lookup, manifest
from airloom.cache.entries import CacheEntry
from airloom.cache.manifest import Reading, StepManifest
from airloom.contracts import RunContext, TrainedModel
from airloom.errors import CorruptFile
from airloom.pipeline.steps import tune
from airloom.pipeline.steps.base import Arguments, Step
from airloom.settings import Settings, load
from airloom.spec.load import definition
from airloom.spec.pipeline import Pipeline
from airloom.tracking import artifacts, runs
from airloom.tracking.tags import NOT_TUNED, Tag

if TYPE_CHECKING:
    from airloom.training.stopping import Budget


def reads(settings: Settings, ctx: RunContext, arguments: Arguments) -> Reading:  # noqa: ARG001 - the study says all
    """What the final training reads; of a study of this run's own nobody knows yet what it will choose."""
    if definition(ctx).tune is None:
        return _reads(settings, ctx, {})
    study = tune.decided(settings, ctx)
    return _reads(settings, ctx, study.value) if study.hit else study.why


def _reads(settings: Settings, ctx: RunContext, study: dict[str, Any]) -> StepManifest:
    stop = manifest.flat(definition(ctx).stop.model_dump(mode="json"), "stop")
    return manifest.of_training(settings, ctx, study.get("best_parameters", {}), stop, {})


def _usable(settings: Settings, entry: CacheEntry) -> str:
    from mlflow.exceptions import MlflowException

    model = TrainedModel.from_dict(entry.value)
    with tempfile.TemporaryDirectory(prefix="airloom-cache-") as folder:
        try:
            artifacts.fetch_model(settings, model.model_uri, model.digests, Path(folder) / "model")
        except CorruptFile as error:
            return f"the model of run {model.mlflow_run} was collected or damaged: {error.message}"
        except (MlflowException, OSError):
            return f"the model {model.model_uri} of run {model.mlflow_run} was collected"
    return ""


def _returned(settings: Settings, ctx: RunContext, model: dict[str, Any]) -> dict[str, Any]:
    study = tune.reused_study(settings, ctx)
    return {"study": study.value if study else {}, "model": model}


STEP = Step("train", "airloom.pipeline.steps.train:train", reads=reads, usable=_usable, returned=_returned)


def train(context: dict[str, Any]) -> dict[str, Any]:
    """Job entry, of each rank: close the study, train with its best parameters; without a study, with the file's.

    Returns `{"study": …, "model": …}`; the study is empty where there is none.
    """
    from airloom.pipeline.rehearsal import before_training
    from airloom.project import watch
    from airloom.project.weights import in_project
    from airloom.training.train import train as train_best
    from airloom.training.world import joined

    settings, ctx = load(), RunContext.from_dict(context)
    pipeline = definition(ctx)
    read: dict[str, str] = {}
    with joined() as world:
        if pipeline.tune is None:
            world.from_first(lambda: before_training(settings, ctx))
            study: dict[str, Any] = {}
        else:
            study = world.from_first(lambda: tune.finished(settings, ctx))
        best = study.get("best_parameters", {})
        before = _reads(settings, ctx, study)
        known = [*before.code, *before.inputs, *in_project(ctx.weights)]
        with watch.reading(settings.project, settings.home, known, read):
            model = train_best(
                settings, pipeline, ctx, best, command=pipeline.command or None, budget=_budget(pipeline)
            )
        if world.rank == 0:
            _sign(settings, ctx, study, model, read)
            _keep(settings, ctx, (before, _reads(settings, ctx, study)), model, read)
    return {"study": study, "model": model.to_dict()}


def _sign(
    settings: Settings, ctx: RunContext, study: dict[str, Any], model: TrainedModel, read: dict[str, str]
) -> None:
    """Note on the training's MLflow run which study chose its parameters, which job trained, and what no commit has."""
    from airloom.jobs import context as job_context
    from airloom.training.reproducibility.provenance import note_read

    job = job_context.current()
    api = runs.client(settings)
    with runs.connection_errors(settings):
        api.set_tag(model.mlflow_run, Tag.STUDY, study.get("study", NOT_TUNED))
        api.set_tag(model.mlflow_run, Tag.JOB, job.key if job else str(STEP.key(ctx, {})))
        note_read(api, settings.project, (model.mlflow_run, ctx.mlflow_run), read)


def _keep(
    settings: Settings,
    ctx: RunContext,
    manifests: tuple[StepManifest, StepManifest],
    model: TrainedModel,
    read: dict[str, str],
) -> None:
    api = runs.client(settings)
    with runs.connection_errors(settings):
        ended = api.get_run(model.mlflow_run).data.tags.get(Tag.ENDED, "")
    cut = ended if "seconds" in ended else ""  # another machine would come further
    value, run = model.to_dict(), model.mlflow_run
    lookup.keep(settings, ctx, STEP, manifests, value=value, run=run, read=read, unless=cut)


def _budget(pipeline: Pipeline) -> "Budget":
    from airloom.training.stopping import Budget

    stop = pipeline.stop
    return Budget(stop.steps, stop.time, stop.device_hours * 3600 if stop.device_hours else None)
