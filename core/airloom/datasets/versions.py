"""Look up versions. git is the only store: a tag `name@vN` and the manifest it points to."""

import difflib
import re
from typing import Any

from airloom.contracts import DatasetVersion
from airloom.datasets.manifest import Manifest
from airloom.datasets.repository import git
from airloom.errors import ConfigError, DataError
from airloom.settings import Settings

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def check_name(name: str) -> str:
    """A dataset's name, or a ConfigError that says which names there may be."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name[:80]!r} is no name of a dataset", "lower case letters, digits and _, at most 40")
    return name


def parse_name(text: str) -> tuple[str, int | None]:
    """`digits@v3` → ("digits", 3); `digits` → ("digits", None)."""
    name, at, number = text.partition("@v")
    if at and not (number.isascii() and number.isdecimal() and len(number) <= 9):
        raise ConfigError(f"{text[:80]!r} names no version", "the form is name@vN, for example digits@v3")
    return check_name(name), int(number) if at else None


def list_datasets(settings: Settings) -> list[str]:
    """Names of all datasets, sorted."""
    return sorted({name.rpartition("@v")[0] for name in _tags(settings, "*@v*")})


def list_versions(settings: Settings, dataset: str) -> list[DatasetVersion]:
    """All versions of a dataset, oldest first.

    Raises:
        DataError: there is no such dataset.
    """
    tags = _tags(settings, f"{check_name(dataset)}@v*")
    if not tags:
        known = list_datasets(settings)
        close = difflib.get_close_matches(dataset, known, 1)
        guess = f"did you mean {close[0]}? " if close else ""
        raise DataError(f"there is no dataset {dataset}", f"{guess}known: {', '.join(known) or 'none'}")
    numbers = sorted(int(tag.rpartition("@v")[2]) for tag in tags)
    return [get(settings, dataset, number) for number in numbers]


def latest(settings: Settings, dataset: str) -> DatasetVersion:
    """The newest version."""
    return list_versions(settings, dataset)[-1]


def get(settings: Settings, dataset: str, number: int) -> DatasetVersion:
    """One version.

    Raises:
        DataError: it does not exist; the message names the newest one.
    """
    tag = f"{check_name(dataset)}@v{number}"
    found = (
        git(settings.data_repo, "rev-parse", "-q", "--verify", f"refs/tags/{tag}^{{commit}}", check=False)
        if settings.data_repo.is_dir()
        else None
    )
    if found is None or found.returncode:
        newest = list_versions(settings, dataset)[-1]
        raise DataError(f"there is no version {tag}", f"the newest is {newest.name}")
    commit, manifest = found.stdout.strip(), manifest_of(settings, dataset, number)
    return DatasetVersion(
        dataset=dataset,
        number=number,
        id=manifest.id,
        commit=commit,
        rows=manifest.rows,
        message=manifest.message,
        author=manifest.author,
        created=manifest.created,
        report=manifest.report,
    )


def manifest_of(settings: Settings, dataset: str, number: int) -> Manifest:
    """The manifest that the tag points to."""
    spec = f"refs/tags/{dataset}@v{number}:{dataset}/manifest.json"
    return Manifest.from_json(git(settings.data_repo, "show", spec).stdout)


def log(settings: Settings, dataset: str) -> list[dict[str, Any]]:
    """The versions, newest first, as plain records."""
    return [version.to_dict() | {"name": version.name} for version in reversed(list_versions(settings, dataset))]


def _tags(settings: Settings, pattern: str) -> list[str]:
    if not settings.data_repo.is_dir():
        return []
    return git(settings.data_repo, "tag", "--list", pattern).stdout.split()
