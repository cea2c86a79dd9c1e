"""A split of a snapshot as a folder that needs no Airloom: Arrow files, and which of their rows are the split's.

Nothing is copied. The folder holds links to the cache and to the row numbers. They are relative, so that they hold
where the state folder is moved, and keep no object alive.
"""

import os
import shutil
import uuid
from pathlib import Path

from airloom.contracts import Snapshot
from airloom.datasets.snapshots import files, snapshot
from airloom.datasets.storage.store import Store
from airloom.files import writing
from airloom.settings import Settings

HOW = """\
The rows of split {split} of {version}, snapshot {id}.
`shards` holds the version's Arrow files, `rows.npy` the numbers of this split's rows in all of them, in their order:

    import numpy, pyarrow.dataset
    shards = pyarrow.dataset.dataset("shards", format="arrow").to_table()
    table = shards.take(numpy.load("rows.npy"))

The files also hold the rows of other splits, and rows that were deleted since they were written. They are links:
`cp -rL` copies them. Where one leads nowhere, `airloom dataset fetch {id} --data` brings it back.
"""


def folder_of(settings: Settings, asked: Snapshot, split: str) -> Path:
    """Where a split's folder is; it carries the split's name where that can be one of a folder."""
    plain = split.isascii() and split.replace("-", "").replace("_", "").isalnum() and len(split) <= 64
    name = split if plain else files.rows_file(settings, asked.id, split).stem
    return files.folder(settings, asked.id) / "splits" / name


def lay_out(settings: Settings, asked: Snapshot, split: str) -> Path:
    """Make the folder of a split, or make it anew; returns its path.

    Args:
        settings: of this installation.
        asked: the snapshot; it is prepared where it is not.
        split: its name.

    Raises:
        DataError: what is stored does not answer, or the disk does not take it.
    """
    manifest = snapshot.open_snapshot(settings, asked).manifest
    store, target = Store(settings), folder_of(settings, asked, split)
    links = {f"shards/{number:06d}.arrow": store.path(shard.md5) for number, shard in enumerate(manifest.shards)}
    links["rows.npy"] = files.rows_file(settings, asked.id, split)
    # They are relative to the draft, which is renamed within its own folder: that changes nothing for them.
    draft = target.with_name(f".{uuid.uuid4().hex}")
    relative = {name: os.path.relpath(to, (draft / name).parent) for name, to in links.items()}
    with writing(target.parent):
        if _links(target) == relative:
            return target
        try:
            (draft / "shards").mkdir(parents=True, mode=0o700)
            for name, to in relative.items():
                (draft / name).symlink_to(to)
            (draft / "README.txt").write_text(HOW.format(split=split, version=asked.version_name, id=asked.id))
            shutil.rmtree(target, ignore_errors=True)
            draft.rename(target)
        except OSError:
            if _links(target) != relative:  # else another process was faster
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return target


def _links(folder: Path) -> dict[str, str]:
    links = (path for path in folder.rglob("*") if path.is_symlink())
    return {path.relative_to(folder).as_posix(): str(path.readlink()) for path in links}
