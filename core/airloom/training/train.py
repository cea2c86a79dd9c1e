"""The final training with the study's best parameters, on one process or several."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.cache.manifest import files_of, weights_read
from airloom.contracts import RunContext, TrainedModel
from airloom.errors import ConfigError, JobFailed, MlflowAway, StoppedByRequest
from airloom.jobs import context
from airloom.project.functions import load_function, source_file
from airloom.project.weights import Pretrained
from airloom.settings import Settings
from airloom.spec.pipeline import Pipeline
from airloom.tasks import declared, find
from airloom.tracking import runs
from airloom.tracking.inputs import log_input
from airloom.tracking.tags import Tag
from airloom.training.command import name_of, run_command, script_of
from airloom.training.execute import execute
from airloom.training.export.coded_export import AsPython
from airloom.training.export.store import store_model, stored_model
from airloom.training.reporting import cost
from airloom.training.reporting.sinks import FirstRank, OtherRank
from airloom.training.reproducibility.provenance import (
    code_tags,
    hardware,
    keep_modules,
    keep_origin,
    note_read,
    pretrained_tag,
)
from airloom.training.reproducibility.reproduce import weights_digest
from airloom.training.run import TrainingRun
from airloom.training.source import SnapshotSplits
from airloom.training.splits import Source
from airloom.training.stopping import Budget
from airloom.training.world import joined, write_down

if TYPE_CHECKING:
    from mlflow import MlflowClient

KIND = "train"
Code = tuple[str, Path | None]
log = logging.getLogger(__name__)


def train(
    settings: Settings,
    pipeline: Pipeline,
    ctx: RunContext,
    parameters: dict[str, Any],
    source: Source | None = None,
    *,
    command: str | list[str] | None = None,
    budget: Budget | None = None,
    state: Path | None = None,
) -> TrainedModel:
    """Train once with `parameters` over the pipeline's, the run's overrides over both, and log the model.

    A second call with the same parameters returns the first one's model without training. An attempt after a crash goes
    on from the newest checkpoint, in the same MLflow run. Under torchrun every rank calls it, and gets the same model.

    Args:
        settings: of this installation.
        pipeline: names the function, the seed and parameters.
        ctx: of the pipeline run.
        parameters: of the study.
        source: of the splits; default: the context's snapshot.
        command: a program that trains, in place of the pipeline's function; see `run_command`.
        budget: stopping rules; one that is met ends the training well, with what it learned.
        state: the folder that survives attempts; default: the job's, else none, and no checkpoints.

    Raises:
        JobFailed: the function raised, diverged, or saved no model; or the export differs from torch.
        StoppedByRequest: the job was asked to end.
        ConfigError: the function cannot be found.
        MlflowAway: MLflow does not answer; a retry continues in the same run.
    """
    values = {**pipeline.parameters, **parameters, **ctx.parameters}
    code = _code(settings, pipeline, command)
    job = context.current()
    with runs.connection_errors(settings), joined() as world:
        begun = world.from_first(lambda: _begin(settings, pipeline, ctx, values, code))
        if begun["model"]:
            return TrainedModel.from_dict(begun["model"])
        with _folder(
            state or (job.state if job else None),
            [begun["run"], code[0], values, pipeline.seed, ctx.snapshot.id, *sorted(weights_read(ctx).items())],
        ) as (folder, survives):
            # Only the first rank reports.
            sink = (
                OtherRank(folder, world.rank) if world.rank else FirstRank(folder, runs.client(settings), begun["run"])
            )
            data = source or SnapshotSplits(settings, ctx.snapshot)
            run = TrainingRun(
                values,
                pipeline.seed,
                data,
                sink,
                state=folder if survives else None,
                budget=budget,
                world=world,
                weights=Pretrained(settings.project, ctx.weights),
            )
            try:
                if command:
                    run_command(command, run, data, settings.project, folder)
                else:
                    execute(load_function(settings.project, pipeline.train), run, pipeline.train)
                sink.sync()
                world.wait()  # until each rank has written down what it used
                place = (begun["run"], ctx)
                model = world.from_first(lambda: _end(settings, pipeline, code[0], run, data, folder, sink, place))
            except BaseException as error:
                _failed(settings, sink, begun["run"], error)
                raise
            return TrainedModel.from_dict(model)


def _code(settings: Settings, pipeline: Pipeline, command: str | list[str] | None) -> Code:
    """What trains, by its name, and its file where there is one."""
    if command:
        return name_of(command), script_of(command, settings.project)
    return pipeline.train, source_file(settings.project, pipeline.train)


def _begin(
    settings: Settings, pipeline: Pipeline, ctx: RunContext, values: dict[str, Any], code: Code
) -> dict[str, Any]:
    """Find or create the MLflow run: `run`, and `model` where it is trained already."""
    api = runs.client(settings)
    number, done = _slot(api, ctx, values)
    if done:
        return {"run": done.mlflow_run, "model": done.to_dict()}
    run_id = runs.ensure_child(api, ctx, KIND, number, {Tag.PARAMETERS: _text(values)})
    try:
        _record(api, settings, pipeline, ctx, run_id, values, code)
    except Exception:
        api.set_terminated(run_id, "FAILED")
        raise
    return {"run": run_id, "model": None}


def _slot(api: "MlflowClient", ctx: RunContext, values: dict[str, Any]) -> tuple[int, TrainedModel | None]:
    """The first child number that is free or was begun with these very parameters; MLflow cannot change them."""
    number = 0
    while child := runs.find_child(api, ctx, KIND, number):
        if child.data.tags.get(Tag.PARAMETERS) == _text(values):
            return number, stored_model(child)
        number += 1
    return number, None


def _record(
    api: "MlflowClient",
    settings: Settings,
    pipeline: Pipeline,
    ctx: RunContext,
    run_id: str,
    values: dict[str, Any],
    code: Code,
) -> None:
    import torch

    runs.log_parameters(api, run_id, values)
    tags = code_tags(settings.project, *code, files_of(settings, pipeline))
    threads, before = str(torch.get_num_threads()), api.get_run(run_id).data.tags.get(Tag.THREADS)
    if before and before != threads:
        log.warning("this attempt has %s threads, the one before had %s: the last bits will differ", threads, before)
    own = tags | {Tag.THREADS: threads, Tag.SEED: str(pipeline.seed)}
    own |= {Tag.SNAPSHOT_RECORD: json.dumps(ctx.snapshot.to_dict()), Tag.SNAPSHOT: ctx.snapshot.id}
    own |= {Tag.DATASET: ctx.snapshot.version_name} | pretrained_tag(ctx)
    # This very process trains, so that its torch counts, whatever environment the pipeline's steps are started from.
    own |= {Tag.HARDWARE: json.dumps(hardware()), Tag.TORCH: torch.__version__}
    for target, names in ((run_id, own), (ctx.mlflow_run, tags)):
        for name, value in names.items():
            api.set_tag(target, name, value)
    if code[1] is not None:
        api.log_artifact(run_id, str(code[1]), "source")
    keep_origin(api, settings.project, run_id)
    log_input(api, settings, run_id, ctx.snapshot, "train")


@contextmanager
def _folder(state: Path | None, what: list[Any]) -> Iterator[tuple[Path, bool]]:
    """This very training's part of the state, and whether it survives the process; other parameters have another."""
    if state is None:
        with tempfile.TemporaryDirectory(prefix="airloom-training-") as temporary:
            yield Path(temporary), False
        return
    folder = state / f"training-{hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    yield folder, True


