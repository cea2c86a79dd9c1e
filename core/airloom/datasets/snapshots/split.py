"""How the rows of a snapshot are split.

By shares: a hash of its key or inputs decides where a row belongs, so it does not move when the dataset grows. Or as it
was published with the data: a column, or the tags of commits, say it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airloom.contracts import DatasetVersion
from airloom.datasets.storage.part_names import PARTS, as_text, names_of
from airloom.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

COLUMN, TAGS = "column ", "tags"


def canonical(fractions: Mapping[str, float]) -> dict[str, float]:
    """The same fractions, train, validation and test first, then others by name: how they were written is no matter.

    Raises:
        ConfigError: a fraction is negative, or they do not sum to 1.
    """
    shares = {str(name): float(share) for name, share in fractions.items()}
    if any(not share >= 0 for share in shares.values()) or not math.isclose(sum(shares.values()), 1, abs_tol=1e-9):
        raise ConfigError(f"the split {dict(fractions)} does not sum to 1", "give fractions of 0 or more that sum to 1")
    return dict(sorted(shares.items(), key=lambda share: (PARTS.index(share[0]) if share[0] in PARTS else 3, share[0])))


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


@dataclass(frozen=True)
class Published:
    """What is asked for.

    Attributes:
        column: that tells the part of its row; "" where the tags of commits do.
        parts: the values, or the tags, that name each part; `validation` may be a share of the training rows instead.
    """

    column: str = ""
    parts: Mapping[str, Any] = field(default_factory=dict)

    def rule(self, version: DatasetVersion) -> tuple[dict[str, Any], str]:
        """`Snapshot.split` and `Snapshot.by`: the same request always gives the same.

        Raises:
            ConfigError: there is no such part, it has no name or a name twice, or the share is none.
        """
        share = self.parts.get("validation")
        is_share = isinstance(share, int | float) and not isinstance(share, bool)
        if is_share and not 0 < float(share or 0) < 1:
            raise ConfigError(f"validation: {share} is no share of the training rows", "give one between 0 and 1")
        given = {part: values for part, values in self.parts.items() if not (is_share and part == "validation")}
        own = version.parts if self.column and self.column == version.split else {}
        names: dict[str, Any] = {part: [] for part in PARTS} | as_text(given)
        if self.column:
            names = dict(names_of({**own, **given}))
        if is_share:
            names["validation"] = float(share or 0)
        return names, f"{COLUMN}{self.column}" if self.column else TAGS
