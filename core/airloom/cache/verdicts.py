"""HIT or MISS: whether a step takes what an earlier run of it returned."""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.cache import entries, manifest
from airloom.cache.changes import changes
from airloom.cache.entries import Entry
from airloom.cache.manifest import Manifest
from airloom.contracts import Evaluation, RunContext, TrainedModel, Verdict
from airloom.errors import CorruptFile, RegistryError
from airloom.project import source
from airloom.registry import models as registered_models
from airloom.settings import Settings
from airloom.spec.load import load_pipeline
from airloom.spec.pipeline import Pipeline
from airloom.tracking import artifacts, runs
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient

CLEARED = "a person cleared it: it runs anew"
Usable = Callable[["MlflowClient", Entry], str]  # why an entry cannot be used; empty: it can


def decide(
    settings: Settings, ctx: RunContext, step: str, arguments: dict[str, Any], job: str, *, cleared: bool = False
) -> Verdict | None:
    """The verdict on a step that is about to be submitted as a job; None where its job has begun and goes on.

    Args:
        settings: of this installation.
        ctx: of the pipeline run, or of one of its candidates.
        step: `tune`, `train` or `evaluate`.
        arguments: of the step.
        job: its key.
        cleared: whether a person wants it anew.

    Raises:
        MlflowAway: MLflow does not answer.
    """
    from airloom.jobs.table import Attempts

    if cleared:
        return Verdict(step, False, [CLEARED])
    settings.make_home()
    if Attempts(settings.database_address).newest(job):
        return None
    pipeline = load_pipeline(Path(ctx.pipeline_file))
    if step == "evaluate":
        trained = arguments["trained"]
        return of_evaluation(settings, pipeline, ctx, {"": trained} if "model_uri" in trained else trained)
    study = reused_study(settings, ctx)
    if study is None:
        why = Verdict.from_dict(ctx.studies[""]).why if "" in ctx.studies else []
        return Verdict(step, False, why or ["its study was run anew"])
    return study if step == "tune" else of_train(settings, pipeline, ctx, study.value)


def reused_study(settings: Settings, ctx: RunContext) -> Verdict | None:
    """The study of an earlier run that this one takes; None where it has its own."""
    from airloom.tuning.slots import Slots

    found = Verdict.from_dict(ctx.studies[""]) if "" in ctx.studies else None
    if found is None or not found.hit or Slots(settings.database_address).tally(ctx.key).trials:
        return None  # a person who clears the workers gets a study of this run
    return found


def of_tune(settings: Settings, pipeline: Pipeline, ctx: RunContext) -> Verdict:
    """On a study; the value of a HIT is a `StudyResult` as a dict."""
    if off := _off(pipeline, ctx, "tune"):
        return Verdict("tune", False, [off])
    if pipeline.tune.warm_start:
        return Verdict("tune", False, ["tune.warm_start: it begins with earlier studies, which may have changed"])

    def usable(_: "MlflowClient", entry: Entry) -> str:
        from airloom.errors import JobFailed
        from airloom.tuning.study import open_study

        try:
            open_study(settings, entry.value["study"])
        except JobFailed:
            return f"the study {entry.value['study']} was deleted"
        return ""

    return _look(settings, ctx, "tune", manifest.of_tune(settings, pipeline, ctx), usable)


def of_train(settings: Settings, pipeline: Pipeline, ctx: RunContext, study: dict[str, Any]) -> Verdict:
    """On the final training with a study's best parameters; the value of a HIT is as `steps.train` returns it."""
    if off := _off(pipeline, ctx, "train"):
        return Verdict("train", False, [off])
    reads = manifest.of_train(settings, pipeline, ctx, study["best_parameters"])

    def usable(_: "MlflowClient", entry: Entry) -> str:
        return _model_problem(settings, TrainedModel.from_dict(entry.value))

    found = _look(settings, ctx, "train", reads, usable)
    return found.with_(value={"study": study, "model": found.value}) if found.hit else found


