"""The manifest of a version: what stands in git beside the DVC files."""

import base64
import json
import re
import zlib
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from airloom.datasets.storage.chain import Chain
from airloom.datasets.storage.schema import Layout
from airloom.errors import DataError
from airloom.names import dataset_version

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

FORMAT = 1


class Span(NamedTuple):
    """Neighbouring rows of a shard that one commit brought."""

    rows: int
    version: int
    tags: list[str]


@dataclass(frozen=True)
class Shard:
    """One immutable Arrow file and its index; both are named by their MD5, as DVC names them."""

    md5: str
    rows: int
    bytes: int
    index: str
    index_bytes: int
    statistics: dict[str, Any] = field(default_factory=dict)
    anchored: bool = False  # whether the index has inputs that differ from the anchors
    spans: list[Span] = field(default_factory=list)
    dead: str = ""  # bitmap of the tombstones (1 = deleted), packed, deflated, base64; "" where there are none
    dead_rows: int = 0

    @property
    def live(self) -> int:
        """Rows that were not deleted."""
        return self.rows - self.dead_rows

    def live_spans(self) -> list[Span]:
        """Which commit brought which of the rows that were not deleted, in their order."""
        if not self.dead:
            return self.spans
        dead, start, spans = self.tombstones, 0, list[Span]()
        for span in self.spans:
            spans.append(span._replace(rows=span.rows - int(dead[start : start + span.rows].sum())))
            start += span.rows
        return [span for span in spans if span.rows]

    @property
    def tombstones(self) -> "np.ndarray[Any, Any]":
        """bool (rows,): which rows were deleted."""
        import numpy as np

        if not self.dead:
            return np.zeros(self.rows, np.bool_)
        size = (self.rows + 7) // 8  # and never more: what stands in git may be anybody's
        packed = np.frombuffer(zlib.decompressobj().decompress(base64.b64decode(self.dead), size), np.uint8)
        return np.unpackbits(packed, count=self.rows).astype(np.bool_)

    def bury(self, places: "np.ndarray[Any, Any]") -> "Shard":
        """The same shard with more tombstones, at these places."""
        import numpy as np

        mask = self.tombstones
        mask[places] = True
        packed = zlib.compress(np.packbits(mask).tobytes(), 9)
        return replace(self, dead=base64.b64encode(packed).decode(), dead_rows=int(mask.sum()))


@dataclass(frozen=True)
class VersionManifest:
    """A complete description of one version. `revision` counts compactions of the same version."""

    dataset: str
    number: int
    id: str
    layout: Layout
    schema: str  # Arrow schema, serialised, base64
    shards: list[Shard]
    chain: Chain
    message: str
    author: str
    created: str  # ISO 8601, UTC
    cut_bits: int  # a row ends a shard when so many low bits of its digest are 0
    source: str = ""
    tags: list[str] = field(default_factory=list)
    report: str = ""  # name of the validation report
    released: str = ""  # who let it through in spite of the report, and why
    parent: str = ""  # id of the version before
    revision: int = 0
    changed: dict[str, int] = field(default_factory=dict)  # rows added, deleted, replaced by this commit
    equal_inputs: str = ""  # allow, same_split or refuse; "" in older versions: as their type takes it

    @property
    def rows(self) -> int:
        """Live rows."""
        return sum(shard.live for shard in self.shards)

    @property
    def name(self) -> str:
        """`digits@v3`, also the git tag."""
        return dataset_version(self.dataset, self.number)

    @cached_property
    def arrow_schema(self) -> "pa.Schema":
        """The schema as Arrow has it."""
        import pyarrow as pa

        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.schema)))

    def to_json(self) -> str:
        """As it stands in git: a line a shard, so that `git diff` shows what changed."""
        # Not by asdict, which copies all statistics of all shards: ten times as slow.
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        shards = ",\n  ".join(json.dumps(vars(shard), separators=(",", ":")) for shard in values.pop("shards"))
        values |= {"layout": vars(self.layout), "chain": vars(self.chain)}
        head = json.dumps({"format": FORMAT, **values}, indent=1)
        return head[:-2] + f',\n "shards": [\n  {shards}\n ]\n}}\n'

    @classmethod
    def from_json(cls, text: str) -> "VersionManifest":
        """Read what `to_json` wrote.

        Raises:
            DataError: it was written by a newer Airloom.
        """
        values: dict[str, Any] = json.loads(text)
        if (written := values.pop("format", None)) != FORMAT:
            raise DataError(f"the manifest has format {written}, this Airloom reads {FORMAT}", "update airloom")
        shards = [_shard(shard) for shard in values["shards"]]
        chain = Chain(values["chain"]["rows"], [(height, digest) for height, digest in values["chain"]["peaks"]])
        return cls(**{**values, "layout": Layout(**values["layout"]), "shards": shards, "chain": chain})


def shards_with(manifest: bytes, mark: re.Pattern[bytes]) -> list[Shard]:
    """The shards of a manifest in whose line there is such a mark; the others are not even parsed."""
    lines = (line for line in manifest.splitlines() if line.startswith(b"  {") and mark.search(line))
    return [_shard(json.loads(line.rstrip(b","))) for line in lines]


def _shard(values: dict[str, Any]) -> Shard:
    return Shard(**{**values, "spans": [Span(*span) for span in values["spans"]]})


def pack_schema(schema: "pa.Schema") -> str:
    """A schema as the manifest holds it."""
    return base64.b64encode(schema.serialize()).decode()
