"""Run a heavy step: take an earlier run's result, or submit its job and wait. For every `Step` alike."""

from collections.abc import Callable
from typing import Any

from airloom.cache import lookup
from airloom.contracts import CacheDecision, RunContext
from airloom.jobs.logs import for_people
from airloom.jobs.table import Attempts
from airloom.names import JobKey
from airloom.pipeline.steps.base import Arguments, Step
from airloom.settings import Settings

LogLine = Callable[[str], None]


def decide(
    settings: Settings, context: RunContext, step: Step, arguments: Arguments, key: JobKey, *, cleared: bool = False
) -> CacheDecision | None:
    """HIT or MISS of a step that is about to be submitted; a HIT's traces are left in this run.

    Args:
        settings: of this installation.
        context: of the pipeline run, or of one of its candidates.
        step: what is about to run.
        arguments: of the step.
        key: of its job.
        cleared: whether a person wants it anew.

    Returns:
        The decision; None where the step is never reused, or its job has begun and goes on.

    Raises:
        MlflowAway: MLflow does not answer.
    """
    if step.reads is None:
        return None
    if cleared:
        lookup.give_back(settings, context, step)
        return CacheDecision(step.name, False, [lookup.CLEARED])
    settings.make_home()
    if Attempts(settings.database_address).newest(known_key(settings, key, context.candidate)):
        return None
    if step.decided is not None:
        return step.decided(settings, context, arguments)
    decision = lookup.look_up(settings, context, step, arguments)
    if decision.hit:
        lookup.take(settings, context, step, decision)
    return decision


def prefixed(log_line: LogLine, name: str) -> LogLine:
    """Lines of a job's log for people, each with the name of its step; see `airloom.jobs.logs.for_people`."""

    def show(line: str) -> None:
        if shown := for_people(line):
            log_line(f"{name}: {shown}")

    return show


def known_key(settings: Settings, key: JobKey, candidate: str) -> str:
    """The key of a job; the one that an earlier release gave it where it has an attempt of that, and none of this."""
    text, former = str(key), key.former(candidate)
    if former == text:
        return text
    table = Attempts(settings.database_address)
    return former if table.newest(former) and not table.newest(text) else text


def run_step(
    settings: Settings, context: RunContext, step: Step, arguments: Arguments, log_line: LogLine
) -> dict[str, Any]:
    """Run one heavy step here and return its result, or an earlier run's.

    A step that already succeeded under this key gives its result again; a failed one makes its next attempt.

    Args:
        settings: of this installation.
        context: of the pipeline run, or of one of its candidates.
        step: what to run.
        arguments: of the step.
        log_line: gets each line of the job's log, and what the cache says.

    Raises:
        JobFailed: it failed.
        MlflowAway: MLflow does not answer.
    """
    from airloom.jobs.wait import run_job

    settings.make_home()
    key = step.key(context, arguments)
    decision = decide(settings, context, step, arguments, key)
    for line in decision.lines if decision else []:
        log_line(line)
    if decision and decision.hit:
        return decision.value
    known = known_key(settings, key, context.candidate)
    return run_job(settings, known, step.specification(context, arguments), on_line=log_line)
