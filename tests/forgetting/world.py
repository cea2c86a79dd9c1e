"""People with a key; the values of one of them stand nowhere else, and are found wherever they are left."""

import json
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from airloom.contracts import DatasetVersion
from airloom.datasets import versions
from airloom.datasets.commit import commit
from airloom.datasets.ingest import from_table
from airloom.datasets.storage.schema import Layout
from airloom.settings import Settings

KEY, NOTE, NUMBER = "needle-7f3a", "haystack-4711-secret", 8_675_309.25
VALUES = [KEY.encode(), NOTE.encode(), struct.pack("<d", NUMBER), repr(NUMBER).encode()]
LAYOUT = Layout("tabular", label="late", key="who")
SCHEMA = pa.schema(
    [("who", pa.large_string()), ("note", pa.large_string()), ("amount", pa.float64()), ("late", pa.int64())]
)
SUITE = {"name": "s", "expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "late"}}]}


def people(*names: str, late: int = 0) -> pa.Table:
    """A row a name."""
    rows = [
        {"who": name, "note": NOTE, "amount": NUMBER, "late": late}
        if name == KEY
        else {"who": name, "note": f"of {name}", "amount": float(sum(name.encode())), "late": late}
        for name in names
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@dataclass
class World:
    """A home, and a suite for every dataset."""

    settings: Settings
    suite: Path
    extra: dict[str, Any] = field(default_factory=dict)

    def put(self, *names: str, dataset: str = "people", late: int = 0, **options: Any) -> DatasetVersion:
        """Commit rows of these people."""
        self.suite.write_text(json.dumps(SUITE))
        data = from_table(people(*names, late=late), LAYOUT)
        return commit(self.settings, dataset, data, message="people", suite=self.suite, **options)

    def names(self, number: int, **options: Any) -> list[str]:
        """Who is in a version."""
        from airloom.datasets.read import read

        version = versions.get(self.settings, "people", number)
        return [str(name) for name in read(self.settings, version, **options).column("who").to_pylist()]

    def digests(self) -> list[bytes]:
        """MD5 of the shards of the newest version and of their indices."""
        manifest = versions.manifest_of(self.settings, versions.latest(self.settings, "people"))
        return [name.encode() for shard in manifest.shards for name in (shard.md5, shard.index)]

    def refs(self) -> str:
        """Every ref, with what it names."""
        return git(self.settings.data_repo, "for-each-ref").decode()


def git(repo: Path, *arguments: str) -> bytes:
    """What git says."""
    return subprocess.run(["git", "-C", str(repo), *arguments], capture_output=True, check=True).stdout


def leftovers(home: Path, repo: Path, needles: Sequence[bytes] = VALUES) -> list[str]:
    """Where in the files of a home, and in the objects of a git repository, one of these still stands."""
    found = []
    for path in home.rglob("*"):
        if path.is_file() and any(needle in path.read_bytes() for needle in needles):
            found.append(str(path.relative_to(home)))
    text = git(repo, "cat-file", "--batch-all-objects", "--batch")
    return found + [f"git has {needle!r}" for needle in needles if needle in text]
