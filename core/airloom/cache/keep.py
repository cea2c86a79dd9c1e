"""What a step that ran leaves for later runs, and what a step with a HIT leaves in its own run."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airloom.cache import entries, manifest
from airloom.cache.changes import changes
from airloom.cache.manifest import Manifest
from airloom.contracts import Evaluation, RunContext, StudyResult, TrainedModel, Verdict
from airloom.errors import AirloomError
from airloom.settings import Settings
from airloom.spec.pipeline import Pipeline
from airloom.tracking import runs
from airloom.tracking.tags import Tag

ASKED = "asked"
log = logging.getLogger(__name__)


def begin_study(settings: Settings, pipeline: Pipeline, ctx: RunContext) -> None:
    """Note what a study is about to read; at its end it must still be the same."""
    api, name = runs.client(settings), entries.name_of(ctx, "tune")
    with runs.reachable(settings):
        key = manifest.of_tune(settings, pipeline, ctx).key
        api.set_tag(ctx.mlflow_run, f"{Tag.CACHE}.{name}.{ASKED}", key)


def study(settings: Settings, pipeline: Pipeline, ctx: RunContext, result: StudyResult, read: dict[str, str]) -> None:
    """Keep a finished study. One that its budget cut is none: the next one may come further."""
    with _harmless():
        if result.over:
            log.info("the study is not kept for later runs: %s", result.over)
            return
        api, name, now = (
            runs.client(settings),
            entries.name_of(ctx, "tune"),
            manifest.of_tune(settings, pipeline, ctx),
        )
        asked = api.get_run(ctx.mlflow_run).data.tags.get(f"{Tag.CACHE}.{name}.{ASKED}")
        if asked != now.key:
            log.warning("the study is not kept for later runs: what it reads changed while it ran")
            return
        entries.keep(api, ctx.mlflow_run, name, now, result.to_dict(), read)


def training(
    settings: Settings, ctx: RunContext, before: Manifest, now: Manifest, model: TrainedModel, read: dict[str, str]
) -> None:
    """Keep a training."""
    with _harmless():
        if _changed(settings, "the training", before, now):
            return
        api = runs.client(settings)
        if "seconds" in (ended := api.get_run(model.mlflow_run).data.tags.get(Tag.ENDED, "")):
            log.info("the training is not kept for later runs: %s", ended)
            return
        entries.keep(api, model.mlflow_run, entries.name_of(ctx, "train"), now, model.to_dict(), read)


def evaluation(settings: Settings, ctx: RunContext, before: Manifest, now: Manifest, found: Evaluation) -> None:
    """Keep an evaluation."""
    with _harmless():
        if not _changed(settings, "the evaluation", before, now):
            entries.keep(runs.client(settings), ctx.mlflow_run, "evaluate", now, found.to_dict(), {})


def adopt(settings: Settings, ctx: RunContext, verdict: Verdict) -> None:
    """Leave in this pipeline run what the step would have left in it, and which run it comes from."""
    api = runs.client(settings)
    with runs.reachable(settings):
        if verdict.step == "tune":
            _adopt_study(api, ctx, StudyResult.from_dict(verdict.value))
        if verdict.step == "evaluate":
            _adopt_evaluation(api, ctx, verdict.run)
        api.set_tag(ctx.mlflow_run, f"{Tag.REUSED}.{entries.name_of(ctx, verdict.step)}", verdict.run)


def disown(settings: Settings, ctx: RunContext, step: str) -> None:
    """A person wants the step anew: what it does from now on is this run's own."""
    api, tag = runs.client(settings), f"{Tag.REUSED}.{entries.name_of(ctx, step)}"
    with runs.reachable(settings):
        if tag in api.get_run(ctx.mlflow_run).data.tags:
            api.delete_tag(ctx.mlflow_run, tag)


def _adopt_study(api: Any, ctx: RunContext, result: StudyResult) -> None:
    known = api.get_run(ctx.mlflow_run).data.params
    best = {f"best.{name}": value for name, value in result.best_parameters.items()}
    runs.log_parameters(api, ctx.mlflow_run, {name: v for name, v in best.items() if name not in known})
    values = {f"best.{name}": value for name, value in result.values.items()}
    values |= {"trials": float(result.trials), "pruned_trials": float(result.pruned)}
    runs.log_metrics(api, ctx.mlflow_run, values, result.trials)
    api.set_tag(ctx.mlflow_run, Tag.STUDY, result.study)


def _adopt_evaluation(api: Any, ctx: RunContext, run: str) -> None:
    """Its files too: the gate reads them here, and the other run may be collected."""
    from airloom.evaluation.evaluate import FOLDER
    from airloom.tracking.runs import log_input

    with tempfile.TemporaryDirectory(prefix="airloom-cache-") as folder:
        api.log_artifacts(ctx.mlflow_run, api.download_artifacts(run, FOLDER, folder), FOLDER)
    measured = {n: v for n, v in api.get_run(run).data.metrics.items() if n.startswith(("test_", "champion_test_"))}
    for name, value in measured.items():
        api.log_metric(ctx.mlflow_run, name, value, step=0)
    log_input(api, ctx.mlflow_run, ctx.snapshot, "test")


def _changed(settings: Settings, what: str, before: Manifest, now: Manifest) -> bool:
    if before.key == now.key:
        return False
    said = "; ".join(changes(settings, before, now))
    log.warning("%s is not kept for later runs: while it ran, %s", what, said)
    return True


@contextmanager
def _harmless() -> Iterator[None]:
    """The step is done; that it is not kept for others is no reason to fail it."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except (AirloomError, MlflowException, RequestException, OSError) as error:
        log.warning("not kept for later runs: %s", error)
