"""Who holds a slot: an attempt of a job, or outside jobs (a notebook) a process of this machine."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from airloom import database
from airloom.errors import JobError, JobsAway
from airloom.jobs import processes
from airloom.jobs.launch_record import read_launch
from airloom.jobs.submit import host, settle
from airloom.jobs.table import Attempts
from airloom.settings import Settings
from airloom.tuning.slots import TAKEN, Slots

if TYPE_CHECKING:
    from airloom.tuning.trials import OptunaTrials

log = logging.getLogger(__name__)


def this_owner() -> str:
    """The name of this process as an owner."""
    if folder := os.environ.get(processes.MARK):
        return f"attempt:{read_launch(Path(folder)).id}"
    return f"process:{host()}:{os.getpid()}:{psutil.Process().create_time():.2f}"


def is_alive(settings: Settings, owner: str) -> bool:
    """Whether an owner may still work on what it holds.

    Of an attempt whose supervisor died, what is left is ended first, so that nobody works on a slot beside its next
    owner.
    """
    kind, _, name = owner.partition("#")[0].partition(":")
    if kind == "attempt":
        return _attempt_lives(settings, int(name))
    machine, pid, created = name.rsplit(":", 2)
    if machine != host():
        return True  # nobody here can tell
    try:
        process = psutil.Process(int(pid))
        return process.status() != psutil.STATUS_ZOMBIE and f"{process.create_time():.2f}" == created
    except psutil.NoSuchProcess:
        return False


def reap(settings: Settings, slots: Slots, study: str, trials: "OptunaTrials") -> None:
    """Give back the slots whose owners died, and close the rows that nobody works on.

    Args:
        settings: of this installation.
        slots: of the study.
        study: its name.
        trials: its rows in Optuna.
    """
    taken = slots.all(study, TAKEN)
    for slot in taken:
        if not is_alive(settings, slot.owner):
            log.warning("the worker of slot %d died at step %d", slot.slot, slot.step)
            slots.release(slot, "its worker died", fault=False, keep=True)
    trials.close_orphans({slot.slot: slot for slot in slots.all(study, TAKEN)})


def _attempt_lives(settings: Settings, identity: int) -> bool:
    def look() -> bool:
        table = Attempts(settings.database_address)
        attempt = settle(table, table.get(identity))
        return attempt is not None and attempt.alive

    try:
        return database.patiently(look)
    except JobsAway:
        raise
    except JobError:  # its row is gone
        return False
