"""The DVC outputs of a version: how git names them, and their objects in the DVC remote."""

from collections.abc import Mapping

from airloom.datasets.storage.manifest import VersionManifest
from airloom.datasets.storage.store import Store


def dvc_files(store: Store, manifest: VersionManifest) -> dict[str, bytes]:
    """What git holds of a version: the manifest, and the two DVC outputs as `dvc add` would describe them."""
    shards = {shard.md5: shard for shard in manifest.shards}.values()  # rows committed twice share a file
    outputs = {
        "shards": {f"{shard.md5}.arrow": (shard.md5, shard.bytes) for shard in shards},
        "index": {f"{shard.md5}.arrow": (shard.index, shard.index_bytes) for shard in shards},
    }
    files = {"manifest.json": manifest.to_json().encode(), ".gitignore": b"/shards\n/index\n"}
    for name, entries in outputs.items():
        listing = store.listing({file: md5 for file, (md5, _) in entries.items()})
        size = sum(size for _, size in entries.values())
        lines = f"outs:\n- md5: {listing}\n  size: {size}\n  nfiles: {len(entries)}\n  hash: md5\n  path: {name}\n"
        files[f"{name}.dvc"] = lines.encode()
    return files


def listings(files: Mapping[str, bytes]) -> list[str]:
    """The objects that list the shards and the indices, by what git holds of a version."""
    return [
        line.split()[-1] for name in ("shards", "index") for line in files[f"{name}.dvc"].decode().splitlines()[1:2]
    ]


def push(
    store: Store, manifest: VersionManifest, head: VersionManifest | None, files: dict[str, bytes], pushed: set[str]
) -> None:
    """Bring into the DVC remote what the version before did not have.

    Args:
        store: of this home.
        manifest: of the new version.
        head: of the version before.
        files: what `dvc_files` returned for the manifest.
        pushed: names of objects that were pushed by an earlier try; those of this one are added.

    Raises:
        DataError: an object did not get there.
    """
    old = {name for shard in (head.shards if head else []) for name in (shard.md5, shard.index)} | pushed
    sizes = {shard.md5: shard.bytes for shard in manifest.shards}
    sizes |= {shard.index: shard.index_bytes for shard in manifest.shards}
    sizes = {name: size for name, size in sizes.items() if name not in old}
    names = listings(files)
    store.check_there(names)
    sizes |= {name: store.path(name).stat().st_size for name in names}
    store.push(sizes)
    pushed |= set(sizes)
