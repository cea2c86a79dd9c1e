"""Splits, by any rows and any fractions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.datasets.ingest.images import image_table
from airloom.datasets.snapshots.split import assign
from airloom.datasets.storage.digests import digest
from airloom.datasets.storage.index import Index
from airloom.datasets.storage.schema import Layout
from airloom.errors import ConfigError

FRACTIONS = {"train": 0.6, "validation": 0.15, "test": 0.25}
LAYOUT = Layout("image", label="label")


@st.composite
def tables(draw):
    rows = draw(st.integers(1, 40))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    # Few different values, so that equal images come up too.
    return image_table(random.integers(0, 3, (rows, 1, 2, 2)).astype(np.float32) / 2, random.integers(0, 10, rows))


fractions = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9)).map(
    lambda parts: {name: part / sum(parts) for name, part in zip(FRACTIONS, parts, strict=True)}
)


def points(table):
    return Index.of(digest(table.combine_chunks().to_batches()[0], LAYOUT)).points


def places(table, shares):
    return {int(row): name for name, rows in assign(points(table), shares).items() for row in rows}


@settings(max_examples=80, deadline=None)
@given(tables(), fractions)
def test_every_row_exactly_once(table, shares):
    found = assign(points(table), shares)
    assert list(found) == list(FRACTIONS)
    assert sorted(np.concatenate(list(found.values()))) == list(range(table.num_rows))
    assert all(not len(found[name]) for name in shares if shares[name] == 0)


@settings(max_examples=80, deadline=None)
@given(tables(), fractions, st.integers(1, 40))
def test_rows_stay_where_they_are_when_others_are_appended(table, shares, kept):
    before = places(table.slice(0, kept), shares)
    after = places(table, shares)
    assert all(after[row] == name for row, name in before.items())


@settings(max_examples=80, deadline=None)
@given(tables(), fractions, st.randoms(use_true_random=False))
def test_a_changed_label_moves_nothing(table, shares, random):
    other = table.set_column(1, table.schema.field(1), [[random.randint(0, 9) for _ in range(table.num_rows)]])
    assert places(table, shares) == places(other, shares)


@settings(max_examples=60, deadline=None)
@given(tables(), fractions)
def test_no_image_stands_in_two_splits(table, shares):
    found, where = places(table, shares), {}
    for row, image in enumerate(table.column("image").to_pylist()):
        assert where.setdefault(str(image), found[row]) == found[row]


@settings(max_examples=30, deadline=None)
@given(tables(), fractions, st.permutations(list(FRACTIONS)))
def test_the_order_of_the_fractions_is_no_matter(table, shares, order):
    assert places(table, shares) == places(table, {name: shares[name] for name in order})


@pytest.mark.parametrize(
    "shares",
    [{}, {"train": 0.5}, {"train": 0.6, "test": 0.5}, {"train": 1.5, "test": -0.5}, {"train": float("nan")}],
)
def test_fractions_must_sum_to_1(shares):
    with pytest.raises(ConfigError, match="sum to 1"):
        assign(np.zeros(2), shares)


def test_the_shares_are_about_the_fractions():
    images = np.random.default_rng(0).uniform(size=(4000, 1, 2, 2)).astype(np.float32)
    found = assign(points(image_table(images, np.zeros(4000, np.int64))), FRACTIONS)
    assert all(abs(len(found[name]) / 4000 - share) < 0.03 for name, share in FRACTIONS.items())
