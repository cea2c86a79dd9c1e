"""Look up versions. git is the only store: an annotated tag `name@vN` says what a version is, its tree how it is kept.

A version's record is the last line of its tag, so that ten thousand of them are listed by two calls. Deletions stand in
`<dataset>/deleted.json` on main, what was forgotten in `<dataset>/redacted.json`. A compacted version has a second ref,
`refs/storage/<dataset>/v<N>`.
"""

import difflib
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.contracts import DatasetVersion
from airloom.datasets.redactions import FILE as REDACTED
from airloom.datasets.redactions import Redactions
from airloom.datasets.storage import repository, rewritten
from airloom.datasets.storage.git import objects
from airloom.errors import ConfigError, DataError, Redacted
from airloom.names import DATASET, DatasetName, dataset_version
from airloom.project_file import outside
from airloom.settings import Settings

if TYPE_CHECKING:
    from airloom.datasets.storage.manifest import VersionManifest


def check_name(name: str) -> str:
    """The name of a dataset, unchanged.

    Raises:
        ConfigError: it is none; the hint says which names there may be.
    """
    if not DATASET.fullmatch(name):
        raise ConfigError(f"{name[:80]!r} is no name of a dataset", "lower case letters, digits and _, at most 40")
    return name


def find(settings: Settings, text: str) -> DatasetVersion:
    """The version that `name@vN`, `name@tag` or `name` (the newest) means.

    Raises:
        DataError: there is no such version.
    """
    name = DatasetName.parse(text)
    if name.tag:
        return tagged(settings, name.dataset, name.tag)
    return get(settings, name.dataset, name.number) if name.number else latest(settings, name.dataset)


def list_datasets(settings: Settings) -> list[str]:
    """Names of all datasets that have a version, sorted."""
    if not _known(settings):
        return []
    repo = repository.refresh(settings)
    listed = repository.git(repo, "for-each-ref", "--format=%(refname:strip=2)", "refs/tags/*@v*").stdout.split()
    names = sorted({tag.rpartition("@v")[0] for tag in listed})
    return [name for name in names if _records(repo, name)]


def list_versions(settings: Settings, dataset: str) -> list[DatasetVersion]:
    """All versions of a dataset but the deleted ones, oldest first.

    Raises:
        DataError: there is no such dataset.
    """
    check_name(dataset)
    versions = _records(repository.refresh(settings), dataset) if _known(settings) else []
    if not versions:
        raise _unknown(settings, dataset)
    return versions


def list_after(settings: Settings, dataset: str, number: int) -> list[DatasetVersion]:
    """The versions with a higher number but the deleted ones, oldest first; empty where there are none."""
    versions = _records(repository.refresh(settings), check_name(dataset)) if _known(settings) else []
    return [version for version in versions if version.number > number]


def history(settings: Settings, dataset: str) -> list[tuple[DatasetVersion, bool]]:
    """Every version that there ever was, oldest first, and whether it was deleted since."""
    if not _known(settings):
        return []
    repo = repository.refresh(settings)
    gone, redacted = _since(repo, check_name(dataset))
    return [(_version(values, redacted), str(values["number"]) in gone) for values in _every(repo, dataset)]


def highest(settings: Settings, dataset: str) -> int:
    """The highest number that was ever given, deleted versions too; 0 before the first."""
    if not _known(settings):
        return 0
    pattern = f"refs/tags/{check_name(dataset)}@v*"
    listed = repository.git(repository.refresh(settings), "for-each-ref", "--format=%(refname)", pattern).stdout
    numbers = [tag.rpartition("@v")[2] for tag in listed.split()]
    return max((int(number) for number in numbers if number.isascii() and number.isdecimal()), default=0)


def is_given(repo: Path, dataset: str, number: int) -> bool:
    """Whether a version has or had this number."""
    ref = f"refs/tags/{dataset_version(dataset, number)}"
    return repository.git(repo, "rev-parse", "-q", "--verify", ref, check=False).returncode == 0


def _known(settings: Settings) -> bool:
    """Whether there is a data repository at all; looking must not make one."""
    return settings.data_repo.is_dir() or bool(settings.data_remote)


