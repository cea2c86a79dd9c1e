"""A study without Airflow: its workers as jobs of this machine."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.contracts import RunContext, StudyResult, Verdict
from airloom.jobs import wait
from airloom.jobs.states import SUCCEEDED
from airloom.jobs.table import Attempts
from airloom.pipeline import steps
from airloom.settings import Settings
from airloom.spec.load import load_pipeline
from airloom.spec.pipeline import Pipeline
from airloom.tracking import runs
from airloom.tuning.slots import Slots

if TYPE_CHECKING:
    from airloom.cli.study_view import Show

LOSSES = 10  # times that one worker may be killed
Say = Callable[[str], None]


def tune(
    settings: Settings,
    file: Path,
    show: "Show",
    version: int | None = None,
    parameters: dict[str, Any] | None = None,
    key: str = "",
    *,
    cache: bool = True,
) -> StudyResult:
    """Run a pipeline's study from its beginning to its end; an earlier one's `key` goes on with that, or extends it.

    Without a key, and with `cache`, a finished study of an earlier run with the same inputs is the result.

    Raises:
        JobFailed: the study failed.
        ConfigError: the pipeline file, or what it asks for, is wrong.
    """
    pipeline = load_pipeline(file)
    key = key or f"{pipeline.pipeline}/local__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"
    context = steps.resolve(settings, file, key, version, parameters, cache=cache)
    show.say(f"study {key} on {context.snapshot.version_name}, MLflow run {context.mlflow_run}")
    verdict = Verdict.from_dict(context.studies[""]) if "" in context.studies else None
    for line in verdict.lines if verdict else []:
        show.say(line)
    if verdict and verdict.hit:
        result = StudyResult.from_dict(verdict.value)
    else:
        show.follow(key)
        run_workers(settings, pipeline, context, show.say)
        result = finish(settings, context, show.say)
    runs.client(settings).set_terminated(context.mlflow_run, "FINISHED")
    return result


def run_workers(settings: Settings, pipeline: Pipeline, context: RunContext, say: Say) -> list[dict[str, Any]]:
    """Run the study's workers until it is over; called again, they go on where it stands.

    Raises:
        JobFailed: the study failed, or a worker was killed too often and the others did not end it.
    """
    numbers = range(pipeline.tune.workers)
    generations = {number: _generation(settings, context, number) for number in numbers}

    def worker(number: int) -> dict[str, Any]:
        spec = steps.job_of(context, steps.WORKER, {"worker": number})
        key, generation = _key(context, number), generations[number]

        def tell(line: str) -> None:
            say(f"tune-{number}: {line}")

        return wait.run_job(settings, key, spec, on_line=tell, generation=generation, losses=LOSSES)

    with ThreadPoolExecutor(len(numbers)) as pool:
        running = [pool.submit(worker, number) for number in numbers]
        try:
            errors = [one.exception() for one in running]
        except BaseException:  # a person at a terminal means the workers too
            _cancel(settings, context, numbers)
            raise
    # One worker that was lost for good does no harm where the others did its share.
    if any(errors) and not Slots(settings.database_address).tally(context.key).over:
        raise next(error for error in errors if error)
    return [one.result() for one in running if not one.exception()]


def finish(settings: Settings, context: RunContext, say: Say) -> StudyResult:
    """Sum the study up, in a job: the figures need libraries that this process does not."""
    spec = steps.job_of(context, "airloom.tuning.step:finish", {}, light=True)
    key = f"{context.key}/study"
    newest = Attempts(settings.database_address).newest(key)
    generation = newest.generation + 1 if newest else 0  # it may have grown since
    value = wait.run_job(settings, key, spec, on_line=lambda line: say(f"study: {line}"), generation=generation)
    return StudyResult.from_dict(value)


def _cancel(settings: Settings, context: RunContext, numbers: range) -> None:
    table = Attempts(settings.database_address)
    for number in numbers:
        newest = table.newest(_key(context, number))
        if newest and newest.alive:
            table.change(newest.id, cancel="its submitter was interrupted")


def _key(context: RunContext, number: int) -> str:
    return f"{context.key}/tune-{number}"


def _generation(settings: Settings, context: RunContext, number: int) -> int:
    """A worker that has ended well begins anew where there is more to do since: the study was extended."""
    newest = Attempts(settings.database_address).newest(_key(context, number))
    if newest is None:
        return 0
    more = not Slots(settings.database_address).tally(context.key).over
    return newest.generation + (newest.state == SUCCEEDED and more)
