"""Which split a row belongs to: a hash of its inputs decides, so it does not move when the dataset grows."""

import hashlib
import math
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from airloom.datasets.identity import row_digests
from airloom.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

NEVER_HASHED = ("label",)  # a corrected label must not move its row
ORDER = ("train", "validation", "test")


def canonical(fractions: dict[str, float]) -> dict[str, float]:
    """The same fractions, train, validation and test first, then others by name: how they were written is no matter.

    Raises:
        ConfigError: a fraction is negative, or they do not sum to 1.
    """
    shares = {name: float(share) for name, share in fractions.items()}
    if any(not share >= 0 for share in shares.values()) or not math.isclose(sum(shares.values()), 1, abs_tol=1e-9):
        raise ConfigError(f"the split {fractions} does not sum to 1", "give fractions of 0 or more that sum to 1")
    return dict(sorted(shares.items(), key=lambda share: (ORDER.index(share[0]) if share[0] in ORDER else 3, share[0])))


def assign(table: pa.Table, fractions: dict[str, float], key: str | None = None) -> "dict[str, np.ndarray[Any, Any]]":
    """Row numbers of each split.

    Args:
        table: the rows.
        fractions: share by split name, summing to 1.
        key: column that identifies a row; without it all columns but the label are hashed.

    Returns:
        int64 arrays by split name, ascending; together every row exactly once. Equal inputs share a split.

    Raises:
        ConfigError: the fractions do not sum to 1, or there is no column to split by.
    """
    import numpy as np

    fractions = canonical(fractions)
    columns = [key] if key else [name for name in table.column_names if name not in NEVER_HASHED]
    missing = [name for name in columns if name not in table.column_names]
    if missing or not columns:
        raise ConfigError(f"no column {missing or 'besides the label'} to split by", f"there are {table.column_names}")
    points = np.array([_point(digest) for digest in row_digests(table.select(columns))])
    bounds = np.cumsum(list(fractions.values()))[:-1]
    places = np.searchsorted(bounds, points, side="right")
    return {name: np.flatnonzero(places == place).astype(np.int64) for place, name in enumerate(fractions)}


def _point(digest: bytes) -> float:
    """A uniform number in [0, 1) of a row's digest, salted so that it says nothing of other uses of the digest."""
    return int.from_bytes(hashlib.sha256(b"split:" + digest).digest()[:6]) / 2**48
