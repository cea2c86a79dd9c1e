"""Batches that did not pass: kept with their report, apart from everything that training reads, until a person decides.

One folder a batch, `home/quarantine/<id>`: its shard files, `batch.json`, and the report. It appears by a rename and
disappears by one, so that no half-written batch is ever listed.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from airloom.datasets.ingest import Batches, from_batches
from airloom.datasets.storage.schema import Layout
from airloom.datasets.validation.validate import Report
from airloom.datasets.versions import check_name
from airloom.errors import ConfigError, CorruptFile, DataError
from airloom.files import file_sha256, write_private, writing
from airloom.settings import Settings

ID = re.compile(r"[a-z][a-z0-9_]{0,39}-[0-9a-f]{12}")
_log = logging.getLogger(__name__)
RECORD = "batch.json"
ABANDONED_S = 24 * 3600  # a folder under work that is older belongs to a process that was killed


@dataclass(frozen=True)
class Held:
    """A batch in quarantine. `files` are its shard files with their SHA-256, `request` is what the commit asked
    for, `page` and `json` are paths of the report."""

    id: str
    dataset: str
    created: str
    rows: int
    bytes: int
    failed: list[str]
    files: dict[str, str]
    request: dict[str, Any]
    page: str = ""
    json: str = ""


def keep(settings: Settings, dataset: str, files: Sequence[Path], request: dict[str, Any], report: Report) -> str:
    """Put a batch into quarantine; returns its id.

    Args:
        settings: of this installation.
        dataset: to which the batch was to go.
        files: its shard files (Arrow IPC) in order; linked where the file system can, else copied.
        request: what the commit asked for, as JSON; `layout` in it is the layout as a dict.
        report: why it did not pass; copied, so that the batch is complete by itself.

    Raises:
        ConfigError: no such name of a dataset.
        DataError: the disk does not take it.
    """
    identity = f"{check_name(dataset)}-{uuid.uuid4().hex[:12]}"
    Layout(**request["layout"])  # without it the batch could not be read again
    root = _root(settings)
    with writing(root, "the batch was neither committed nor kept"):
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(root)
        _keep(root, identity, dataset, files, request, report)
    return identity


def _keep(
    root: Path, identity: str, dataset: str, files: Sequence[Path], request: dict[str, Any], report: Report
) -> None:
    draft = root / f".keep-{uuid.uuid4().hex}"
    draft.mkdir(mode=0o700)
    try:
        shards = [_link(file, draft / f"{number:05d}.arrow") for number, file in enumerate(files)]
        shutil.copyfile(report.page, draft / "report.html")
        shutil.copyfile(report.json, draft / "report.json")
        replace(report, page=str(draft / "report.html")).name_subject(f"{dataset}, batch {identity} in quarantine")
        held = Held(
            id=identity,
            dataset=dataset,
            created=datetime.now(UTC).isoformat(timespec="milliseconds"),
            rows=sum(_rows(file) for file in shards),
            bytes=sum(file.stat().st_size for file in shards),
            failed=report.failed,
            files={file.name: _sha256(file) for file in shards},
            request=request,
        )
        values = asdict(held)
        write_private(draft / RECORD, json.dumps(values | {"sha256": _sum(values)}, indent=1))
        draft.rename(root / identity)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def list_batches(settings: Settings) -> list[Held]:
    """All batches in quarantine, oldest first; one with a damaged record is only named in the log."""
    batches = []
    for name in _names(settings):
        try:
            batches.append(show(settings, name))
        except CorruptFile as error:
            _log.warning("%s", error.message)
        except DataError:
            continue  # dropped meanwhile
    return sorted(batches, key=lambda held: (held.created, held.id))


def show(settings: Settings, identity: str) -> Held:
    """One batch.

    Raises:
        ConfigError: that is no id.
        DataError: there is no such batch.
        CorruptFile: its record is damaged.
    """
    folder = _folder(settings, identity)
    record = folder / RECORD
    try:
        values = json.loads(record.read_bytes())
        if values.pop("sha256") != _sum(values):
            raise ValueError("its digest is another")
        return Held(**values | {"page": str(folder / "report.html"), "json": str(folder / "report.json")})
    except FileNotFoundError:
        raise _absent(settings, identity) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptFile(f"{record} is damaged: {error!r}", f"`drop` {identity}, and commit the data again") from None


def drop(settings: Settings, identity: str) -> None:
    """Delete a batch, at once for all who list.

    Raises:
        ConfigError: that is no id.
        DataError: there is no such batch, or another was faster.
    """
    folder = _folder(settings, identity)
    gone = folder.with_name(f".drop-{uuid.uuid4().hex}")
    try:
        folder.rename(gone)
    except FileNotFoundError:
        raise _absent(settings, identity) from None
    shutil.rmtree(gone)


def open_batch(settings: Settings, identity: str) -> tuple[Batches, dict[str, Any]]:
    """The rows of a batch and what its commit asked for, to release it.

    Raises:
        ConfigError: that is no id.
        DataError: there is no such batch.
        CorruptFile: a file of it was changed.
    """
    held = show(settings, identity)
    folder = _folder(settings, identity)
    for name, digest in held.files.items():
        if _sha256(folder / name) != digest:
            raise CorruptFile(f"{folder / name} is not what was kept", f"`drop` {identity}, and commit the data again")
    layout = Layout(**held.request["layout"])
    files = [folder / name for name in held.files]
    with pa.memory_map(str(files[0])) as source:
        schema = pa.ipc.open_file(source).schema  # it is the stored one; the first rows alone might look narrower
    return from_batches(_batches(files), layout, schema, identity), held.request


def _batches(files: list[Path]) -> Iterator[pa.RecordBatch]:
    for file in files:
        with pa.memory_map(str(file)) as source:
            reader = pa.ipc.open_file(source)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)


def _root(settings: Settings) -> Path:
    return settings.home / "quarantine"


def _folder(settings: Settings, identity: str) -> Path:
    """Where a batch lies; an id is checked before it becomes part of a path."""
    if not ID.fullmatch(identity):
        raise ConfigError(f"{identity[:80]!a} is no id of a batch in quarantine", "ids look like digits-0123456789ab")
    return _root(settings) / identity


def _names(settings: Settings) -> list[str]:
    return sorted(path.name for path in _root(settings).glob("*") if ID.fullmatch(path.name))


def _absent(settings: Settings, identity: str) -> DataError:
    there = _names(settings)
    hint = f"there are {', '.join(there[:10])}" if there else "quarantine is empty"
    return DataError(f"there is no batch {identity} in quarantine", hint)


def _link(file: Path, target: Path) -> Path:
    try:
        os.link(file, target)
    except OSError:  # another file system
        shutil.copyfile(file, target)
    return target


def _rows(file: Path) -> int:
    with pa.memory_map(str(file)) as source:
        reader = pa.ipc.open_file(source)
        return sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))


def _sum(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _sha256(file: Path) -> str:
    try:
        return file_sha256(file)
    except FileNotFoundError:
        return "absent"


def _sweep(root: Path) -> None:
    """Remove what a killed process left half-written."""
    for left in root.glob(".*"):
        try:
            if time.time() - left.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:
            continue  # another process was faster
