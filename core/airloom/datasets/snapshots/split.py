"""Which split a row belongs to: a hash of its key or inputs decides, so it does not move when the dataset grows."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

ORDER = ("train", "validation", "test")


def canonical(fractions: Mapping[str, float]) -> dict[str, float]:
    """The same fractions, train, validation and test first, then others by name: how they were written is no matter.

    Raises:
        ConfigError: a fraction is negative, or they do not sum to 1.
    """
    shares = {str(name): float(share) for name, share in fractions.items()}
    if any(not share >= 0 for share in shares.values()) or not math.isclose(sum(shares.values()), 1, abs_tol=1e-9):
        raise ConfigError(f"the split {dict(fractions)} does not sum to 1", "give fractions of 0 or more that sum to 1")
    return dict(sorted(shares.items(), key=lambda share: (ORDER.index(share[0]) if share[0] in ORDER else 3, share[0])))


def assign(points: "np.ndarray[Any, Any]", fractions: Mapping[str, float]) -> "dict[str, np.ndarray[Any, Any]]":
    """Places of each split's rows.

    Args:
        points: where each row stands between 0 and 1 (`Index.points`), float64 (n,). Rows with the same key, or
            without a key the same inputs, have the same point; a label or a tag never changes it.
        fractions: share by split name, summing to 1.

    Returns:
        int64 arrays by split name, ascending; together every row exactly once.

    Raises:
        ConfigError: the fractions do not sum to 1.
    """
    import numpy as np

    shares = canonical(fractions)
    bounds = np.cumsum(list(shares.values()))[:-1]
    places = np.searchsorted(bounds, points, side="right")
    return {name: np.flatnonzero(places == place).astype(np.int64) for place, name in enumerate(shares)}