def of_evaluation(
    settings: Settings, pipeline: Pipeline, ctx: RunContext, models: dict[str, dict[str, Any]]
) -> Verdict:
    """On an evaluation; the value of a HIT is an `Evaluation` as a dict."""
    if off := _off(pipeline, ctx, "evaluate"):
        return Verdict("evaluate", False, [off])
    reads = manifest.of_evaluation(settings, pipeline, ctx, models, serving(settings, pipeline))

    def usable(api: "MlflowClient", entry: Entry) -> str:
        evaluation = Evaluation.from_dict(entry.value)
        with tempfile.TemporaryDirectory(prefix="airloom-cache-") as folder:
            path = fetched(api, entry.run.info.run_id, evaluation.predictions, folder)
            if path is None:
                return f"the predictions of run {entry.run.info.run_id} were collected"
            same = hashlib.sha256(path.read_bytes()).hexdigest() == evaluation.sha256
        return "" if same else f"the predictions of run {entry.run.info.run_id} are others by now"

    return _look(settings, ctx, "evaluate", reads, usable)


def serving(settings: Settings, pipeline: Pipeline) -> str:
    """The champion as an evaluation sees it: its version, and the address of its files; empty where there is none."""
    client = runs.client(settings)
    with runs.reachable(settings):
        champion = registered_models.champion(client, pipeline.pipeline)
    return f"{champion.version} {champion.tags.get(Tag.MODEL_URI, '')}" if champion is not None else ""


def fetched(api: "MlflowClient", run: str, path: str, folder: str) -> Path | None:
    """An artifact's copy below `folder`; None where there is none."""
    from mlflow.exceptions import MlflowException

    try:
        found = Path(api.download_artifacts(run, path, folder))
    except (MlflowException, OSError):
        return None
    return found if found.exists() else None


def _off(pipeline: Pipeline, ctx: RunContext, step: str) -> str:
    if not ctx.cache:
        return "the cache is switched off for this run"
    return "" if getattr(pipeline.cache, step) else f"cache.{step} is false in {Path(ctx.pipeline_file).name}"


def _look(settings: Settings, ctx: RunContext, step: str, reads: Manifest, usable: Usable) -> Verdict:
    api, name = runs.client(settings), entries.name_of(ctx, step)
    with runs.reachable(settings):
        problems: list[str] = []
        for run in entries.same(api, ctx, name, reads.key):
            entry = entries.read(api, run, name)
            problem = entry if isinstance(entry, str) else _moved(settings, entry) or usable(api, entry)
            if not problem and isinstance(entry, Entry):
                return Verdict(step, True, [], run.info.run_id, run.data.tags.get(Tag.KEY, ""), entry.value)
            problems.append(problem)
        if problems:
            return Verdict(step, False, list(dict.fromkeys(problems)))
        near = entries.nearest(api, ctx, name, reads)
    if near is None:
        return Verdict(step, False, ["no earlier run of this pipeline is kept for it"])
    run = near.run
    why = changes(settings, near.manifest, reads)
    return Verdict(step, False, why, run.info.run_id, run.data.tags.get(Tag.KEY, ""))


def _moved(settings: Settings, entry: Entry) -> str:
    """A file that the run read without having declared it, and that is not what it was."""
    for name, before in entry.read.items():
        path = settings.project / name
        if not path.is_file() or source.digest(path) != before:
            return f"{name} changed (it was read, but is no declared input)"
    return ""


def _model_problem(settings: Settings, model: TrainedModel) -> str:
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory(prefix="airloom-cache-") as folder:
        try:
            artifacts.fetch_model(settings, model.model_uri, model.digests, Path(folder) / "model")
        except CorruptFile as error:
            return f"the model of run {model.mlflow_run} was collected or damaged: {error.message}"
        except (MlflowException, OSError):
            return f"the model {model.model_uri} of run {model.mlflow_run} was collected"
        except RegistryError:
            raise
    return ""
