"""Parts are neighbours of one shard, small enough, and together each row once."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.prediction.planning import parts_of


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=8), st.data(), st.integers(1, 12))
def test_parts_hold_each_row_once_and_never_two_shards(sizes: list[int], data: st.DataObject, most: int) -> None:
    bases = np.cumsum([0, *sizes])
    chosen = data.draw(st.sets(st.integers(0, max(0, int(bases[-1]) - 1)))) if bases[-1] else set()
    rows = np.array(sorted(chosen), np.int64)
    parts = parts_of(rows, bases, most)
    assert sum(parts) == len(rows)
    assert all(0 < part <= most for part in parts)
    start = 0
    for part in parts:
        shards = np.searchsorted(bases, rows[start : start + part], side="right")
        assert len(set(shards.tolist())) == 1
        start += part
    of_shards = [int(((rows >= low) & (rows < high)).sum()) for low, high in pairwise(bases)]
    assert len(parts) == sum(-(-count // most) for count in of_shards)
