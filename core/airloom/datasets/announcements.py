"""Which dataset versions Airflow has not been told of yet: the tags above a kept cursor."""

from pathlib import Path
from typing import Any

from airloom.datasets.repository import git
from airloom.private import write_private
from airloom.settings import Settings


def pending(settings: Settings, dataset: str) -> list[dict[str, Any]]:
    """The versions above the cursor, oldest first: `{"dataset", "version", "commit"}`. Cheap: one git call."""
    if not settings.data_repo.is_dir():
        return []
    form = "%(refname:strip=2) %(objectname) %(*objectname)"
    listed = git(settings.data_repo, "for-each-ref", f"--format={form}", f"refs/tags/{dataset}@v*").stdout.splitlines()
    cursor, found = _cursor(settings, dataset), []
    for line in listed:
        name, *ids = line.split()
        number = name.rpartition("@v")[2]
        if number.isascii() and number.isdecimal() and int(number) > cursor:
            found.append({"dataset": dataset, "version": int(number), "commit": ids[-1]})
    return sorted(found, key=lambda version: version["version"])


def done(settings: Settings, dataset: str, version: int) -> None:
    """Move the cursor up to `version`."""
    write_private(_cursor_file(settings, dataset), str(max(version, _cursor(settings, dataset))))


def _cursor(settings: Settings, dataset: str) -> int:
    try:
        return int(_cursor_file(settings, dataset).read_text())
    except FileNotFoundError:
        return 0


def _cursor_file(settings: Settings, dataset: str) -> Path:
    return settings.home / "announced" / dataset
