"""Evaluation and gate as jobs: JSON in, JSON out."""

from pathlib import Path
from typing import Any

from airloom.contracts import Evaluation, RunContext, TrainedModel
from airloom.settings import load
from airloom.spec.load import load_pipeline


def evaluate(context: dict[str, Any], trained: dict[str, Any]) -> dict[str, Any]:
    """Evaluate the trained candidate, or several by name; an `Evaluation` as a dict."""
    from airloom.cache import keep, manifest, verdicts
    from airloom.evaluation.evaluate import evaluate_all

    ctx = RunContext.from_dict(context)
    several = {"": trained} if "model_uri" in trained else trained
    models = {name: TrainedModel.from_dict(model) for name, model in several.items()}
    settings, pipeline = load(), load_pipeline(Path(ctx.pipeline_file))

    def reads() -> manifest.Manifest:
        return manifest.of_evaluation(settings, pipeline, ctx, several, verdicts.serving(settings, pipeline))

    before = reads()
    found = evaluate_all(settings, pipeline, ctx, models)
    keep.evaluation(settings, ctx, before, reads(), found)
    return found.to_dict()


def gate(context: dict[str, Any], evaluation: dict[str, Any]) -> dict[str, Any]:
    """Decide; a `Decision` as a dict."""
    from airloom.evaluation.gate.evidence import gate as run

    ctx = RunContext.from_dict(context)
    return run(load(), load_pipeline(Path(ctx.pipeline_file)), ctx, Evaluation.from_dict(evaluation)).to_dict()
