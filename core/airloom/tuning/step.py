"""The steps of a study as jobs: JSON in, JSON out."""

from pathlib import Path
from typing import Any

from airloom.contracts import RunContext
from airloom.settings import Settings, load
from airloom.spec.load import load_pipeline
from airloom.spec.pipeline import Pipeline


def work(context: dict[str, Any], worker: int) -> dict[str, Any]:
    """Be one of the study's workers; see `airloom.tuning.worker.worker`."""
    from airloom.tuning.worker.worker import work as work_on

    return work_on(*_open(context), worker)


def finish(context: dict[str, Any]) -> dict[str, Any]:
    """Check the study and sum it up; a `StudyResult` as a dict."""
    return finished_study(*_open(context))


def finished_study(settings: Settings, pipeline: Pipeline, ctx: RunContext) -> dict[str, Any]:
    """This run's study at its end, kept for later runs; or that of the earlier run whose study it takes."""
    from airloom.cache import keep, verdicts
    from airloom.project import watch
    from airloom.tuning.summary import finish as finish_study
    from airloom.tuning.trial_folders import study_folder

    if reused := verdicts.reused_study(settings, ctx):
        return reused.value
    read = watch.kept(study_folder(settings, ctx.key))  # its folder goes when it is summed up
    result = finish_study(settings, pipeline, ctx)
    keep.study(settings, pipeline, ctx, result, read)
    return result.to_dict()


def _open(context: dict[str, Any]) -> tuple[Settings, Pipeline, RunContext]:
    ctx = RunContext.from_dict(context)
    return load(), load_pipeline(Path(ctx.pipeline_file)), ctx
