"""The id of a version is a function of its schema and its rows in order."""

from hashlib import sha256

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.datasets.storage.chain import BLOCK, Chain, outline

SCHEMA = pa.schema([pa.field("x", pa.int64(), False)])
EMPTY = np.empty((0, 32), np.uint8)


def digests(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 32), np.uint8)


def naive(rows):
    """The definition once more, without any increment."""
    blocks = [
        sha256(b"\0" + rows[s : s + BLOCK].tobytes()).digest() for s in range(0, len(rows) // BLOCK * BLOCK, BLOCK)
    ]
    peaks = []
    while blocks:
        height = len(blocks).bit_length() - 1
        level, blocks = blocks[: 1 << height], blocks[1 << height :]
        while len(level) > 1:
            level = [sha256(b"\1" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=True)]
        peaks.append((height, level[0]))
    state = sha256(outline(SCHEMA).encode() + b"\0" + len(rows).to_bytes(8, "little"))
    for height, peak in peaks:
        state.update(bytes([height]) + peak)
    state.update(rows[len(rows) // BLOCK * BLOCK :].tobytes())
    return state.hexdigest()


def of(rows, cuts=()):
    chain, tail = Chain(), EMPTY
    for start, stop in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        chain, tail = chain.extend(tail, rows[start:stop])
    return chain.id(SCHEMA, tail)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9 * BLOCK), st.lists(st.integers(0, 9 * BLOCK), max_size=6))
def test_however_it_was_appended_the_id_is_the_same(count, cuts):
    rows = digests(count)
    assert of(rows, sorted(min(cut, count) for cut in cuts)) == of(rows) == naive(rows)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3 * BLOCK), st.integers(0, 3 * BLOCK), st.integers(0, 31), st.integers(1, 255))
def test_one_changed_byte_gives_another_id(count, row, byte, flip):
    rows = digests(count)
    other = rows.copy()
    other[row % count, byte] ^= flip
    assert of(rows) != of(other)


def test_order_length_and_schema_count():
    rows = digests(2000)
    ids = {of(rows), of(rows[::-1]), of(rows[:-1]), of(np.concatenate([rows, rows[-1:]]))}
    assert len(ids) == 4
    chain, tail = Chain().extend(EMPTY, rows)
    other = pa.schema([pa.field("x", pa.int64(), False, metadata={"shape": "1"})])
    assert chain.id(SCHEMA, tail) != chain.id(other, tail)


def test_the_manifest_holds_few_peaks_however_many_rows():
    chain, tail = Chain().extend(EMPTY, digests(100 * BLOCK + 7))
    assert len(chain.peaks) <= 7
    assert len(tail) == chain.tail == 7
