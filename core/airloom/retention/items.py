"""What a collection looked at: each thing with its size, whether it goes, and why."""

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airloom.contracts import Record
from airloom.settings import Settings

TRASH = "trash"


@dataclass(frozen=True)
class Rules(Record):
    """What is old.

    Attributes:
        now: seconds since 1970.
        older_than: seconds; what was used since is kept.
        grace: seconds; an object that is younger may belong to a commit that is under way.
    """

    now: float
    older_than: float
    grace: float

    def is_old(self, moment: float) -> bool:
        """Whether the retention is over."""
        return self.now - moment > self.older_than


@dataclass(frozen=True)
class Removal:
    """One thing that was looked at: to be removed, or kept.

    Attributes:
        kind: shard, job, checkpoint, model, answers, predictions.
        name: for people: a path from the home, or the address of a model.
        bytes: its size.
        why: the reason to keep or to remove it.
        goes: whether it goes.
        take: removes it, if it still may go; returns why not, else nothing.
    """

    kind: str
    name: str
    bytes: int
    why: str
    goes: bool = False
    take: Callable[[], str] = field(default=lambda: "", compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Without what removes it."""
        return {"kind": self.kind, "name": self.name, "bytes": self.bytes, "why": self.why, "removed": self.goes}


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; what vanishes meanwhile is nothing."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(Path(folder, name)).st_size
            except FileNotFoundError:
                continue
    return total


def newest(path: Path) -> float:
    """When something in a folder was last written, seconds since 1970; 0 where it is gone."""
    times = [0.0]
    for folder, _, names in os.walk(path):
        for place in [Path(folder), *(Path(folder, name) for name in names)]:
            try:
                times.append(os.lstat(place).st_mtime)
            except FileNotFoundError:
                continue
    return max(times)


def remove_folder(settings: Settings, folder: Path) -> None:
    """Away at once, by a rename; then its content. A process that dies in between leaves it in the trash.

    On a disk that is full there may be no room for the trash: then its content goes where it is.
    """
    target = settings.home / TRASH / uuid.uuid4().hex
    try:
        target.parent.mkdir(exist_ok=True, mode=0o700)
        folder.rename(target)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        target = folder
    shutil.rmtree(target, ignore_errors=True)


def empty_trash(settings: Settings) -> None:
    """Finish what an earlier collection had begun."""
    shutil.rmtree(settings.home / TRASH, ignore_errors=True)


def below(folder: Path) -> Iterator[Path]:
    """The entries of a folder, by name; none where it is not there."""
    return iter(sorted(folder.iterdir()) if folder.is_dir() else [])
