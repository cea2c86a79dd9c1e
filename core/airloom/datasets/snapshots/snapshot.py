"""Snapshots: which rows of a version a training reads, and how they are split. The id is a hash of what is asked for.

A snapshot is prepared once in a home and kept in `home/snapshots/<id>/`: `snapshot.json` with its state, and a file
of row numbers for each split. Anywhere else it is prepared again from its record, with the same rows.
"""

import hashlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from airloom.contracts import DatasetVersion, Snapshot
from airloom.datasets import versions
from airloom.datasets.snapshots import files
from airloom.datasets.snapshots.split import Published, canonical
from airloom.datasets.storage import rewritten
from airloom.errors import AirloomError, ConfigError, CorruptFile, DataAway, DataError
from airloom.files import write_private
from airloom.jobs.environment import OWN
from airloom.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from airloom.datasets.snapshots.data import SnapshotData
    from airloom.datasets.storage.manifest import VersionManifest

    Array = np.ndarray[Any, Any]

SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}
Split = Mapping[str, float] | Published | None
RUNNING, READY, FAILED = files.RUNNING, files.READY, files.FAILED
_log = logging.getLogger(__name__)


def split_of(values: Mapping[str, Any] | None) -> Split:
    """What the section `split` of a pipeline file means.

    Raises:
        ConfigError: the parts of a published split are no mapping.
    """
    if not values or not {"column", "tags"} & set(values):
        return values or None
    column = str(values.get("column") or "")
    parts = {name: names for name, names in values.items() if name != "column"} if column else values.get("tags")
    if not isinstance(parts, Mapping):
        raise ConfigError(f"the split {dict(values)} names no parts", '{"tags": {"train": […], "test": […]}}')
    return Published(column, {part: names for part, names in parts.items() if names is not None})


def ask(
    settings: Settings,
    version: DatasetVersion,
    split: Split = None,
    *,
    since: int = 0,
    tags: Sequence[str] = (),
    allow_redacted: bool = False,
) -> Snapshot:
    """The snapshot of a request, without its rows; the same request always gives the same id, in any order.

    Args:
        settings: of this installation.
        version: whose live rows are taken.
        split: share by name, or a published one; None: the dataset's own, else the usual shares.
        since: take only rows that came after this version.
        tags: take only rows of commits with all of these tags; `!tag`: of commits without it.
        allow_redacted: take what is left of a version whose rows were forgotten in part; its snapshots have other ids.

    Raises:
        ConfigError: the fractions do not sum to 1, the published split is none, or `since` is no earlier version.
        Redacted: rows of the version were forgotten, and what is left was not asked for.
    """
    if not 0 <= since < version.number:
        raise ConfigError(f"{version.name} has no rows since version {since}", f"since is 0 to {version.number - 1}")
    start = versions.get(settings, version.dataset, since).id if since else ""
    content = versions.check_whole(settings, version, allow_redacted=allow_redacted)
    if split is None:
        split = Published(version.split) if version.split else SHARES
    shares, by = (split.rule(version)) if isinstance(split, Published) else (canonical(split), "")
    chosen = sorted(set(tags))
    request = {"version": content, "since": start, "tags": chosen, "split": list(shares.items())}
    request |= {"by": by} if by else {}
    identity = hashlib.sha256(json.dumps(request).encode()).hexdigest()
    asked = Snapshot(identity, version.dataset, version.number, content, version.commit, shares, {}, since, chosen)
    return replace(asked, by=by)


def prepare(
    settings: Settings,
    version: DatasetVersion,
    split: Split = None,
    *,
    since: int = 0,
    tags: Sequence[str] = (),
    allow_redacted: bool = False,
) -> Snapshot:
    """Fix what a run reads, and wait until it is READY.

    Args:
        settings: of this installation.
        version: whose live rows are taken.
        split: share by name, or a published one; None: the dataset's own, else the usual shares.
        since: take only rows that came after this version.
        tags: take only rows of commits with all of these tags; `!tag`: of commits without it.
        allow_redacted: see `ask`.

    Raises:
        ConfigError: the request is none; see `ask`.
        Redacted: see `ask`.
        DataError: no row is chosen; see `make`.
    """
    return make(settings, ask(settings, version, split, since=since, tags=tags, allow_redacted=allow_redacted))


