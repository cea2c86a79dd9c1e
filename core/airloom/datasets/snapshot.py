"""Snapshots: a version and a split, fixed by a content id; what a training run reads."""

import hashlib
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from airloom.contracts import DatasetVersion, Snapshot
from airloom.datasets import versions
from airloom.datasets.read import read
from airloom.datasets.split import assign, canonical
from airloom.datasets.types import image_arrays
from airloom.errors import ConfigError, CorruptFile
from airloom.settings import Settings, write_private

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def prepare(settings: Settings, version: DatasetVersion, split: dict[str, float]) -> Snapshot:
    """Fix what a run reads; the same version and fractions always give the same id, in any order."""
    split = canonical(split)
    indices = assign(read(settings, version), split)
    outline = json.dumps({"version": version.id, "split": list(split.items())})
    snapshot = Snapshot(
        id=hashlib.sha256(outline.encode()).hexdigest(),
        dataset=version.dataset,
        version=version.number,
        version_id=version.id,
        commit=version.commit,
        split=split,
        rows={name: len(rows) for name, rows in indices.items()},
    )
    write_private(settings.home / "snapshots" / f"{snapshot.id}.json", json.dumps(snapshot.to_dict(), indent=1))
    return snapshot


def load_split(
    settings: Settings, snapshot: Snapshot, name: str
) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """Inputs, float32 (n, channels, height, width), and labels, int64 (n,), of one split.

    Raises:
        ConfigError: there is no such split.
        CorruptFile: what is stored under the version's name is not what the snapshot was made of.
    """
    if name not in snapshot.split:
        raise ConfigError(f"snapshot {snapshot.id[:12]} has no split {name!r}", f"it has {', '.join(snapshot.split)}")
    return image_arrays(rows(settings, snapshot, name))


def rows(settings: Settings, snapshot: Snapshot, name: str) -> "pa.Table":
    """The rows of one split as an Arrow table."""
    version = versions.get(settings, snapshot.dataset, snapshot.version)
    if version.id != snapshot.version_id:
        message = f"{version.name} has id {version.id[:12]}, the snapshot was made of {snapshot.version_id[:12]}"
        raise CorruptFile(message, "the data repository was changed by hand; restore it")
    table, indices = _table(str(settings.home), version, tuple(snapshot.split.items()))
    return table.take(indices[name])


@lru_cache(maxsize=2)
def _table(
    home: str, version: DatasetVersion, split: tuple[tuple[str, float], ...]
) -> "tuple[pa.Table, dict[str, Any]]":
    """A training asks for every split of one version: read and assign once."""
    from pathlib import Path

    table = read(Settings(home=Path(home)), version)
    return table, assign(table, dict(split))
