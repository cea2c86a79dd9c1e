"""Airloom's side of storing: a full commit, an append of 1 %, one row fixed, a fetch into a fresh home."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import airloom.datasets.commit as commits
from airloom.contracts import DatasetVersion
from airloom.datasets import edit, versions
from airloom.datasets.ingest import Batches, from_batches
from airloom.datasets.snapshots import snapshot
from airloom.datasets.snapshots.snapshot import open_anew
from airloom.datasets.storage.schema import Layout
from airloom.datasets.storage.store import Store
from airloom.settings import Settings
from benchmarks._datasets import home
from benchmarks._datasets.data import Blobs, blobs
from benchmarks._datasets.measure import Cost, clock, timed

LAYOUT = Layout("generic", label="label")
CHUNK = 1 << 20
FETCH = """
from airloom.datasets import versions
from airloom.datasets.snapshots import snapshot
from airloom.settings import load
settings = load()
asked = snapshot.prepare(settings, versions.get(settings, "blobs", 1), {"train": 1.0})
snapshot.open_snapshot(settings, asked).fetch()
"""


@dataclass
class Parts:
    """What a commit cost: validation and push apart from the rest."""

    rest: Cost
    validation: Cost
    push: Cost


@dataclass
class Stored:
    """The costs of one round, and how many bytes it added to remote and git."""

    baseline: Cost
    full: Parts
    append: Parts
    append_ratio: float
    fix_bytes: int


def write_and_hash(folder: Path, data: Blobs) -> Cost:
    """The least that any store of content-addressed files does: write the bytes, and hash them once with MD5."""
    settle()
    view, target = memoryview(data.data), folder / "written"
    with clock() as cost:
        digest = hashlib.md5(usedforsecurity=False)
        with target.open("wb", buffering=0) as file:
            for start in range(0, len(view), CHUNK):
                file.write(view[start : start + CHUNK])
                digest.update(view[start : start + CHUNK])
        digest.hexdigest()
    target.unlink()
    return cost


def store(folder: Path, data: Blobs, more: Blobs) -> tuple[Settings, Stored]:
    """One round in a home of its own, in this warm process."""
    settings = home.make(folder)
    _commit(settings, "warm", blobs(10, seed=99))  # the remote is open, as in any process that committed before
    before = write_and_hash(folder, data)
    full, _ = _measured(settings, lambda: _commit(settings, "blobs", data))
    after = write_and_hash(folder, data)
    # On both sides, as a processor's speed may change within seconds.
    baseline = Cost((before.cpu + after.cpu) / 2, (before.wall + after.wall) / 2)
    append, grown = _measured(settings, lambda: _commit(settings, "blobs", more))
    fixed = blobs(1, seed=98)
    _, grown_by_fix = _measured(settings, lambda: _fix(settings, fixed))
    return settings, Stored(baseline, full, append, grown / more.bytes, grown_by_fix - fixed.bytes)


def fetch(folder: Path, origin: Settings) -> tuple[Settings, Cost]:
    """A fresh home that knows only the git remote, in a fresh process: prepare a snapshot, have all its shards."""
    settle()
    fresh = Settings(home=folder, data_remote=str(origin.data_repo))
    environment = os.environ | {"AIRLOOM_HOME": str(fresh.home), "AIRLOOM_DATA_REMOTE": fresh.data_remote}
    with clock() as cost:
        subprocess.run([sys.executable, "-c", FETCH], env=environment, check=True)
    return fresh, cost


def digests(settings: Settings) -> list[bytes]:
    """MD5 of each blob of the first version, read through the loader from this home."""
    asked = snapshot.prepare(settings, versions.get(settings, "blobs", 1), {"train": 1.0})
    loader = open_anew(settings, asked).loader("train", 256, views=True)
    return sorted(hashlib.md5(blob).digest() for inputs, _ in loader for blob in inputs["blob"])  # noqa: S324


def settle() -> None:
    """Nothing of what was done before waits to be written: that would cost the next one CPU."""
    os.sync()


def _measured(settings: Settings, work: Callable[[], object]) -> tuple[Parts, int]:
    settle()
    before = _bytes(settings)
    with (
        timed(commits, "validate") as validation,
        timed(edit, "validate") as again,
        timed(Store, "push") as push,
        clock() as whole,
    ):
        work()
    checked = validation + again
    return Parts(whole - checked - push, checked, push), _bytes(settings) - before


def _bytes(settings: Settings) -> int:
    """Of everything in the DVC remote and in git."""
    folders = (settings.dvc_remote_folder, settings.data_repo)
    return sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())


def _commit(settings: Settings, dataset: str, data: Blobs) -> DatasetVersion:
    return commits.commit(settings, dataset, _batches(data), message="made up")


def _fix(settings: Settings, data: Blobs) -> DatasetVersion:
    version = versions.latest(settings, "blobs")
    return edit.fix_rows(settings, version, [version.rows // 2], _batches(data), message="a better one")


def _batches(data: Blobs) -> Batches:
    return from_batches(data.batches(), LAYOUT)
