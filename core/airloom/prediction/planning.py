"""Which rows make a part: what is written at once, and what a kill costs at most."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
PART_ROWS = 1 << 14  # at most


def parts_of(rows: Array, bases: Array, most: int = PART_ROWS) -> list[int]:
    """How many rows each part has: neighbours of one shard; no part is empty, and together they are all rows.

    Args:
        rows: numbers of the rows in the shards, int64 (n,), strictly ascending.
        bases: the number of the first row of each shard, and behind the last one, int64 (shards + 1,), ascending.
        most: rows of a part.
    """
    of_shards = np.diff(np.searchsorted(rows, bases)).tolist()
    return [min(most, count - at) for count in of_shards for at in range(0, count, most)]
