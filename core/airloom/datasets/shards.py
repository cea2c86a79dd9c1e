"""Write shards into the shared DVC cache, and make the DVC output that lists them."""

import hashlib
import json
import os
import uuid
from pathlib import Path

import pyarrow as pa

from airloom.datasets.manifest import Shard
from airloom.datasets.repository import cached
from airloom.settings import Settings


def write_shard(settings: Settings, table: pa.Table) -> Shard:
    """Write a table as one uncompressed Arrow IPC file, named by its MD5 (the name that DVC gives it)."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    data = sink.getvalue().to_pybytes()
    return Shard(_put(settings, data), table.num_rows, len(data))


def write_output(settings: Settings, folder: Path, shards: list[Shard]) -> str:
    """Make `folder/shards.dvc` an ordinary DVC directory output of these shards, without checking them out.

    Returns the name of the object that lists them.
    """
    files = {shard.md5: shard for shard in shards}  # rows committed twice share a file
    entries = sorted(({"md5": s.md5, "relpath": s.file} for s in files.values()), key=lambda entry: entry["relpath"])
    listing = json.dumps(entries, sort_keys=True).encode()
    md5 = _put(settings, listing, suffix=".dir")
    lines = [
        "outs:",
        f"- md5: {md5}.dir",
        f"  size: {sum(shard.bytes for shard in files.values())}",
        f"  nfiles: {len(files)}",
        "  hash: md5",
        "  path: shards",
    ]
    (folder / "shards.dvc").write_text("\n".join(lines) + "\n")
    (folder / ".gitignore").write_text("/shards\n")
    return f"{md5}.dir"


def _put(settings: Settings, data: bytes, suffix: str = "") -> str:
    """Store content under its MD5, read-only, at once or not at all; a damaged copy is replaced. Returns the MD5."""
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    path = cached(settings, md5 + suffix)
    if not (path.exists() and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o444)  # DVC takes a writable object for unprotected and hashes it again
        temporary.replace(path)
    return md5
