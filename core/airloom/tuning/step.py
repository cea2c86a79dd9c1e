"""The steps of a study as jobs: JSON in, JSON out."""

from pathlib import Path
from typing import Any

from airloom import tuning
from airloom.contracts import RunContext
from airloom.pipeline.load import load_pipeline
from airloom.pipeline.spec import Pipeline
from airloom.settings import Settings, load


def create(context: dict[str, Any]) -> dict[str, Any]:
    """Create the study: `study` and `workers`, the numbers to call `work` with."""
    settings, pipeline, ctx = _open(context)
    return {"study": tuning.create(settings, pipeline, ctx), "workers": list(range(pipeline.tune.workers))}


def work(context: dict[str, Any], worker: int) -> dict[str, Any]:
    """Run one worker's share of the trials."""
    settings, pipeline, ctx = _open(context)
    return tuning.work(settings, pipeline, ctx, worker)


def finish(context: dict[str, Any]) -> dict[str, Any]:
    """Check the study; a `StudyResult` as a dict."""
    settings, pipeline, ctx = _open(context)
    return tuning.finish(settings, pipeline, ctx).to_dict()


def _open(context: dict[str, Any]) -> tuple[Settings, Pipeline, RunContext]:
    ctx = RunContext.from_dict(context)
    return load(), load_pipeline(Path(ctx.pipeline_file)), ctx