def _unknown(settings: Settings, dataset: str) -> DataError:
    known = list_datasets(settings)
    close = difflib.get_close_matches(dataset, known, 1)
    guess = f"did you mean {close[0]}? " if close else ""
    where = "" if known else outside(settings.project)
    return DataError(f"there is no dataset {dataset}", f"{where}{guess}known: {', '.join(known) or 'none'}")


def latest(settings: Settings, dataset: str) -> DatasetVersion:
    """The newest version; looked up on main, without a list of all.

    Raises:
        DataError: there is no such dataset, or its newest version has lost its tag.
    """
    check_name(dataset)
    if _known(settings):
        repo = repository.refresh(settings)
        manifest = repository.read_file(repo, "main", f"{dataset}/manifest.json")
        gone, number = deletions(repo, dataset), json.loads(manifest)["number"] if manifest else 0
        while str(number) in gone:
            number -= 1
        if number and (versions := _records(repo, dataset, f"v{number}")):
            return versions[0]
        if number:
            raise DataError(
                f"{repo} has lost the tag {dataset_version(dataset, number)}", "restore it from a copy or a clone"
            )
    raise _unknown(settings, dataset)


def get(settings: Settings, dataset: str, number: int) -> DatasetVersion:
    """One version.

    Raises:
        DataError: it does not exist, or was deleted; the message names the newest one.
    """
    repo = settings.data_repo
    versions = _records(repo, check_name(dataset), f"v{number}") if repo.is_dir() else []
    if not versions and settings.data_remote:
        versions = _records(repository.refresh(settings), dataset, f"v{number}")
    if versions:
        return versions[0]
    gone = deletions(repo, dataset).get(str(number)) if repo.is_dir() else None
    newest = latest(settings, dataset)
    if gone:
        why = f"{gone['who']} deleted {dataset_version(dataset, number)} on {gone['when']}: {gone['reason']}"
        raise DataError(why, f"the newest is {newest.name}")
    raise DataError(f"there is no version {dataset_version(dataset, number)}", f"the newest is {newest.name}")


def tagged(settings: Settings, dataset: str, label: str) -> DatasetVersion:
    """The version that a tag like `golden` names.

    Raises:
        DataError: there is no such tag.
    """
    repo = repository.refresh(settings)
    commit = repository.git(repo, "rev-parse", "-q", "--verify", f"refs/tags/{dataset}@{label}^{{commit}}", check=False)
    at = commit.stdout.strip()
    for version in list_versions(settings, dataset):
        if version.commit == at:
            return version
    known = repository.git(repo, "tag", "--list", f"{dataset}@*").stdout.split()
    tags = ", ".join(tag for tag in known if not re.search(r"@v\d+$", tag)) or "none"
    raise DataError(f"there is no tag {dataset}@{label}", f"tags of {dataset}: {tags}")


def log(settings: Settings, dataset: str) -> list[DatasetVersion]:
    """All versions of a dataset but the deleted ones, newest first.

    Raises:
        DataError: there is no such dataset.
    """
    return list_versions(settings, dataset)[::-1]


def storage(settings: Settings, version: DatasetVersion) -> str:
    """The commit that says how a version is stored: its own, or that of its last compaction."""
    return _compacted(settings.data_repo, version.dataset, version.number) or version.commit


def _compacted(repo: Path, dataset: str, number: int) -> str:
    ref = f"refs/storage/{dataset}/v{number}"
    return repository.git(repo, "rev-parse", "-q", "--verify", ref, check=False).stdout.strip()


def stored(repo: Path, dataset: str, number: int, commit: str = "") -> "VersionManifest":
    """How a version is stored, now or at one of its commits.

    Raises:
        DataError: there is no manifest of it.
    """
    from airloom.datasets.storage.manifest import VersionManifest

    name = dataset_version(dataset, number)
    at = commit or _compacted(repo, dataset, number) or f"refs/tags/{name}"
    text = repository.read_file(repo, at, f"{dataset}/manifest.json")
    if text is None and (now := rewritten.resolve(repo, commit)) != commit:  # looked up before a forgetting
        text = repository.read_file(repo, now, f"{dataset}/manifest.json")
    if text is None:
        raise DataError(f"{name} has no manifest in {at}", "restore the data repository")
    return VersionManifest.from_json(text)