def start(settings: Settings, snapshot: Snapshot) -> str:
    """Prepare a snapshot, with its statistics, in a process of its own; returns the state."""
    known = _known(settings, snapshot)
    if known and known["state"] != FAILED:
        return str(known["state"])
    folder = files.folder(settings, snapshot.id)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(folder / "request.json", json.dumps(snapshot.to_dict()))
    with (folder / "log.txt").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "airloom.datasets.snapshots.snapshot", snapshot.id],
            env={n: v for n, v in os.environ.items() if n not in OWN} | settings.as_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    files.write_record(settings, snapshot, RUNNING, process=[child.pid, psutil.Process(child.pid).create_time()])
    return RUNNING


def make(settings: Settings, snapshot: Snapshot, *, describe: bool = False, anew: bool = False) -> Snapshot:
    """Choose the rows of each split and keep them. A READY snapshot is returned as it is, unless `anew`.

    Args:
        settings: of this installation.
        snapshot: as `ask` returned it.
        describe: also make the statistics of each split.
        anew: choose the rows again.

    Raises:
        DataError: no row is chosen, or what is stored does not answer.
        CorruptFile: what stands under the version's name is not what the snapshot was made of.
    """
    from airloom.datasets.snapshots.choose import choose
    from airloom.datasets.storage.store import Store

    known = None if anew else _known(settings, snapshot)
    if known and known["state"] == READY and ("statistics" in known or not describe):
        return Snapshot.from_dict(known["snapshot"])
    try:
        version = _version(settings, snapshot)
        storage = versions.storage(settings, version)
        manifest = versions.manifest_of(settings, version, storage)
        chosen, twice = choose(Store(settings), manifest, snapshot)
        ready = replace(snapshot, rows={name: len(rows) for name, rows in chosen.items()}, repeated=twice)
        facts = {"storage": storage, "rows": files.save_rows(settings, ready, chosen)}
        files.write_record(settings, ready, READY, **facts)
        if describe:
            data = open_snapshot(settings, ready)
            statistics = {name: data.statistics(name) for name in ready.split}
            files.write_record(settings, ready, READY, **facts, statistics=statistics)
    except AirloomError as error:
        files.write_record(settings, snapshot, FAILED, error=str(error))
        raise
    return ready


def check_whole(settings: Settings, snapshot: Snapshot) -> None:
    """Raise where rows of it may have been forgotten since.

    Raises:
        Redacted: rows of its version were, and it is none of what was left.
        DataError: the version is gone.
    """
    _version(settings, snapshot)


def _version(settings: Settings, snapshot: Snapshot) -> DatasetVersion:
    version = versions.get(settings, snapshot.dataset, snapshot.version)
    content = versions.check_whole(settings, version, allow_redacted=snapshot.version_id != version.id)
    if content != snapshot.version_id:
        versions.check_whole(settings, version)  # of what was left before another forgetting
        message = f"{version.name} has id {version.id[:12]}, the snapshot was made of {snapshot.version_id[:12]}"
        raise CorruptFile(message, "the data repository was changed by hand; restore it")
    return version


def record(settings: Settings, identity: str) -> dict[str, Any] | None:
    """What is known of a snapshot: `state`, `snapshot`, and `statistics` or `error`; None where it was never asked for.

    A preparation whose process died is FAILED.

    Raises:
        DataError: that is no id.
        CorruptFile: the record is damaged.
    """
    known = files.read_record(settings, identity)
    if known and known["state"] == RUNNING and not _alive(*known["process"]):
        known = files.read_record(settings, identity)  # it may have just ended
        if known and known["state"] == RUNNING:
            log = files.folder(settings, identity) / "log.txt"
            return known | {"state": FAILED, "error": f"its process ended without a result; see {log}"}
    return known


