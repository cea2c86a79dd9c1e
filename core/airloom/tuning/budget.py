"""Whether a study may go on: its budget, and a second chance after a person cleared its workers."""

from airloom.jobs import context, files
from airloom.jobs.states import FAILED
from airloom.jobs.table import Attempts
from airloom.pipeline.tune import TuneSection
from airloom.settings import Settings
from airloom.tuning.slots import Slots, Tally


def over(tune: TuneSection, tally: Tally) -> str:
    """Which budget is used up, in words; empty for none."""
    asked = tune.budget
    if asked.time is not None and tally.seconds >= asked.time:
        return f"tune.budget.time: its {asked.time:g} s are over"
    if asked.device_seconds is not None and tally.device_seconds >= asked.device_seconds:
        return f"tune.budget.device_seconds: its {asked.device_seconds:g} s are over"
    return ""


def forgive(settings: Settings, slots: Slots, study: str) -> None:
    """A worker that failed with its study and is tried again, by a retry or a clear, gives the study another chance.

    So the failures that a study survives are those since then, and a mended training function goes on. A worker that
    was only killed forgives nothing.
    """
    job = context.current()
    if job is None or job.rank:
        return
    table = Attempts(settings.database_address)
    attempt = table.get((files.read(job.folder / files.LAUNCH) or {})["id"])
    if any(earlier.number == attempt.number - 1 and earlier.state == FAILED for earlier in table.of(attempt.key)):
        slots.reopen(study, before=attempt.submitted)
