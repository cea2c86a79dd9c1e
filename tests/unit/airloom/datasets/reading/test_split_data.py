"""A split behind a stock DataLoader, in this process and in others."""

import pickle
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.datasets.storage.schema import Layout
from airloom.errors import DataError

EVEN = np.arange(0, 240, 2)


def labels_of(batches):
    return [int(label) for _, labels in batches for label in labels]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-120, 119), max_size=30))
def test_samples_come_in_the_order_asked_for_also_twice_and_from_the_end(lasting, positions):
    data = lasting.data(EVEN)
    samples = data.__getitems__(positions)
    assert [int(label) for _, label in samples] == [int(EVEN[position]) for position in positions]
    expected = lasting.table.take(pa.array([EVEN[position] for position in positions], pa.int64()))
    assert [inputs["text"] for inputs, _ in samples] == expected["text"].to_pylist()
    assert [inputs["image"].flatten().tolist() for inputs, _ in samples] == expected["image"].to_pylist()


def test_a_position_outside_is_an_index_error_so_that_a_for_loop_ends(source):
    data = source.data(EVEN)
    assert len(data) == 120 and len(list(data)) == 120
    for position in (120, -121):
        with pytest.raises(IndexError, match="120 rows"):
            data[position]


def test_inputs_come_as_arrays_without_torch(source, monkeypatch):
    data, theirs = source.data(EVEN, None, Layout("generic", "label")), source.data(EVEN)
    columns = data.columns(np.arange(5))
    expected, _ = data.collate(columns)
    assert isinstance(theirs.arrays(dict(columns))["image"], np.ndarray)  # who makes tensors by a function of their own
    monkeypatch.setitem(sys.modules, "torch", None)  # an import of it fails
    inputs = data.arrays(columns)
    assert list(inputs) == list(expected)
    assert isinstance(inputs["image"], np.ndarray)
    assert (inputs["image"] == expected["image"].numpy()).all()
    assert inputs["text"] == expected["text"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stock_data_loader_reads_every_row_once(source, workers):
    from torch.utils.data import DataLoader

    data = source.data(EVEN)
    data[0]  # mapped here before the workers are forked
    loader = DataLoader(data, batch_size=32, shuffle=True, num_workers=workers)
    batches = list(loader)
    assert sorted(labels_of(batches)) == EVEN.tolist()
    assert batches[0][0]["image"].shape == (32, 3, 2, 2)


def test_spawned_workers_map_the_shards_themselves(source):
    from torch.utils.data import DataLoader

    data = source.data(EVEN)
    data[0]
    copy = pickle.loads(pickle.dumps(data))  # noqa: S301  # our own bytes: what spawning does
    assert copy.mapped._opened == {}
    assert sorted(labels_of(DataLoader(copy, batch_size=50))) == EVEN.tolist()


def test_without_a_label_a_sample_is_the_input_and_the_key_is_not_read(source):
    data = source.data(layout=Layout("any", key="label"))
    assert data.names == ["image", "text", "blob"]
    assert set(data[5]) == {"image", "text", "blob"}


def test_a_part_of_an_input_may_be_a_tuple(source):
    data = source.data([3, 4], collate=lambda columns, schema, layout: ((columns["label"], columns["text"]), None))
    assert data.__getitems__([1, 0]) == [(4, source.table["text"][4].as_py()), (3, source.table["text"][3].as_py())]


@pytest.mark.parametrize("rows", [[3, 3], [4, 3], [-1, 2], [0, 240], [[0, 1]]])
def test_a_selection_that_is_no_ascending_list_of_rows_is_refused(source, rows):
    with pytest.raises(DataError, match="no ascending list of numbers below 240"):
        source.data(rows)


def test_a_label_that_is_no_column_is_named(source):
    with pytest.raises(DataError, match="no column 'class'"):
        source.data(layout=Layout("any", "class"))