def _known(settings: Settings, snapshot: Snapshot) -> dict[str, Any] | None:
    """The record; None where it cannot be used, and so is made again of the version that is asked for.

    It is damaged, of a version with the same rows that was deleted since, or counts rows as before a forgetting.
    """
    try:
        known = record(settings, snapshot.id)
    except CorruptFile as error:
        _log.warning("%s; it is prepared again", error.message)
        return None
    storage = known.get("storage", "") if known else ""
    if storage and rewritten.resolve(settings.data_repo, storage) != storage:
        return None
    number = known["snapshot"]["version"] if known else snapshot.version
    if number != snapshot.version and str(number) in versions.deletions(settings.data_repo, snapshot.dataset):
        return None
    return known


def fetch(settings: Settings, identity: str, timeout: float = 600) -> Snapshot:
    """A snapshot by its id, as soon as it is READY.

    Raises:
        DataError: it is unknown here, FAILED, or not ready in time.
        CorruptFile: its record is damaged.
    """
    end = time.monotonic() + timeout
    while True:
        known = record(settings, identity)
        if known is None:
            raise DataError(f"there is no snapshot {identity[:80]}", "`airloom dataset snapshot NAME` prepares one")
        if known["state"] == READY:
            return Snapshot.from_dict(known["snapshot"])
        if known["state"] == FAILED:
            raise DataError(f"snapshot {identity[:12]} failed: {known['error']}", "ask for it again")
        if time.monotonic() > end:
            raise DataAway(f"snapshot {identity[:12]} is not ready after {timeout:g} s", "wait, or look at its log")
        time.sleep(0.1)


def open_anew(settings: Settings, snapshot: Snapshot) -> "SnapshotData":
    """The data of a snapshot, of which nothing is mapped yet; damaged row numbers are prepared again.

    Raises:
        CorruptFile: what stands under the version's name is not what the snapshot was made of.
    """
    from airloom.datasets.snapshots.data import SnapshotData

    ready = make(settings, replace(snapshot, rows={}))
    try:
        stored = _stored(settings, ready)
    except CorruptFile as error:
        _log.warning("%s; it is prepared again", error.message)
        stored = _stored(settings, make(settings, ready, anew=True))
    return SnapshotData(settings, ready, *stored)


def _stored(settings: Settings, snapshot: Snapshot) -> "tuple[VersionManifest, dict[str, Array]]":
    """The manifest in whose shards the row numbers count (a later compaction has others), and those by split."""
    known = record(settings, snapshot.id) or {}
    rows = {name: files.load_rows(settings, snapshot.id, name, known["rows"][name]) for name in snapshot.split}
    return versions.manifest_of(settings, _version(settings, snapshot), known["storage"]), rows


@lru_cache(maxsize=4)
def _opened(home: Path, data_remote: str, snapshot: str) -> "SnapshotData":
    return open_anew(Settings(home=home, data_remote=data_remote), Snapshot.from_dict(json.loads(snapshot)))


def open_snapshot(settings: Settings, snapshot: Snapshot) -> "SnapshotData":
    """The data of a snapshot; opened once a process."""
    return _opened(settings.home, settings.data_remote, json.dumps(snapshot.to_dict()))


def load_split(settings: Settings, snapshot: Snapshot, name: str) -> "tuple[Array, Array]":
    """A whole split in memory, as a classifier takes it.

    Returns:
        Inputs, float32 (n, …), bytes scaled to 0..1; labels, int64 (n,).

    Raises:
        ConfigError: there is no such split.
    """
    import numpy as np

    inputs, labels = (part.numpy() for part in open_snapshot(settings, snapshot).tensors(name))
    return (inputs / np.float32(255) if inputs.dtype == np.uint8 else inputs.astype(np.float32, copy=False)), labels


def _alive(pid: int, created: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - created) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def main(identity: str) -> int:
    """What `start` runs."""
    from airloom.settings import load

    settings = load()
    asked = files.read_request(settings, identity)
    make(settings, asked, describe=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
