"""Input larger than memory: what is held at once does not grow with the input, and what comes out is the same."""

import io
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.datasets.ingest import from_arrays, from_batches, from_table, open_source
from airloom.datasets.ingest.limits import BATCH_BYTES
from airloom.datasets.storage.schema import Layout

ROWS, WIDTH = 64_000, 400  # 102 MB of float32
HELD = 100_000_000  # most by Arrow's CSV reader, which reads 32 blocks ahead; others hold half of it


def csv(path):
    line = ",".join(["0.123456789"] * 40) + "\n"
    path.write_text(",".join(f"c{n}" for n in range(40)) + "\n" + line * 220_000)


def jsonl(path):
    path.write_text(('{"text": "' + "x" * 490 + '", "n": 1.5}\n') * 200_000)


def parquet(path):
    column = pa.FixedSizeListArray.from_arrays(
        pa.array(np.random.default_rng(0).random(ROWS * WIDTH, np.float32)), WIDTH
    )
    pq.write_table(pa.table({"v": column}), path, row_group_size=ROWS)  # one group of all rows


def arrow(path):
    batch = pa.record_batch({"v": pa.array(["x" * 1600] * ROWS)})
    with pa.ipc.new_file(str(path), batch.schema) as writer:
        writer.write_batch(batch)


def npy(path):
    np.save(path, np.zeros((ROWS, WIDTH), np.float32))


def npz(path):
    np.savez_compressed(path, v=np.zeros((ROWS, WIDTH), np.float32))


KINDS = {"a.csv": csv, "a.jsonl": jsonl, "a.parquet": parquet, "a.arrow": arrow, "a.npy": npy, "a.npz": npz}


def peak_of(read):
    """Bytes that Arrow and NumPy held at once while `read` ran, and what it returned."""
    pa.array([1]).to_pandas()  # imports pandas, which would count as held
    pa.default_memory_pool().release_unused()
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    peak, result = 0, 0
    for batch in read():
        peak = max(peak, pa.total_allocated_bytes() - before)
        result += batch.num_rows
    peak += tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, result


@pytest.mark.parametrize("name", KINDS)
def test_a_large_file_is_read_a_few_megabytes_at_a_time(tmp_path, name):
    KINDS[name](tmp_path / name)
    size = (tmp_path / name).stat().st_size
    peak, rows = peak_of(lambda: open_source(tmp_path / name).batches)
    assert rows >= ROWS
    assert name == "a.npz" or size > HELD
    assert peak < HELD


def test_rows_from_python_may_be_more_than_memory_holds():
    def endless():
        for _ in range(40):
            yield pa.record_batch({"v": pa.array(np.ones(500_000))})

    peak, rows = peak_of(lambda: from_batches(endless(), Layout("tabular")).batches)
    assert (rows, peak < HELD) == (20_000_000, True)


def test_batches_are_cut_to_size():
    table = pa.table({"v": pa.array(["x" * 1000] * 100_000)})
    sizes = [batch.nbytes for batch in from_table(table, Layout("tabular")).batches]
    assert max(sizes) <= BATCH_BYTES * 1.1
    assert sum(sizes) > 100_000_000


values = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint8(): st.integers(0, 255),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=5),
    pa.string_view(): st.text(max_size=20),
    pa.binary(): st.binary(max_size=5),
    pa.dictionary(pa.int8(), pa.string()): st.sampled_from(["a", "b", ""]),
    pa.list_(pa.int32()): st.lists(st.integers(-9, 9), max_size=3),
    pa.list_(pa.float32(), 2): st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2),
    pa.struct([("x", pa.string())]): st.fixed_dictionaries({"x": st.text(max_size=3)}),
    pa.timestamp("us"): st.integers(-(2**40), 2**40),
    pa.decimal128(9, 2): st.decimals(-99999, 99999, places=2),
}


@st.composite
def tables(draw):
    kinds = draw(st.lists(st.sampled_from(list(values)), min_size=1, max_size=4))
    rows = draw(st.integers(1, 8))
    columns = [pa.array(draw(st.lists(st.none() | values[kind], min_size=rows, max_size=rows)), kind) for kind in kinds]
    return pa.table(columns, names=[f"c{n}" for n in range(len(columns))])


@settings(max_examples=150, deadline=None)
@given(tables(), st.integers(1, 8))
def test_any_table_comes_back_with_its_values_however_it_is_cut(table, size):
    layout = Layout("generic")
    stored = from_table(table, layout).to_table()
    assert stored.to_pylist() == table.to_pylist()
    again = from_table(stored, layout).to_table()
    assert again.equals(stored, check_metadata=True)
    parts = from_batches(table.to_batches(max_chunksize=size), layout, stored.schema).to_table()
    assert parts.equals(stored, check_metadata=True)


@settings(max_examples=60, deadline=None)
@given(tables())
def test_a_table_is_the_same_from_a_file_and_from_memory(table):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    layout = Layout("generic")
    read = from_batches(pa.ipc.open_stream(sink.getvalue()), layout).to_table()
    assert read.equals(from_table(table, layout).to_table(), check_metadata=True)


kinds_of_arrays = st.sampled_from(["<i8", ">i4", "u1", "<f4", ">f8", "?", "<U3", "<M8[s]"])


@settings(max_examples=60, deadline=None)
@given(kinds_of_arrays, st.lists(st.integers(1, 3), max_size=2), st.integers(1, 5))
def test_any_array_comes_back_with_its_values(kind, shape, rows):
    array = np.arange(rows * int(np.prod(shape))).reshape(rows, *shape).astype(kind)
    stored = from_arrays({"a": array}, Layout("generic")).to_table()["a"]
    assert stored.to_pylist() == array.reshape(rows, *([-1] if shape else [])).tolist()
