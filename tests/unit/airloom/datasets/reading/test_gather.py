"""What is gathered is what was written, for every kind of column."""

import datetime as dt
import gc
import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.datasets.reading.buffers import Buffers
from airloom.datasets.reading.columns import Fixed, Other, Varied, mark_gaps, view
from airloom.datasets.reading.gather import BatchRows, gather
from airloom.datasets.reading.joined import BUDGET, WIDE, Joined
from airloom.datasets.reading.mapped import Mapped
from airloom.errors import CorruptFile, DataError


def read(mapped, rows, name, views=False):
    return gather(mapped, np.asarray(rows, np.int64), [name], Buffers(), views)[name]


def without_joining(mapped):
    mapped.joined = Joined(mapped.bases, budget=0)
    return mapped


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sets(st.integers(0, 239)), st.booleans())
def test_any_rows_are_the_written_ones(lasting, data, rows, joined):
    mapped = lasting.mapped() if joined else without_joining(lasting.mapped())
    for _ in range(2):  # the second time what is joined is there already
        rows = sorted(rows)
        expected = lasting.table.take(pa.array(rows, pa.int64()))
        images = read(mapped, rows, "image")
        assert images.shape == (len(rows), 3, 2, 2) and images.dtype == np.uint8
        assert images.reshape(len(rows), 12).tolist() == expected["image"].to_pylist()
        assert read(mapped, rows, "label").tolist() == expected["label"].to_pylist()
        assert read(mapped, rows, "text") == expected["text"].to_pylist()
        assert read(mapped, rows, "blob") == expected["blob"].to_pylist()
        assert [bytes(blob) for blob in read(mapped, rows, "blob", views=True)] == expected["blob"].to_pylist()
        rows = data.draw(st.sets(st.integers(0, 239)))


def test_no_rows_of_wide_columns_have_their_shape_also_when_all_shards_are_mapped(lasting, make):
    mapped = make([batch for batch in lasting.table.to_batches() if len(batch)]).mapped()
    assert read(mapped, range(240), "image").shape == (240, 3, 2, 2)
    assert mapped.arrays("image")
    assert read(mapped, [], "image").shape == (0, 3, 2, 2)


DAY = dt.date(2026, 3, 1)
NOW = dt.datetime(2026, 3, 1, 12, 30, 1, 5, tzinfo=dt.UTC)
COLUMNS = {
    "int8": pa.array([-128, 0, 127, 5, 6], pa.int8()),
    "uint64": pa.array([2**64 - 1, 0, 1, 5, 6], pa.uint64()),
    "half": pa.array(np.array([1.5, -2, 0, 5, 6], np.float16)),
    "double": pa.array([1e300, -0.0, 5e-324, 5, 6], pa.float64()),
    "int with nulls": pa.array([2**53, None, 3, 4, 5], pa.int64()),
    "float with nulls": pa.array([1.5, None, 3, 4, 5], pa.float32()),
    "bool": pa.array([True, False, True, True, False]),
    "bool with nulls": pa.array([True, None, True, True, False]),
    "text": pa.array(["a", "", "ä€😀", "d", "e"], pa.large_string()),
    "short text": pa.array(["a", "", "ä€😀", "d", "e"], pa.string()),
    "empty text": pa.array([""] * 5, pa.large_string()),
    "text with nulls": pa.array(["a", None, "ä€😀", "d", "e"], pa.large_string()),
    "short bytes": pa.array([b"a", b"", b"\0\xff", b"d", b"e"], pa.binary()),
    "bytes with nulls": pa.array([b"a", None, b"\0\xff", b"d", b"e"], pa.large_binary()),
    "bytes of one size": pa.array([b"ab"] * 5, pa.binary(2)),
    "list": pa.array([[1], [], [2, 3], None, [None]], pa.large_list(pa.int64())),
    "matrix": pa.array([[[1, 2], [3, 4]]] * 4 + [[[5, 6], [7, 8]]], pa.list_(pa.list_(pa.int32(), 2), 2)),
    "fixed list with nulls": pa.array([[1, 2], None, [3, 4], [5, 6], [7, 8]], pa.list_(pa.int32(), 2)),
    "fixed list of nulls": pa.array([[1, None], [2, 2], [3, 4], [5, 6], [7, 8]], pa.list_(pa.int32(), 2)),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}, {"a": 3, "b": None}, {"a": 4, "b": "z"}]),
    "date": pa.array([DAY, None, DAY, DAY, DAY], pa.date32()),
    "time": pa.array([NOW] * 5, pa.timestamp("us", "UTC")),
    "nothing": pa.nulls(5),
}


