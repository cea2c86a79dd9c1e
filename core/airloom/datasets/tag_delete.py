"""Name and delete versions. Both are recorded in git; deleted data stay until they are collected."""

import json
from datetime import UTC, datetime

from airloom.contracts import DatasetVersion
from airloom.datasets import commit as commits
from airloom.datasets import versions
from airloom.datasets.race import Race
from airloom.datasets.storage import repository
from airloom.errors import ConfigError
from airloom.names import TAG, DatasetName
from airloom.settings import Settings


def tag(settings: Settings, version: DatasetVersion, label: str, *, move: bool = False) -> str:
    """Give a version a name of its own, `digits@golden`; a git tag that `dvc get --rev` takes too.

    Args:
        settings: of this installation.
        version: which one.
        label: the name.
        move: take it from another version.

    Raises:
        ConfigError: the label is none, or another version has it and `move` is not set.
    """
    if not TAG.fullmatch(label):
        raise ConfigError(f"{label[:80]!r} is no tag", "lower case letters, digits and ._-, at most 64, not vN")
    ref = f"refs/tags/{version.dataset}@{label}"
    if not repository.publish_ref(settings, ref, version.commit, force=move):
        raise ConfigError(f"{version.dataset}@{label} names another version", "--move points it to this one")
    return f"{version.dataset}@{label}"


def delete(settings: Settings, name: str, *, reason: str, author: str | None = None) -> list[DatasetVersion]:
    """Delete one version (`digits@v3`) or all of a dataset (`digits`): nothing lists or reads them any more.

    Args:
        settings: of this installation.
        name: of the version or the dataset.
        reason: why; it is recorded.
        author: who says so; None for who calls.

    Raises:
        ConfigError: no reason is given.
        DataError: there is no such version.
    """
    if not reason.strip():
        raise ConfigError("a deletion needs a reason", "say why with --reason")
    details = commits.Details.of(settings, reason, author)
    details.check()
    named = DatasetName.parse(name)
    dataset, whole = named.dataset, not (named.number or named.tag)
    gone = versions.list_versions(settings, dataset) if whole else [versions.find(settings, name)]
    repo, race = repository.refresh(settings), Race(settings, f"{name} was not deleted")
    while True:
        parent, when = repository.head(repo), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        entry = {"who": details.author, "when": when}
        known = versions.deletions(repo, dataset)
        known |= {str(version.number): entry | {"reason": reason} for version in gone}
        files = {f"{dataset}/deleted.json": (json.dumps(known, indent=1) + "\n").encode()}
        message = f"Delete {name}: {' '.join(reason.split())[:200]}\n"
        change = repository.Change(files, message, details.author, mail=details.mail)
        try:
            repository.publish(settings, change, parent)
        except repository.NotFirst as refused:
            race.lost(parent, refused)
            continue
        return gone
