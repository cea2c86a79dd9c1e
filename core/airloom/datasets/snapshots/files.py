"""What a home keeps of a snapshot, in `home/snapshots/<id>/`: `snapshot.json`, and a file of row numbers a split.

The record carries a SHA-256 of itself and of each file of row numbers: a flipped byte would choose other rows.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.contracts import Snapshot
from airloom.errors import CorruptFile, DataError
from airloom.files import file_sha256, read_json, write_private, writing
from airloom.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

RUNNING, READY, FAILED = "RUNNING", "READY", "FAILED"


def folder(settings: Settings, identity: str) -> Path:
    """Where a snapshot is kept.

    Raises:
        DataError: that is no id.
    """
    if len(identity) != 64 or not set(identity) <= set("0123456789abcdef"):
        raise DataError(f"{identity[:80]!r} is no id of a snapshot", "64 hexadecimal digits")
    return settings.home / "snapshots" / identity


def write_record(settings: Settings, snapshot: Snapshot, state: str, **more: Any) -> None:
    """Keep what is known of a snapshot."""
    values = {"state": state, "snapshot": snapshot.to_dict(), **more}
    text = json.dumps(values | {"sha256": _sum(values)}, indent=1)
    with writing(folder(settings, snapshot.id), "ask for the snapshot again"):
        write_private(folder(settings, snapshot.id) / "snapshot.json", text)


def read_record(settings: Settings, identity: str) -> dict[str, Any] | None:
    """What `write_record` wrote last; None where there is nothing.

    Raises:
        CorruptFile: the file is damaged.
    """
    path = folder(settings, identity) / "snapshot.json"
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        whole = values.pop("sha256") == _sum(values) and values["snapshot"]["id"] == identity
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise CorruptFile(f"{path} is damaged", "prepare the snapshot again, as it was asked for; its id is the same")
    return values


def read_request(settings: Settings, identity: str) -> Snapshot:
    """What `start` was asked for.

    Raises:
        CorruptFile: it is gone or damaged.
    """
    path, hint = folder(settings, identity) / "request.json", "ask for the snapshot again"
    values = read_json(path, hint)
    try:
        return Snapshot.from_dict(values or {})
    except TypeError as error:
        raise CorruptFile(f"{path} is damaged: {error}", hint) from None


def _sum(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def save_rows(settings: Settings, snapshot: Snapshot, chosen: "Mapping[str, Array]") -> dict[str, str]:
    """Keep the row numbers of each split; returns their SHA-256 by split."""
    import numpy as np

    digests = {}
    with writing(folder(settings, snapshot.id), "ask for the snapshot again"):
        settings.make_home()
        folder(settings, snapshot.id).mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, rows in chosen.items():
            path = rows_file(settings, snapshot.id, name)
            temporary = path.with_name(f".{uuid.uuid4().hex}.npy")
            try:
                np.save(temporary, rows)
                digests[name] = file_sha256(temporary)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
    return digests


def load_rows(settings: Settings, identity: str, split: str, digest: str) -> "Array":
    """The row numbers of a split, int64, ascending, mapped into memory.

    Args:
        settings: of this installation.
        identity: of the snapshot.
        split: its name.
        digest: SHA-256 that `save_rows` returned.

    Raises:
        CorruptFile: the file is damaged or gone.
    """
    import numpy as np

    path = rows_file(settings, identity, split)
    if not path.is_file() or file_sha256(path) != digest:
        raise CorruptFile(f"{path} is damaged or gone", f"remove {path.parent}, and prepare the snapshot again")
    rows: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return rows


def rows_file(settings: Settings, identity: str, split: str) -> Path:
    """Where the row numbers of a split are kept."""
    return folder(settings, identity) / f"rows-{hashlib.sha256(split.encode()).hexdigest()[:16]}.npy"
