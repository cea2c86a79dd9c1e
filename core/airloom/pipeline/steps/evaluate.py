"""The evaluation of a pipeline run: candidates and champion on the same frozen test split."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.cache import lookup, manifest
from airloom.cache.entries import CacheEntry
from airloom.cache.manifest import StepManifest
from airloom.contracts import CacheDecision, Evaluation, RunContext, TrainedModel
from airloom.files import file_sha256
from airloom.pipeline.steps.base import Arguments, Step, light
from airloom.project.packages import lock
from airloom.settings import Settings, load
from airloom.spec.load import definition
from airloom.spec.tasks import added
from airloom.tracking import runs
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient


def reads(settings: Settings, ctx: RunContext, arguments: Arguments) -> StepManifest:
    """What an evaluation reads: the candidates' files, the champion, the test split, and how it looks at them."""
    pipeline = definition(ctx)
    looked_at: dict[str, Any] = {"resources.threads": pipeline.resources.threads}
    looked_at["classes"] = "by name"  # earlier releases compared numbers
    if pipeline.gate:
        looked_at["gate.against_champion.metric"] = pipeline.gate.against_champion.metric
        if shown := sorted(name for name in pipeline.gate.named_metrics if name.startswith("recall_")):
            looked_at["gate.recalls"] = shown  # of many classes only the worst are kept, and these
        if group := pipeline.gate.against_champion.group:
            looked_at["gate.against_champion.group"] = group
        if whole := sorted(name for name in pipeline.gate.named_metrics if added(name)):
            looked_at["gate.metrics"] = whole
    code = dict[str, str]()
    if pipeline.task:
        looked_at["task"] = pipeline.task
    for reference in [*([pipeline.task] if pipeline.own_task else []), *pipeline.evaluate.metrics]:
        code |= manifest.function_code(settings, reference)
    slices = pipeline.evaluate.model_dump(mode="json", exclude_defaults=True)
    models = {
        f"model {name}".strip(): f"{model['model_uri']} {manifest.digest_of(model['digests'])[:16]}"
        for name, model in by_name(arguments["trained"]).items()
    }
    return StepManifest(
        manifest.read_snapshot(ctx.snapshot),
        code,
        {},
        {},
        looked_at | manifest.flat(slices, "evaluate"),
        lock(settings.project, pipeline.resources.interpreter or settings.job_python),
        models | {"champion": _champion(settings, ctx) or "none"},
    )


def by_name(trained: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Trained models by the name of their candidate; the only one of a pipeline without candidates has none."""
    return {"": trained} if "model_uri" in trained else trained


def _champion(settings: Settings, ctx: RunContext) -> str:
    """What serves, as an evaluation sees it: its version, and the address of its files; empty where nothing does."""
    from airloom.registry import models

    with runs.connection_errors(settings):
        champion = models.champion(runs.client(settings), ctx.model)
    return f"{champion.version} {champion.tags.get(Tag.MODEL_URI, '')}" if champion is not None else ""


def _usable(settings: Settings, entry: CacheEntry) -> str:
    evaluation, run = Evaluation.from_dict(entry.value), entry.run.info.run_id
    with tempfile.TemporaryDirectory(prefix="airloom-cache-") as folder:
        path = _fetched(runs.client(settings), run, evaluation.predictions, folder)
        if path is None:
            return f"the predictions of run {run} were collected"
        same = file_sha256(path) == evaluation.sha256
    return "" if same else f"the predictions of run {run} are others by now"


def _fetched(api: "MlflowClient", run: str, path: str, folder: str) -> Path | None:
    from mlflow.exceptions import MlflowException

    try:
        local = Path(api.download_artifacts(run, path, folder))
    except (MlflowException, OSError):
        return None
    return local if local.exists() else None


def _adopt(settings: Settings, ctx: RunContext, decision: CacheDecision) -> None:
    """Its files too: the gate reads them here, and the other run may be collected."""
    from airloom.evaluation.evaluate import FOLDER
    from airloom.tracking.inputs import log_input

    api = runs.client(settings)
    with tempfile.TemporaryDirectory(prefix="airloom-cache-") as folder:
        api.log_artifacts(ctx.mlflow_run, api.download_artifacts(decision.run, FOLDER, folder), FOLDER)
    measured = api.get_run(decision.run).data.metrics
    for name in sorted(measured):
        if name.startswith(("test_", "champion_test_")):
            api.log_metric(ctx.mlflow_run, name, measured[name], step=0)
    log_input(api, settings, ctx.mlflow_run, ctx.snapshot, "test")


STEP = Step(
    "evaluate", "airloom.pipeline.steps.evaluate:evaluate", resources=light, reads=reads, usable=_usable, adopt=_adopt
)


def evaluate(context: dict[str, Any], trained: dict[str, Any]) -> dict[str, Any]:
    """Job entry: evaluate the trained candidate, or several by name. Returns an `Evaluation` as a dict."""
    from airloom.evaluation.evaluate import evaluate_all

    settings, ctx = load(), RunContext.from_dict(context)
    models = {name: TrainedModel.from_dict(model) for name, model in by_name(trained).items()}

    def work() -> dict[str, Any]:
        return evaluate_all(settings, definition(ctx), ctx, models).to_dict()

    return lookup.remember(settings, ctx, STEP, {"trained": trained}, work)