def _end(
    settings: Settings,
    pipeline: Pipeline,
    reference: str,
    run: TrainingRun,
    data: Source,
    folder: Path,
    sink: OtherRank,
    place: tuple[str, RunContext],
) -> dict[str, Any]:
    """In the first rank: the last metrics, the cost, the model. `place` is its MLflow run, and where that belongs."""
    run_id, ctx = place
    assert isinstance(sink, FirstRank)  # noqa: S101 - the first rank's
    if sink.model is None:
        raise JobFailed(f"{reference} saved no model", "call run.save_model(model, run.example())")
    check_serves(pipeline, run)
    sink.close()
    api = runs.client(settings)
    used = cost.total(folder, run.progress.at.samples, run.progress.seconds)
    runs.log_metrics(api, run_id, used, run.progress.at.steps)
    api.set_tag(run_id, Tag.ENDED, run.progress.ended or "complete")
    note_read(api, settings.project, (run_id, ctx.mlflow_run), keep_modules(api, settings.project, run_id))
    if not isinstance(sink.model[0], Path):
        api.set_tag(run_id, Tag.WEIGHTS, weights_digest(sink.model[0]))
    if run.adapter:
        api.log_artifacts(run_id, str(run.adapter), "adapter")
    processing = declared(find(pipeline.task, settings.project), data.declare(run.processing))
    commit = api.get_run(run_id).data.tags.get(Tag.CODE_COMMIT, "")
    how = None if run.code is None else AsPython(run.code, settings.project, commit)
    return store_model(run_id, *sink.model, run.params, sink.metrics, processing, run.rtol, how).to_dict()


def check_serves(pipeline: Pipeline, run: TrainingRun) -> None:
    """Refuse a model that is kept as Python where the pipeline would have the model server answer with it.

    Raises:
        ConfigError: it would.
    """
    if run.code is not None and pipeline.deploy is not None:
        message = 'save_model(serve="python") keeps Python code, which the model server does not run, and the '
        hint = f"leave `deploy` out, and ask it by `airloom predict {pipeline.pipeline}/VERSION` or airloom.load_model"
        raise ConfigError(
            f"{message}pipeline file has `deploy`", f"{hint}; or write forward so that ONNX can express it"
        )


def _failed(settings: Settings, sink: OtherRank, run_id: str, error: BaseException) -> None:
    """Say so to the other ranks, and in MLflow, if it listens; the error that is on its way matters more."""
    write_down(error)
    sink.abandon()
    if isinstance(sink, FirstRank) and not isinstance(error, MlflowAway):  # asking a dead server would only delay
        with suppress(Exception):
            status = "KILLED" if isinstance(error, StoppedByRequest) else "FAILED"
            runs.client(settings).set_terminated(run_id, status)


def _text(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)
