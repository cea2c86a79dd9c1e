"""The manifest of a version: what stands in git beside the DVC file."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class Shard:
    """One immutable Arrow file; `md5` is its name in the DVC cache, `digests` hashes its rows."""

    md5: str
    rows: int
    bytes: int

    @property
    def file(self) -> str:
        """Name inside the `shards` folder."""
        return f"{self.md5}.arrow"


@dataclass(frozen=True)
class Manifest:
    """A complete description of one version."""

    number: int
    id: str
    shards: list[Shard]
    schema: str  # Arrow schema, serialised, hex
    message: str
    author: str
    created: str
    source: str
    report: str
    parent: str = ""  # id of the version before

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def arrow_schema(self) -> pa.Schema:
        """The schema as Arrow has it."""
        return pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(self.schema)))

    def to_json(self) -> str:
        """As it stands in git."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Read what `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        return cls(**{**values, "shards": [Shard(**shard) for shard in values["shards"]]})
