"""Find rows of a version by their inputs, at the cost of what is looked for and not of all that is there.

Of each shard this home keeps the inputs and anchors of its index sorted by input, in `home/data/lookup/<dataset>/`. The
file is made when the shard is first looked into, read where a binary search leads, and may be removed at any time.
"""

import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from airloom.datasets.storage.index import SHORT, voids
from airloom.datasets.storage.manifest import Shard
from airloom.datasets.storage.rows import VersionRows
from airloom.settings import Settings

Array = np.ndarray[Any, Any]
_FIRST = 8  # bytes of an input that are searched; then those of each row: its input, its anchor, its place
_REST = np.dtype([("input", f"V{SHORT}"), ("anchor", f"V{SHORT}"), ("place", "<u4")])


class Found(NamedTuple):
    """The first live row with each of the inputs that were looked for; int64 (n,), -1 where there is none."""

    shard: Array  # its number in the manifest
    place: Array  # in that shard
    anchor: Array  # uint8 (n, 16), zeros where there is none


def find(settings: Settings, rows: VersionRows, inputs: Array) -> Found:
    """Look for rows with these inputs, uint8 (n, 16)."""
    found = Found(np.full(len(inputs), -1), np.full(len(inputs), -1), np.zeros((len(inputs), SHORT), np.uint8))
    folder = settings.home / "data" / "lookup" / rows.manifest.dataset
    first = _first(inputs)
    for number, shard in enumerate(rows.manifest.shards):
        missing = np.flatnonzero(found.shard < 0)
        if not len(missing):
            break
        firsts, rest = _open(folder, rows, shard)
        low, high = (np.searchsorted(firsts, first[missing], side) for side in ("left", "right"))
        dead = shard.tombstones
        for at in np.flatnonzero(low < high).tolist():
            row, wanted = missing[at], inputs[missing[at]].tobytes()
            for entry in rest[low[at] : high[at]]:
                if entry["input"].tobytes() == wanted and not dead[entry["place"]]:
                    found.shard[row], found.place[row] = number, entry["place"]
                    found.anchor[row] = np.frombuffer(entry["anchor"].tobytes(), np.uint8)
                    break
    _tidy(folder, {shard.index for shard in rows.manifest.shards})
    return found


def _first(inputs: Array) -> Array:
    return np.ascontiguousarray(inputs[:, :_FIRST]).view("<u8").reshape(-1)


def _open(folder: Path, rows: VersionRows, shard: Shard) -> tuple[Array, Array]:
    path, size = folder / shard.index, shard.rows * (_FIRST + _REST.itemsize)
    if not path.exists() or path.stat().st_size != size:
        firsts, rest = _sorted(rows, shard)
        with suppress(OSError):  # a full disk keeps no file, and stops no commit
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft = folder / f"{uuid.uuid4().hex}.new"
            draft.write_bytes(firsts.tobytes() + rest.tobytes())
            draft.replace(path)
        return firsts, rest
    firsts = np.memmap(path, "<u8", "r", 0, (shard.rows,))
    return firsts, np.memmap(path, _REST, "r", shard.rows * _FIRST, (shard.rows,))


def _sorted(rows: VersionRows, shard: Shard) -> tuple[Array, Array]:
    index = rows.index(shard)
    firsts = _first(index.input)
    order = np.argsort(firsts, kind="stable")  # of equal inputs the first row comes first
    rest = np.empty(len(order), _REST)
    for name in ("input", "anchor"):
        rest[name] = voids(getattr(index, name)[order])
    rest["place"] = order
    return firsts[order], rest


def _tidy(folder: Path, needed: set[str]) -> None:
    """Remove the files of shards that the version no longer has."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name not in needed and not path.name.endswith(".new"):
                path.unlink()
