"""The steps of a study as jobs: JSON in, JSON out."""

from pathlib import Path
from typing import Any

from airloom.contracts import RunContext
from airloom.pipeline.load import load_pipeline
from airloom.pipeline.spec import Pipeline
from airloom.settings import Settings, load


def work(context: dict[str, Any], worker: int) -> dict[str, Any]:
    """Be one of the study's workers; see `airloom.tuning.work`."""
    from airloom.tuning.work import work as work_on

    return work_on(*_open(context), worker)


def finish(context: dict[str, Any]) -> dict[str, Any]:
    """Check the study and sum it up; a `StudyResult` as a dict."""
    from airloom.tuning.finish import finish as finish_study

    return finish_study(*_open(context)).to_dict()


def _open(context: dict[str, Any]) -> tuple[Settings, Pipeline, RunContext]:
    ctx = RunContext.from_dict(context)
    return load(), load_pipeline(Path(ctx.pipeline_file)), ctx
