"""Whether a study may go on: its budget, and a second chance after a person cleared its workers."""

from airloom.jobs import context, files
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


def forgive_cleared(settings: Settings, slots: Slots, study: str) -> None:
    """A person who clears a failed worker means that the study shall go on: once for each clear.

    A retry of Airflow's has the state folder of the attempt before it, and with it the mark.
    """
    job = context.current()
    if job is None or job.rank:
        return
    mark = job.state / "worker.json"
    if mark.exists():
        return
    files.write(mark, {"study": study})
    identity = (files.read(job.folder / files.LAUNCH) or {})["id"]
    attempt = Attempts(settings.database_address).get(identity)
    if attempt.generation:
        slots.reopen(study, before=attempt.submitted)