def manifest_of(settings: Settings, version: DatasetVersion, commit: str = "") -> "VersionManifest":
    """How a version is stored, now or at one of its commits.

    Raises:
        DataError: the commit has no manifest of it.
    """
    return stored(settings.data_repo, version.dataset, version.number, commit or storage(settings, version))


def deletions(repo: Path, dataset: str) -> dict[str, dict[str, str]]:
    """What was deleted, by version number: who, when, reason."""
    text = repository.read_file(repo, "main", f"{dataset}/deleted.json")
    return dict(json.loads(text)) if text else {}


def redactions(repo: Path, dataset: str) -> Redactions:
    """The record of a dataset's forgettings."""
    return Redactions.from_json(repository.read_file(repo, "main", f"{dataset}/{REDACTED}"))


def check_whole(settings: Settings, version: DatasetVersion, *, allow_redacted: bool = False) -> str:
    """The id of what the version holds now: its own, or where that is allowed, of what a forgetting left of it.

    Raises:
        Redacted: rows of it were forgotten, and what is left was not asked for.
    """
    # A home that shares another's data may have been told of the version, and not have looked itself yet.
    repo = settings.data_repo if settings.data_repo.is_dir() else repository.refresh(settings)
    redaction = redactions(repo, version.dataset).versions.get(str(version.number))
    if redaction is None:
        return version.id
    if allow_redacted:
        return redaction.id
    why = f"{redaction.who} on {redaction.when}: {redaction.reason}"
    message = f"{version.name} is REDACTED: {redaction.rows} of its {version.rows} rows were forgotten ({why})"
    raise Redacted(message, "take a newer version; --allow-redacted (allow_redacted=True) reads what is left of it")


def record(manifest: "VersionManifest", commit: str) -> DatasetVersion:
    """What a manifest says of its version."""
    same = {f.name: getattr(manifest, f.name) for f in fields(DatasetVersion) if hasattr(manifest, f.name)}
    roles = {role: getattr(manifest.layout, role) for role in ("type", "label", "key", "split", "parts")}
    return DatasetVersion(**{**same, "commit": commit, **roles})


def note(manifest: "VersionManifest") -> str:
    """The message of a version's tag: a subject for people, the record for `list_versions`."""
    values = record(manifest, "").to_dict()
    del values["redacted"]  # which comes later, and which an earlier Airloom would not know
    return f"{manifest.name}: {manifest.message}\n\n{json.dumps(values)}\n"


def _records(repo: Path, dataset: str, which: str = "v*") -> list[DatasetVersion]:
    """The versions that were not deleted, oldest first; ten thousand take a fifth of a second."""
    records = _every(repo, dataset, which)
    gone, redacted = _since(repo, dataset) if records else ({}, Redactions())
    return [_version(values, redacted) for values in records if str(values["number"]) not in gone]


def _since(repo: Path, dataset: str) -> tuple[dict[str, dict[str, str]], Redactions]:
    """What became of versions after they were made: those that were deleted, and those with forgotten rows."""
    gone, redacted = repository.read_files(repo, "main", f"{dataset}/deleted.json", f"{dataset}/{REDACTED}")
    return dict(json.loads(gone)) if gone else {}, Redactions.from_json(redacted)


def _version(values: dict[str, Any], redacted: Redactions) -> DatasetVersion:
    redaction = redacted.versions.get(str(values["number"]))
    return DatasetVersion(**values | ({"redacted": redaction.rows} if redaction else {}))


def _every(repo: Path, dataset: str, which: str = "v*") -> list[dict[str, Any]]:
    """The records of all versions, oldest first; each is parsed while git reads the next one."""
    tags = repository.git(repo, "for-each-ref", "--format=%(objectname)", f"refs/tags/{dataset}@{which}").stdout.split()
    records = list[dict[str, Any]]()
    for name, tag in zip(tags, objects(repo, tags) if tags else (), strict=True):
        if tag is None:
            raise DataError(f"tag {name} of {dataset} is missing in {repo}", "`git fsck` there names what is lost")
        if tag.startswith(b"object "):  # else a tag without an object of its own, which is somebody's, not a version's
            text = tag.decode()
            entry = json.loads(text.rstrip("\n").rpartition("\n")[2])
            entry["commit"] = text[len("object ") : text.index("\n")]
            records.append(entry)
    return sorted(records, key=lambda values: values["number"])
