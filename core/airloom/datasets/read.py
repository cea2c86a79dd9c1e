"""Read a version: shards memory-mapped from the shared cache, fetched and verified when needed."""

import hashlib
import shutil
import uuid
from functools import cache
from pathlib import Path

import pyarrow as pa

from airloom.contracts import DatasetVersion
from airloom.datasets.manifest import Shard
from airloom.datasets.repository import cached, stored
from airloom.datasets.versions import manifest_of
from airloom.errors import CorruptFile, DataError
from airloom.settings import Settings


def read(settings: Settings, version: DatasetVersion) -> pa.Table:
    """All rows of a version, in their order.

    Raises:
        DataError: a shard is neither in the cache nor in the remote.
        CorruptFile: a shard is damaged in both; the message names the file.
    """
    manifest = manifest_of(settings, version.dataset, version.number)
    return pa.concat_tables([shard_table(settings, shard) for shard in manifest.shards])


def shard_table(settings: Settings, shard: Shard) -> pa.Table:
    """One shard, mapped into memory after its digest was checked."""
    path = _verified(settings, shard)
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _verified(settings: Settings, shard: Shard) -> Path:
    path = cached(settings, shard.md5)
    if path.exists() and md5_of(path) == shard.md5:
        return path
    return _fetch(settings, shard.md5, path)


def md5_of(path: Path) -> str:
    """MD5 of a file's content."""
    return _md5(path, path.stat().st_mtime_ns)


@cache
def _md5(path: Path, _changed: int) -> str:
    """Checked once a process and change of the file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _fetch(settings: Settings, md5: str, path: Path) -> Path:
    """From the remote into the cache; a damaged copy never gets there."""
    origin = stored(settings, md5)
    if not origin.exists():
        raise DataError(f"shard {md5} is neither in {path.parent} nor in {origin.parent}", "restore the DVC remote")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    shutil.copyfile(origin, temporary)
    found = md5_of(temporary)
    if found != md5:
        temporary.unlink()
        raise CorruptFile(f"{origin} is damaged: its MD5 is {found}, not {md5}", "restore the DVC remote")
    temporary.chmod(0o444)
    temporary.replace(path)
    return path
