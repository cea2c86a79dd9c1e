"""The content id of a version: a hash of its schema and its rows in their order, whatever shards they are cut into.

Row digests are hashed in blocks of 1024; the blocks form a Merkle mountain range (Todd 2012), whose peaks stand in the
manifest. An append therefore hashes its own rows and the digests of the last, unfilled block, nothing else.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

BLOCK = 1024
Peak = tuple[int, str]  # height above the blocks, sha256 in hex


@dataclass(frozen=True)
class Chain:
    """The filled blocks of a sequence of row digests."""

    rows: int = 0
    peaks: list[Peak] = field(default_factory=list)

    @property
    def tail(self) -> int:
        """How many digests stand behind the last filled block."""
        return self.rows % BLOCK

    def extend(self, tail: "Array", more: "Array") -> "tuple[Chain, Array]":
        """Append digests.

        Args:
            tail: the digests behind the last filled block, uint8 (self.tail, 32).
            more: what follows, uint8 (n, 32).

        Returns:
            The new chain and its tail.
        """
        import numpy as np

        waiting = np.concatenate([tail, more]) if len(tail) else more
        peaks, filled = list(self.peaks), len(waiting) // BLOCK * BLOCK
        for start in range(0, filled, BLOCK):
            _push(peaks, sha256(b"\0" + waiting[start : start + BLOCK].tobytes()).hexdigest())
        return Chain(self.rows + len(more), peaks), waiting[filled:]

    def id(self, schema: "pa.Schema", tail: "Array") -> str:
        """sha256 over schema, number of rows, peaks and tail, hex."""
        state = sha256(outline(schema).encode() + b"\0" + self.rows.to_bytes(8, "little"))
        for height, digest in self.peaks:
            state.update(bytes([height]) + bytes.fromhex(digest))
        state.update(tail.tobytes())
        return state.hexdigest()


def _push(peaks: list[Peak], digest: str) -> None:
    height = 0
    while peaks and peaks[-1][0] == height:
        left = peaks.pop()[1]
        digest = sha256(b"\1" + bytes.fromhex(left) + bytes.fromhex(digest)).hexdigest()
        height += 1
    peaks.append((height, digest))


def outline(schema: "pa.Schema") -> str:
    """What of a schema belongs to the content: names, types, nullability, and what a field says of its values."""
    return "\n".join(
        f"{f.name}:{f.type}:{'null' if f.nullable else ''}:"
        + ";".join(f"{key.decode()}={value.decode()}" for key, value in sorted((f.metadata or {}).items()))
        for f in schema
    )
