"""The order of rows and its cursor, by any numbers."""

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.datasets.reading.cursor import Cursor, resumed
from airloom.datasets.reading.order import Order, rank_slice
from airloom.errors import ConfigError

ONE_LEVEL = [3, 5, 4, 7, 8, 0, 9, 2, 1, 6]
TWO_LEVELS = [0, 6, 1, 7, 4, 9, 8, 5, 2, 3]

seeds = st.integers(0, 2**40)
epochs = st.integers(0, 1000)


@st.composite
def orders(draw, least=0):
    """Any order: of one level, of two with windows of any size, or none."""
    rows = draw(st.integers(least, 300))
    two_levels_above = draw(st.sampled_from([10**9, 0]))
    return Order(rows, draw(st.booleans()), two_levels_above, draw(st.integers(1, 40)), draw(st.integers(1, 5)))


@settings(max_examples=200, deadline=None)
@given(orders(), seeds, epochs)
def test_each_row_comes_once_an_epoch(order, seed, epoch):
    assert sorted(order.positions(seed, epoch, 0, order.rows)) == list(range(order.rows))


@settings(max_examples=200, deadline=None)
@given(orders(), seeds, epochs, st.lists(st.integers(0, 320), min_size=2, max_size=8))
def test_any_part_of_an_epoch_is_the_same_read_alone_or_in_any_order(order, seed, epoch, cuts):
    whole = order.positions(seed, epoch, 0, order.rows)
    for start, stop in pairwise(cuts):
        assert order.positions(seed, epoch, start, stop).tolist() == whole[start:stop].tolist()


@pytest.mark.parametrize("two_levels_above", [10**9, 0])
def test_seeds_and_epochs_have_orders_of_their_own(two_levels_above):
    order = Order(500, True, two_levels_above, 64, 2)
    found = {tuple(order.positions(seed, epoch, 0, 500)) for seed in range(4) for epoch in range(4)}
    assert len(found) == 16


def test_the_order_is_pinned():
    # A saved state must mean the same rows with every later release: this may never change.
    assert Order(10).positions(7, 3, 0, 10).tolist() == ONE_LEVEL
    assert Order(10, True, 0, 2, 2).positions(7, 3, 0, 10).tolist() == TWO_LEVELS


def test_two_levels_keep_neighbours_in_a_window_and_mix_within_it():
    order = Order(10_000, True, 0, block=100, window=10)
    windows = order.positions(0, 0, 0, 10_000).reshape(-1, 1000)
    assert all(len(set(window // 100)) == 10 for window in windows)
    assert all(len(set(window[:200] // 100)) == 10 for window in windows)  # any 200 rows are of all ten blocks
    assert len({int(window.min()) for window in windows}) == 10


def test_two_levels_need_the_memory_of_one_window():
    import tracemalloc

    order = Order(50_000_000)
    tracemalloc.start()
    try:
        order.positions(0, 0, 30_000_000, 30_000_256)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20  # all rows would be 400 MB
    finally:
        tracemalloc.stop()


def test_a_cursor_is_placed_in_a_million_rows_within_50_ms():
    spent = []
    for epoch in range(5):
        begin = time.process_time()
        Order(1_000_000).positions(1, epoch, 777_777, 778_033)
        spent.append(time.process_time() - begin)
    assert min(spent) < 0.05


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 100), st.integers(1, 17))
def test_the_slices_of_the_ranks_are_the_batch_and_differ_by_one_row_at_most(rows, world):
    parts = [rank_slice(np.arange(rows), rank, world) for rank in range(world)]
    assert np.concatenate(parts).tolist() == list(range(rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


GOOD = Cursor("abc", 3, 2, 10).state()


def test_a_state_is_what_it_was():
    assert resumed(GOOD, "abc", 10) == Cursor("abc", 3, 2, 10)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"snapshot": "other"}, "of snapshot other, this is abc"),
        ({"position": 11}, "position 11 is beyond the 10 rows"),
        ({"position": -1}, "position is -1"),
        ({"epoch": 1.5}, "epoch is 1.5"),
        ({"epoch": True}, "epoch is True"),
        ({"seed": "3"}, "seed is '3'"),
        ({"more": 1}, "no loader state"),
    ],
)
def test_a_wrong_state_is_refused_by_name_and_value(change, says):
    with pytest.raises(ConfigError, match=says):
        resumed({**GOOD, **change}, "abc", 10)


@pytest.mark.parametrize("state", [None, 3, [], {}, {"snapshot": "abc"}])
def test_nonsense_is_no_state(state):
    with pytest.raises(ConfigError, match="no loader state"):
        resumed(state, "abc", 10)
