"""A row's digest is a function of its values alone."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.datasets.storage.digests import digest
from airloom.datasets.storage.schema import Layout
from airloom.errors import DataError

LAYOUT = Layout("generic", label="label", key="key")
SCHEMA = pa.schema(
    [
        pa.field("number", pa.float32(), nullable=False),
        pa.field("maybe", pa.int16()),
        pa.field("flag", pa.bool_()),
        pa.field("vector", pa.list_(pa.uint8(), 3), nullable=False),
        pa.field("text", pa.large_string()),
        pa.field("blob", pa.large_binary(), nullable=False),
        pa.field("nested", pa.list_(pa.struct([("a", pa.int64())]))),
        pa.field("key", pa.large_string(), nullable=False),
        pa.field("label", pa.int64(), nullable=False),
    ]
)
row = st.fixed_dictionaries(
    {
        "number": st.floats(width=32, allow_nan=False),
        "maybe": st.none() | st.integers(-5, 5),
        "flag": st.none() | st.booleans(),
        "vector": st.lists(st.integers(0, 255), min_size=3, max_size=3),
        "text": st.none() | st.text(max_size=4),
        "blob": st.binary(max_size=4),
        "nested": st.none() | st.lists(st.fixed_dictionaries({"a": st.none() | st.integers(0, 3)}), max_size=2),
        "key": st.text(max_size=2),
        "label": st.integers(0, 2),
    }
)


def batch(rows):
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


@settings(max_examples=60, deadline=None)
@given(st.lists(row, min_size=1, max_size=8), st.integers(0, 7))
def test_neighbours_slices_and_chunks_do_not_matter(rows, at):
    whole = digest(batch(rows), LAYOUT)
    at = at % len(rows)
    alone, sliced = digest(batch([rows[at]]), LAYOUT), digest(batch(rows).slice(at, 1), LAYOUT)
    for part in ("row", "inputs", "anchor"):
        assert getattr(whole, part)[at].tobytes() == getattr(alone, part)[0].tobytes()
        assert getattr(whole, part)[at].tobytes() == getattr(sliced, part)[0].tobytes()


@settings(max_examples=100, deadline=None)
@given(row, row)
def test_digests_are_equal_exactly_where_the_values_are(one, other):
    a, b = digest(batch([one]), LAYOUT), digest(batch([other]), LAYOUT)
    plain = [batch([values]).to_pylist()[0] for values in (one, other)]
    inputs = [{k: v for k, v in values.items() if k not in ("key", "label")} for values in plain]
    if str(0.0) in (str(abs(one["number"])), str(abs(other["number"]))):
        return  # 0.0 and -0.0 are equal and have other bytes
    assert (a.row.tobytes() == b.row.tobytes()) == (plain[0] == plain[1])
    assert (a.inputs.tobytes() == b.inputs.tobytes()) == (inputs[0] == inputs[1])
    assert (a.anchor.tobytes() == b.anchor.tobytes()) == (plain[0]["key"] == plain[1]["key"])


def test_neighbouring_cells_cannot_run_together():
    schema = pa.schema([pa.field(name, pa.large_string(), False) for name in "ab"])
    rows = pa.RecordBatch.from_pylist([{"a": "xy", "b": "z"}, {"a": "x", "b": "yz"}], schema=schema)
    assert len(set(map(bytes, digest(rows, Layout("generic")).row))) == 2


def test_a_null_is_not_a_zero_nor_an_empty_text():
    rows = [{"n": 0, "t": ""}, {"n": None, "t": ""}, {"n": 0, "t": None}]
    found = digest(
        pa.RecordBatch.from_pylist(rows, pa.schema([("n", pa.int32()), ("t", pa.large_string())])), Layout("g")
    )
    assert len(set(map(bytes, found.row))) == 3


def test_what_lies_below_a_null_does_not_matter():
    values = pa.array([7, 9], pa.int32())
    masked = pa.Array.from_buffers(pa.int32(), 2, [pa.py_buffer(b"\x01"), values.buffers()[1]])
    plain = pa.array([7, None], pa.int32())
    found = [digest(pa.RecordBatch.from_arrays([a], ["n"]), Layout("g")).row.tobytes() for a in (masked, plain)]
    assert found[0] == found[1]


def test_the_label_is_in_the_row_and_not_in_its_place():
    schema = pa.schema([pa.field("x", pa.int64(), False), pa.field("label", pa.int64(), False)])
    a, b = (digest(pa.RecordBatch.from_pylist([{"x": 1, "label": n}], schema), Layout("t", "label")) for n in (0, 1))
    assert a.anchor.tobytes() == b.anchor.tobytes()
    assert a.row.tobytes() != b.row.tobytes()


def test_an_empty_element_of_a_fixed_list_is_refused():
    column = pa.array([[1, 2], [3, None]], pa.list_(pa.int32(), 2))
    with pytest.raises(DataError, match="empty element"):
        digest(pa.RecordBatch.from_arrays([column], ["v"]), Layout("g"))


def test_a_large_batch_of_images_is_hashed_row_by_row():
    pixels = np.random.default_rng(0).integers(0, 255, 100 * 12, np.uint8)
    column = pa.FixedSizeListArray.from_arrays(pa.array(pixels), 12)
    rows = pa.RecordBatch.from_arrays([column], schema=pa.schema([pa.field("image", column.type, False)]))
    found = digest(rows, Layout("image"))
    assert len(set(map(bytes, found.row))) == 100
    assert found.anchor is found.inputs  # one array: a million rows have 32 MB of them
