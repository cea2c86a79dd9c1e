"""The folder of a slot's present try: its journal and checkpoints. It outlives workers and their jobs."""

import shutil
from pathlib import Path

from airloom.jobs import files
from airloom.settings import Settings
from airloom.tuning.slots import Slot

JOURNAL, SENT = "metrics.jsonl", "metrics.sent"


def study_folder(settings: Settings, study: str) -> Path:
    """Where all slots of a study have theirs."""
    return settings.home / "studies" / files.key_folder(settings.home, study).name


def folder_of(settings: Settings, slot: Slot) -> Path:
    """The folder; new parameters have a new one."""
    folder = study_folder(settings, slot.study) / f"{slot.slot}-{slot.tries}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def remove(folder: Path) -> None:
    """Remove a folder: its trial is over, and MLflow has it."""
    shutil.rmtree(folder, ignore_errors=True)
