"""The training step as a job: JSON in, JSON out."""

from pathlib import Path
from typing import Any

from airloom.contracts import RunContext
from airloom.pipeline.load import load_pipeline
from airloom.settings import load


def train(context: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """Train with the study's best `parameters`; a `TrainedModel` as a dict."""
    from airloom.training import final

    ctx = RunContext.from_dict(context)
    return final.train(load(), load_pipeline(Path(ctx.pipeline_file)), ctx, parameters).to_dict()
