"""Many small files of the prediction log become one, so that a day of few requests is not thousands of files."""

import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from airloom.files import sync
from airloom.monitoring.prediction_log import MERGED, file_name, span
from airloom.monitoring.segment_lock import replacing_files

FILES = 64  # that become one
BYTES = 16 * 2**20  # of all of them at most
SMALL = BYTES // 4  # a file that is larger stays as it is
YOUNG = 60.0  # seconds that a file is left alone: somebody may follow the log
WHOLE, REPLACES = ".whole-", b"airloom.replaces"


class Merger:
    """Remembers the small files of this process, and merges those of one day when they are enough.

    Readers of ours never see a row twice, nor miss one: they share a lock, and the merger waits until none reads. The
    new file is whole under a hidden name before the old ones go, and says which they are: after a kill in between
    `finish` does the rest.
    """

    def __init__(self) -> None:
        self._small: list[tuple[Path, int]] = []  # with their bytes

    def add(self, files: list[Path]) -> None:
        """Remember files that were written."""
        sizes = [(path, path.stat().st_size) for path in files]
        self._small += [(path, size) for path, size in sizes if size <= SMALL]

    def merge(self, folder: Path, how: Mapping[str, Any]) -> bool:
        """Merge what is enough, if anything is; whether it did.

        Args:
            folder: of the log.
            how: options of the file.
        """
        group, size = list[Path](), 0
        for path, length in self._small:
            if group and (path.parent != group[0].parent or size + length > BYTES or len(group) == FILES):
                break
            group.append(path)
            size += length
        # The next one may be of another day, or too large to go with them.
        complete = len(group) == FILES or len(group) < len(self._small)
        if not group or not complete or time.time() - _changed(group[-1]) < YOUNG:
            return False
        if len(group) > 1 and not _merged(folder, group, how):  # somebody reads: later
            return False
        self._small = self._small[len(group) :]
        return True


def finish(folder: Path, wait: bool = False) -> None:
    """Do the rest of what a kill interrupted.

    Args:
        folder: of the log.
        wait: for those who read; else nothing is done where somebody does.
    """
    with replacing_files(folder, wait) as alone:
        for path in sorted(folder.glob(f"date=*/{WHOLE}*")) if alone else ():
            _replace(path, json.loads(pq.read_schema(path).metadata[REPLACES]))


def _merged(folder: Path, group: list[Path], how: Mapping[str, Any]) -> bool:
    known = {path: identity for path in group if (identity := _identity(path))}  # others were collected
    if not known:
        return True
    tables, names = [pq.ParquetFile(path).read() for path in known], [path.name for path in known]
    ends = [ends for ends in map(span, names) if ends]
    unique = uuid.uuid4().hex[:12]
    name = file_name(min(first for first, _ in ends), max(last for _, last in ends), f"{MERGED}{unique}")
    table = pa.concat_tables(tables).sort_by("id")
    table = table.replace_schema_metadata({**table.schema.metadata, REPLACES: json.dumps(names).encode()})
    hidden = group[0].parent / f".{unique}"
    try:
        pq.write_table(table, hidden, **how)
        sync(hidden)
        with replacing_files(folder, wait=False) as alone:
            if not alone or any(_identity(path) != identity for path, identity in known.items()):
                return False  # somebody reads, or a row was forgotten meanwhile
            _replace(hidden.rename(hidden.with_name(f"{WHOLE}{name}")), names)
    finally:
        hidden.unlink(missing_ok=True)
    return True


def _replace(whole: Path, names: list[str]) -> None:
    for name in names:
        (whole.parent / name).unlink(missing_ok=True)
    whole.rename(whole.with_name(whole.name.removeprefix(WHOLE)))
    sync(whole.parent)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