def plain(column):
    return column.tolist() if isinstance(column, np.ndarray) else column


@pytest.mark.parametrize("name", COLUMNS)
def test_every_type_comes_back_as_it_was_also_from_slices_and_beside_shards_with_nulls(make, name):
    array = COLUMNS[name]
    sliced = pa.concat_arrays([array, array]).slice(3, 4)
    batches = [pa.record_batch([part], names=["c"]) for part in (array, sliced, array.slice(0, 1), array.slice(0, 0))]
    source = make(batches)
    expected = source.table["c"].to_pylist()
    for mapped in (source.mapped(), without_joining(source.mapped())):
        for rows in ([], [0], [0, 2, 3], [1, 5, 9], list(range(10))):
            assert plain(read(mapped, rows, "c")) == [expected[row] for row in rows]


@pytest.mark.parametrize("name", [name for name in COLUMNS if name != "uint64"])  # whose numbers no float keeps
def test_numbers_of_a_column_with_gaps_are_floats_in_every_batch_and_all_else_stays(make, name):
    array, whole = COLUMNS[name], COLUMNS[name].drop_null()
    source = make(
        [pa.record_batch([part], names=["c"]) for part in (whole, array, array.slice(1, 3), array.slice(0, 0))]
    )
    expected = source.table["c"].to_pylist()
    for mapped in (source.mapped(), without_joining(source.mapped())):
        mapped.schema = mark_gaps(mapped.schema, {"c"})
        for rows in ([], [0], [0, len(whole) + 1], list(range(source.table.num_rows))):
            found = read(mapped, rows, "c")
            if pa.types.is_floating(array.type) or pa.types.is_integer(array.type) or pa.types.is_boolean(array.type):
                width = array.type.bit_width // 8 if pa.types.is_floating(array.type) else 8
                wanted = [np.nan if expected[row] is None else expected[row] for row in rows]
                np.testing.assert_array_equal(found, np.array(wanted, f"f{width}"), strict=True)
                assert found.flags.writeable
            else:
                assert plain(found) == [expected[row] for row in rows]


@pytest.mark.parametrize("name", COLUMNS)
def test_a_view_respects_the_offset_of_a_slice(name):
    array = COLUMNS[name].slice(2, 2)
    column = view(array, pa.field("c", array.type))
    if isinstance(column, Fixed):
        assert column.values.tolist() == array.to_pylist()
    elif isinstance(column, Varied):
        spans = zip(column.offsets, column.offsets[1:], strict=False)
        found = [bytes(column.data[a:b]) for a, b in spans]
        assert found == [value.encode() if isinstance(value, str) else value for value in array.to_pylist()]
    else:
        assert isinstance(column, Other) and column.array.equals(array)


def test_numbers_are_arrays_that_may_be_written_to():
    for name in ("int8", "half", "double", "bool", "matrix"):
        batch = pa.record_batch([COLUMNS[name]], names=["c"])
        mapped = Mapped([], batch.schema)
        assert read(mapped, [], "c").flags.writeable
    assert read(mapped, [], "c").shape == (0, 2, 2)


def test_nothing_is_copied_or_opened_before_it_is_read(source):
    mapped = source.mapped()
    allocated = pa.total_allocated_bytes()
    read(mapped, [0, 69, 70], "image")
    assert sorted(mapped._opened) == [0, 1]
    assert pa.total_allocated_bytes() == allocated


def test_no_descriptor_stays_open(source):
    import psutil

    before = psutil.Process().num_fds()
    mapped = source.mapped()
    read(mapped, range(240), "image")
    assert psutil.Process().num_fds() == before


def test_views_outlive_the_mapping_and_the_file(source):
    mapped = source.mapped()
    views = read(mapped, range(240), "blob", views=True)
    assert all(blob.readonly for blob in views)
    del mapped
    gc.collect()
    for file in source.files:
        file.path.unlink(missing_ok=True)
    assert [bytes(blob) for blob in views] == source.table["blob"].to_pylist()


