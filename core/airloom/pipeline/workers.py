"""A study without Airflow: its workers as jobs of this machine."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airloom.contracts import RunContext, StudyResult
from airloom.jobs.states import SUCCEEDED
from airloom.jobs.table import Attempts
from airloom.jobs.wait import INTERRUPTED, run_job
from airloom.names import JobKey
from airloom.pipeline.steps import tune
from airloom.pipeline.steps.base import Step
from airloom.pipeline.steps.submit import LogLine, known_key, prefixed
from airloom.settings import Settings
from airloom.spec.load import definition
from airloom.tuning.slots import Slots

LOSSES = 10  # times that one worker may be killed


def run_study(
    settings: Settings, context: RunContext, log_line: LogLine, follow: Callable[[str], None] = lambda _: None
) -> StudyResult:
    """Run the study of a resolved pipeline run from its beginning to its end, or take the one that `resolve` found.

    Args:
        settings: of this installation.
        context: of the pipeline run, or of one of its candidates.
        log_line: gets each line of the workers' logs, and what the cache says.
        follow: gets the name of the study before its workers start, to show it.

    Raises:
        JobFailed: the study failed.
    """
    decision = tune.decided(settings, context)
    for line in decision.lines:
        log_line(line)
    if decision.hit:
        return StudyResult.from_dict(decision.value)
    follow(context.key)
    run_workers(settings, context, log_line)
    return _sum_up(settings, context, log_line)


def run_workers(settings: Settings, context: RunContext, log_line: LogLine) -> list[dict[str, Any]]:
    """Run the study's workers until it is over; called again, they go on where it stands.

    Returns:
        What each worker that ended well returned.

    Raises:
        JobFailed: the study failed, or a worker was killed too often and the others did not end it.
    """
    numbers = range(definition(context).study.workers)
    keys = [_known(settings, context, tune.STEP, number) for number in numbers]
    generations = [_generation(settings, context, key) for key in keys]

    def worker(number: int) -> dict[str, Any]:
        spec = tune.STEP.specification(context, {"worker": number})
        on_line = prefixed(log_line, f"{tune.STEP.name}-{number}")
        return run_job(settings, keys[number], spec, on_line=on_line, generation=generations[number], losses=LOSSES)

    with ThreadPoolExecutor(len(numbers)) as pool:
        running = [pool.submit(worker, number) for number in numbers]
        try:
            errors = [future.exception() for future in running]
        except BaseException:  # a person at a terminal means the workers too
            _stop(settings, keys)
            raise
    # One worker that was lost for good does no harm where the others did its share.
    if any(errors) and not Slots(settings.database_address).tally(context.key).over:
        raise next(error for error in errors if error)
    return [future.result() for future in running if not future.exception()]


def _sum_up(settings: Settings, context: RunContext, log_line: LogLine) -> StudyResult:
    """In a job: the figures need libraries that this process does not."""
    key = _known(settings, context, tune.SUMMARY)
    newest = Attempts(settings.database_address).newest(key)
    generation = newest.generation + 1 if newest else 0  # the study may have grown since
    spec = tune.SUMMARY.specification(context, {})
    on_line = prefixed(log_line, tune.SUMMARY.name)
    return StudyResult.from_dict(run_job(settings, key, spec, on_line=on_line, generation=generation))


def _stop(settings: Settings, keys: list[str]) -> None:
    """Have the workers save what their trials have, and end."""
    table = Attempts(settings.database_address)
    for key in keys:
        newest = table.newest(key)
        if newest and newest.alive:
            table.change(newest.id, stop=INTERRUPTED)


def _known(settings: Settings, context: RunContext, step: Step, number: int = -1) -> str:
    return known_key(settings, JobKey(context.key, step.name, number), context.candidate)


def _generation(settings: Settings, context: RunContext, key: str) -> int:
    """A worker that has ended well begins anew where there is more to do since: the study was extended."""
    newest = Attempts(settings.database_address).newest(key)
    if newest is None:
        return 0
    more = not Slots(settings.database_address).tally(context.key).over
    return newest.generation + (newest.state == SUCCEEDED and more)
