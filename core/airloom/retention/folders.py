"""Folders of this home: of jobs with their checkpoints, of studies, of batch predictions, of the prediction log."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from airloom.jobs.files import STATE, is_locked, key_folder
from airloom.jobs.table import Attempts
from airloom.prediction.folder import PLACE
from airloom.retention.in_use import InUse, lives
from airloom.retention.items import Removal, Rules, below, newest, remove_folder, size_of
from airloom.settings import Settings
from airloom.tuning.slots import Slots

_DAY = re.compile(r"date=(\d{4}-\d{2}-\d{2})")
DAY = 86_400.0
YOUNG, OLD = "it is younger than the retention", "it is older than the retention"


def jobs(settings: Settings, rules: Rules, in_use: InUse) -> Iterator[Removal]:
    """The folder of each key: its checkpoints apart from specification, log and result."""
    for folder in below(settings.home / "jobs"):
        if folder.is_dir():
            yield from _job(settings, rules, in_use, folder)


def _job(settings: Settings, rules: Rules, in_use: InUse, folder: Path) -> Iterator[Removal]:
    why = lives(in_use, folder) or ("" if rules.is_old(newest(folder)) else YOUNG)
    states, name = [path for path in below(folder) if path.name.startswith(f"{STATE}-")], _name(settings, folder)
    saved = sum(size_of(path) for path in states)

    def take() -> str:
        if is_locked(folder):  # `airloom run` holds the folder of its run's key
            return "a run of this key is at work"
        if any(is_locked(attempt) for attempt in below(folder) if attempt.is_dir()):
            return "a job of this key has begun meanwhile"
        if any(attempt.path.is_relative_to(folder) for attempt in Attempts(settings.database_address).alive()):
            return "a job of this key has begun meanwhile"
        remove_folder(settings, folder)
        return ""

    for path in states:
        yield Removal("checkpoint", _name(settings, path), size_of(path), why or OLD, not why)  # goes with its folder
    yield Removal("job", name, size_of(folder) - saved, why or OLD, not why, take)


def studies(settings: Settings, rules: Rules, in_use: InUse) -> Iterator[Removal]:
    """Journals and checkpoints of trials that did not come to their end."""
    for folder in below(settings.home / "studies"):
        why = lives(in_use, folder) or ("" if rules.is_old(newest(folder)) else YOUNG)

        def take(folder: Path = folder) -> str:
            study = _study(settings, folder)
            living = [attempt.key for attempt in Attempts(settings.database_address).alive()]
            if study and any(key.startswith(f"{study}/") for key in living):
                return "a worker of the study has begun meanwhile"
            remove_folder(settings, folder)
            return ""

        yield Removal("checkpoint", _name(settings, folder), size_of(folder), why or OLD, not why, take)


def _study(settings: Settings, folder: Path) -> str:
    names = Slots(settings.database_address).names()
    return next((name for name in names if key_folder(settings.home, name).name == folder.name), "")


def answers(settings: Settings, rules: Rules) -> Iterator[Removal]:
    """Batch predictions; what was written or committed elsewhere stays, and asked again, the rows are answered anew."""
    for folder in below(settings.home / PLACE):
        why = "a batch prediction is at work" if is_locked(folder) else "" if rules.is_old(newest(folder)) else YOUNG

        def take(folder: Path = folder) -> str:
            if is_locked(folder):
                return "a batch prediction has begun meanwhile"
            remove_folder(settings, folder)
            return ""

        yield Removal("answers", _name(settings, folder), size_of(folder), why or OLD, not why, take)


def predictions(settings: Settings, rules: Rules) -> Iterator[Removal]:
    """The prediction log: a folder for each day, and the file that is being written."""
    for path in below(settings.home / "predictions"):
        day = _DAY.fullmatch(path.name)
        try:
            ended = _end_of(day[1]) if day else path.stat().st_mtime
        except (ValueError, FileNotFoundError):
            continue  # no day, or gone meanwhile
        known = bool(day) or path.suffix in (".jsonl", ".parquet")
        why = "" if known and rules.is_old(ended) else YOUNG if known else "it is no part of the log"
        if path.suffix == ".jsonl" and rules.now - ended < DAY:
            why = "the server may be writing to it"

        def take(path: Path = path) -> str:
            if path.is_dir():
                remove_folder(settings, path)
            elif rules.is_old(path.stat().st_mtime) and rules.now - path.stat().st_mtime > DAY:
                path.unlink(missing_ok=True)
            else:
                return "the server has written to it meanwhile"
            return ""

        yield Removal("predictions", _name(settings, path), size_of(path), why or OLD, not why, take)


def _end_of(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() + DAY


def _name(settings: Settings, path: Path) -> str:
    return str(path.relative_to(settings.home))
