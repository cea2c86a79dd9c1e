"""Where shards are cut, and what a shard is."""

import hashlib
import stat

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.datasets.storage import shard_file, shards
from airloom.datasets.storage.index import Index
from airloom.datasets.storage.schema import Layout
from airloom.datasets.storage.shard_file import write_shard
from airloom.datasets.storage.shards import ShardWriter, cut_bits, cuts
from airloom.datasets.storage.store import Store

SCHEMA = pa.schema([pa.field("blob", pa.large_binary(), False), pa.field("label", pa.int64(), False)])
LAYOUT = Layout("generic", label="label")


def rows(count, seed=0):
    random = np.random.default_rng(seed)
    blobs = [random.bytes(int(n)) for n in random.integers(50, 200, count)]
    return pa.RecordBatch.from_arrays([pa.array(blobs, pa.large_binary()), pa.array(range(count))], schema=SCHEMA)


def write(settings_, *batches, bits=None):
    writer = ShardWriter(Store(settings_), SCHEMA, LAYOUT, lambda _: {}, bits)
    return list(writer.write(batches))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40 * 2**20), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_every_shard_but_the_last_has_its_size(sizes, random):
    marked = np.array([random.random() < 0.3 for _ in sizes])
    stops = cuts(np.array(sizes), marked, 0)
    start = 0
    for stop in stops:
        total = sum(sizes[start:stop])
        assert total >= shards.SMALLEST
        assert sum(sizes[start : stop - 1]) < shards.LARGEST
        assert marked[stop - 1] or total >= shards.LARGEST
        start = stop
    assert sum(sizes[start:]) < shards.LARGEST


def test_the_batches_in_which_rows_come_do_not_matter(settings, small_shards):
    whole = rows(400)
    once = write(settings, whole, bits=4)
    pieces = write(settings, *[whole.slice(start, 37) for start in range(0, 400, 37)], bits=4)
    assert once == pieces
    assert len(once) > 5


@pytest.mark.parametrize("small", [0, shard_file.SMALL])
def test_equal_rows_give_equal_bytes_wherever_they_were_cut_from(settings, monkeypatch, small):
    monkeypatch.setattr(shard_file, "SMALL", small)
    schema = pa.schema(
        [
            ("text", pa.large_string()),
            ("maybe", pa.int16()),
            ("flag", pa.bool_()),
            ("list", pa.list_(pa.int8())),
            ("v", pa.list_(pa.uint8(), 2)),
            ("blob", pa.large_binary()),
            ("number", pa.float64()),
        ]
    )
    values = [
        {
            "blob": bytes([n]) * (n % 9),
            "number": n / 2,
            "text": "a" * n if n % 5 else None,
            "maybe": n if n % 3 else None,
            "flag": n % 2 == 0,
            "list": [n] * (n % 4),
            "v": [n, 1],
        }
        for n in range(90)
    ]
    whole = pa.RecordBatch.from_pylist(values, schema)
    store = Store(settings)
    for start in (0, 1, 13, 64):
        cut = whole.slice(start, 20)
        alone = pa.RecordBatch.from_pylist(values[start : start + 20], schema)
        joined = pa.concat_batches([cut.slice(0, 7), cut.slice(7)])
        ways = ([cut], [alone], [joined], [cut.slice(0, 7), cut.slice(7, 0), cut.slice(7)])
        md5 = {store.write(lambda sink, w=w: write_shard(sink, w))[0] for w in ways}
        assert len(md5) == 1, start
        assert pa.ipc.open_file(store.path(md5.pop())).read_all().to_pylist() == values[start : start + 20]


def test_a_shard_is_refused_where_arrow_writes_other_memory_than_it_was_given(settings, monkeypatch):
    monkeypatch.setattr(shard_file, "SMALL", 0)
    monkeypatch.setattr(shard_file._Pieces, "write", lambda self, data: self._sink.write(data))
    with pytest.raises(RuntimeError, match="other memory"):
        write(settings, rows(5), rows(5, seed=1))
    assert not [path for path in settings.dvc_cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("change", ["change", "insert", "delete"])
def test_one_changed_row_keeps_the_other_shards(settings, small_shards, change):
    table = rows(2000)
    before = write(settings, table, bits=4)
    extra = rows(1, seed=9)
    parts = {
        "change": [table.slice(0, 700), extra, table.slice(701)],
        "insert": [table.slice(0, 700), extra, table.slice(700)],
        "delete": [table.slice(0, 700), table.slice(701)],
    }[change]
    after = write(settings, *parts, bits=4)
    assert len({s.md5 for s in after} - {s.md5 for s in before}) <= 3
    assert len(before) > 30


def test_a_shard_is_one_read_only_batch_named_by_its_md5(settings):
    (shard,) = write(settings, rows(50))
    path = Store(settings).path(shard.md5)
    assert hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == shard.md5
    assert path.stat().st_size == shard.bytes
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    file = pa.ipc.open_file(pa.memory_map(str(path)))
    assert file.num_record_batches == 1
    assert file.read_all().equals(pa.Table.from_batches([rows(50)]))
    index = Index.open(Store(settings).path(shard.index))
    assert len(index) == 50 and not index.anchored
    assert not [path for path in settings.dvc_cache.rglob("*.tmp")]


@pytest.mark.parametrize(("size", "bits"), [(1, 24), (3080, 12), (20_000, 10), (2**30, 0)])
def test_the_mean_size_decides_how_rare_a_cut_is(size, bits):
    assert cut_bits(size) == bits


rows_of_bytes = st.lists(st.tuples(st.integers(1, 40 << 20), st.booleans()), max_size=60)


@settings(max_examples=200, deadline=None)
@given(rows_of_bytes, rows_of_bytes, rows_of_bytes)
def test_from_the_first_common_cut_on_all_cuts_are_common(one, other, rest):
    """Whatever stands before: a cut depends on the rows of its own shard alone."""
    found = []
    for before in (one, other):
        sizes = np.array([size for size, _ in before + rest], np.int64)
        marked = np.array([mark for _, mark in before + rest], bool)
        found.append([stop - len(before) for stop in cuts(sizes, marked, 0)])
    common = {stop for stop in set(found[0]) & set(found[1]) if stop >= 0}
    if common:
        first = min(common)
        assert [stop for stop in found[0] if stop >= first] == [stop for stop in found[1] if stop >= first]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 1500), st.integers(0, 20), st.integers(0, 20))
def test_cuts_find_each_other_again_soon_after_a_change(seed, at, gone, come):
    """Of 4000 rows of 1 MiB some are replaced at one place; some shards later the cuts are the same again."""
    drawn = np.random.default_rng(seed)
    marked = drawn.random(4000) < 1 / 16
    changed = np.concatenate([marked[:at], drawn.random(come) < 1 / 16, marked[at + gone :]])
    before = {stop - 4000 for stop in cuts(np.full(4000, 1 << 20), marked, 0)}
    after = {stop - len(changed) for stop in cuts(np.full(len(changed), 1 << 20), changed, 0)}
    late = at + gone + 1500 - 4000  # a shard has 32 rows on average
    assert {stop for stop in before if stop > late} == {stop for stop in after if stop > late}
