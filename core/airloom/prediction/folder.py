"""What a batch prediction has answered so far: `predicted/<id>/` in the state folder.

request.json     what was asked
plan.json        how many rows each part has, as the first attempt planned it
parts/           part-000000.parquet, …: each at once or not at all
journal.jsonl    a line for each part that is on the disk, with its digest; a part without one is made again
delivered.json   where the answers were brought
done.json        the result, once all parts are there and MLflow knows of it
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.contracts import Record
from airloom.errors import CorruptFile
from airloom.files import file_sha256, read_json, replacing, sync, write_private, writing
from airloom.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

PLACE = "predicted"
WAIT = 0.2  # seconds between two looks whether another process has ended
_AGAIN = "remove the folder, and predict again"
_KEPT = "what is answered is kept: the same command goes on"


@dataclass(frozen=True)
class Part(Record):
    """A part that is on the disk."""

    part: int
    rows: int
    sha256: str
    seconds: float


class Folder:
    """The files of one batch prediction. Whoever writes holds `alone`."""

    def __init__(self, settings: Settings, identity: str) -> None:
        self.path = settings.home / PLACE / identity
        self.parts = self.path / "parts"

    @contextmanager
    def alone(self, wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Be the only process that works on it; `wait` is called once where another one does."""
        with writing(self.path):
            self.parts.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            told = False
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not told:
                        wait()
                    told = True
                    time.sleep(WAIT)
            yield
        finally:
            os.close(lock)

    def remove(self) -> None:
        """Forget every answer: what is asked next begins anew."""
        with self.alone():
            shutil.rmtree(self.path, ignore_errors=True)

    def plan(self) -> list[int] | None:
        """How many rows each part has; None where nothing is planned yet."""
        values = self._read("plan.json")
        return [int(rows) for rows in values["parts"]] if values else None

    def keep(self, name: str, values: dict[str, Any]) -> None:
        """Write one of the JSON files.

        Raises:
            DataAway: the disk does not take it.
        """
        with writing(self.path, _KEPT):
            write_private(self.path / name, json.dumps(values))

    def done(self) -> dict[str, Any] | None:
        """The result of a whole one, whose parts are on the disk as they were written; else None."""
        done, plan = self._read("done.json"), self.plan()
        return done if done and plan is not None and len(self.finished()) == len(plan) else None

    def delivered(self) -> dict[str, Any]:
        """The digest of each file, by path, and each dataset version that the answers were brought to."""
        return self._read("delivered.json") or {}

    def file(self, part: int) -> Path:
        """The file of a part."""
        return self.parts / f"part-{part:06d}.parquet"

    def finished(self) -> dict[int, Part]:
        """The parts that are on the disk as they were written, by number; a file that is another by now is none."""
        return {number: part for number, part in self.journal().items() if self._is_whole(part)}

    def journal(self) -> dict[int, Part]:
        """What the journal says of each part; a line that a kill left unfinished is none."""
        journal = self.path / "journal.jsonl"
        lines = journal.read_bytes().splitlines(keepends=True) if journal.is_file() else []
        return {part.part: part for line in lines if (part := _parse(line))}

    def add(self, number: int, table: "pa.Table", seconds: float) -> Part:
        """Write a part, and then say in the journal that it is there.

        Args:
            number: of the part.
            table: its rows.
            seconds: that they took.

        Raises:
            DataAway: the disk does not take it; the parts before stay.
        """
        from pyarrow import parquet

        with writing(self.path, _KEPT):
            with replacing(self.file(number), "draft") as draft:
                parquet.write_table(table, draft)
            part = Part(number, table.num_rows, file_sha256(self.file(number)), round(seconds, 3))
            self._append(json.dumps(part.to_dict()).encode() + b"\n")
        return part

    def _append(self, line: bytes) -> None:
        """Behind the last whole line: what a kill left of another is cut off."""
        path = self.path / "journal.jsonl"
        known = path.read_bytes() if path.is_file() else b""
        with path.open("r+b" if known else "wb") as journal:
            journal.truncate(journal.seek(known.rfind(b"\n") + 1))
            journal.write(line)
            journal.flush()
            os.fsync(journal.fileno())
        if not known:
            sync(self.path)

    def _is_whole(self, part: Part) -> bool:
        file = self.file(part.part)
        return file.is_file() and file_sha256(file) == part.sha256

    def _read(self, name: str) -> dict[str, Any] | None:
        return read_json(self.path / name, _AGAIN)


def _parse(line: bytes) -> Part | None:
    if not line.endswith(b"\n"):
        return None
    try:
        return Part.from_dict(json.loads(line))
    except (ValueError, TypeError):
        raise CorruptFile(f"the journal of a batch prediction has the line {line[:80]!r}", _AGAIN) from None