@pytest.mark.parametrize(
    ("size", "budget", "kept"), [(WIDE + 1, BUDGET, True), (WIDE, BUDGET, False), (WIDE + 1, 800, False)]
)
def test_views_of_wide_bytes_are_made_once(make, size, budget, kept):
    blobs = [bytes([number]) * size for number in range(12)]
    schema = pa.schema([pa.field("blob", pa.large_binary(), False)])
    source = make([pa.record_batch([pa.array(blobs[at : at + 4], pa.large_binary())], schema) for at in (0, 4, 8)])
    mapped = source.mapped()
    mapped.joined = Joined(mapped.bases, budget)
    first = dict(zip([1, 2, 7], read(mapped, [1, 2, 7], "blob", views=True), strict=True))
    for rows in ([0, 1, 2, 11], [1, 2, 7], range(12), range(12)):
        found = read(mapped, rows, "blob", views=True)
        assert [bytes(blob) for blob in found] == [blobs[row] for row in rows]
        assert read(mapped, rows, "blob") == [blobs[row] for row in rows]
        if list(rows) == [1, 2, 7]:
            assert [blob is first[row] for row, blob in zip(rows, found, strict=True)] == [kept] * 3


def test_more_rows_than_the_budget_are_not_joined(source):
    mapped = source.mapped()
    mapped.joined = Joined(mapped.bases, budget=8 * (240 + 6))  # the first column and no more
    assert read(mapped, range(240), "label").tolist() == list(range(240))
    assert read(mapped, range(240), "text") == source.table["text"].to_pylist()
    assert [name for name, narrow in mapped.joined._narrow.items() if narrow is not None] == ["label"]


def test_bytes_that_are_no_text_name_shard_and_column(make):
    bad = pa.LargeStringArray.from_buffers(2, pa.py_buffer(np.array([0, 1, 3])), pa.py_buffer(b"a\xff\xfe"))
    batches = [pa.record_batch([column], names=["c"]) for column in (pa.array(["x"], pa.large_string()), bad)]
    source = make(batches)
    with pytest.raises(CorruptFile, match=rf"shard {source.files[1].md5} is damaged: column 'c'"):
        read(source.mapped(), [0, 1, 2], "c")


@pytest.mark.parametrize("shape", ["5,5", "-1,-12", "x", "3,,4"])
def test_a_shape_that_does_not_fit_names_the_column(make, shape):
    field = pa.field("image", pa.list_(pa.uint8(), 12), False, metadata={"shape": shape})
    source = make([pa.record_batch([pa.array([list(range(12))], field.type)], schema=pa.schema([field]))])
    with pytest.raises(DataError, match=r"column 'image' .* of shape"):
        read(source.mapped(), [0], "image")


def test_no_such_column_says_which_there_are(source):
    with pytest.raises(DataError, match=r"no column 'pixels'\n.*image, text, blob, label"):
        read(source.mapped(), [0], "pixels")


def test_whole_numbers_that_no_float_keeps_are_refused_beside_empty_cells(make):
    source = make([pa.record_batch([pa.array([2**53 + 1, None, 2**53 + 2], pa.int64())], names=["user"])])
    mapped = source.mapped()
    assert read(mapped, [0, 1], "user") == [2**53 + 1, None]
    mapped.schema = mark_gaps(mapped.schema, {"user"})
    with pytest.raises(DataError, match=r"(?s)column 'user' has empty cells .*9007199254740993.*declare it as the key"):
        read(mapped, [0, 1, 2], "user")


def test_a_thread_that_looks_for_rows_holds_no_lock_that_a_fork_could_copy():
    """Else a worker process that is forked meanwhile waits for ever, as in Python 3.11's `cached_property`."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        def __len__(self):
            return 9

        def searchsorted(self, bases):
            begun.set()
            go_on.wait(30)
            return np.searchsorted(np.arange(9), bases)

    looks = threading.Thread(target=lambda: BatchRows(np.array([0, 5, 9]), Slow()).runs)
    looks.start()
    assert begun.wait(30)
    found = []
    beside = threading.Thread(target=lambda: found.append(BatchRows(np.array([0, 5, 9]), np.array([1, 2, 7])).runs))
    beside.start()
    beside.join(10)
    meanwhile = list(found)
    go_on.set()
    looks.join()
    assert meanwhile == [[(0, 0, 2), (1, 2, 3)]]
