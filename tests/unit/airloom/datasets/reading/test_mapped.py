"""Shards that are not what the manifest says are named, whatever is wrong with them."""

import pickle
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from airloom.datasets.reading.mapped import Mapped
from airloom.errors import CorruptFile, DataError


def overwrite(file, data):
    file.path.chmod(0o644)
    file.path.write_bytes(data)


def first_row(source):
    return source.data().columns([0])


@pytest.mark.parametrize("size", [0, 1, 8, 500, -1, -20])
def test_a_truncated_file_is_named(source, size):
    file = source.files[0]
    overwrite(file, file.path.read_bytes()[:size])
    with pytest.raises(CorruptFile, match=rf"shard {file.md5} is damaged: no readable Arrow file"):
        first_row(source)


def test_a_file_of_something_else_is_named(source):
    overwrite(source.files[0], b"id,label\n1,2\n" * 100)
    with pytest.raises(CorruptFile, match=f"shard {source.files[0].md5} is damaged: no readable Arrow file"):
        first_row(source)


@pytest.mark.parametrize("batches", [0, 2])
def test_another_number_of_record_batches_is_named(source, batches):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, source.table.schema) as writer:
        for batch in source.table.to_batches()[:batches]:
            writer.write_batch(batch)
    overwrite(source.files[0], sink.getvalue().to_pybytes())
    with pytest.raises(CorruptFile, match=f"{batches} record batches, not 1"):
        first_row(source)


def test_another_schema_is_named_with_both(source):
    schema = source.table.schema.set(3, pa.field("label", pa.int32(), False))
    mapped = Mapped(source.files, schema)
    with pytest.raises(CorruptFile, match=r"label: int64 not null.*the version's is .*label: int32 not null"):
        mapped.column(0, "label")


def test_another_number_of_rows_is_named(source):
    source.files[0] = replace(source.files[0], rows=71)
    with pytest.raises(CorruptFile, match="70 rows, the manifest says 71"):
        Mapped(source.files, source.table.schema).column(0, "label")


def test_a_missing_shard_says_so(source):
    source.files[0].path.unlink()
    with pytest.raises(DataError, match=rf"shard {source.files[0].md5} is not there .*\n.*fetch"):
        first_row(source)


def test_no_flipped_byte_crashes_the_process(source):
    # Before the digest is verified, rows of a damaged shard may be read: an error or other values, never a crash.
    file = source.files[0]
    good = file.path.read_bytes()
    random = np.random.default_rng(0)
    for place in random.integers(0, len(good), 300).tolist():
        data = bytearray(good)
        data[place] ^= int(random.integers(1, 256))
        overwrite(file, bytes(data))
        try:
            assert len(source.data().columns(list(range(240)), views=True)["label"]) == 240
        except CorruptFile as error:
            assert file.md5 in str(error)


def test_a_copy_maps_the_files_itself(source):
    mapped = source.mapped()
    mapped.column(0, "label")
    copy = pickle.loads(pickle.dumps(mapped))  # noqa: S301  # our own bytes
    assert copy._opened == {} and len(pickle.dumps(mapped)) < 5000
    assert copy.column(0, "label").values.tolist() == list(range(70))


def test_one_file_may_stand_in_several_places(source):
    mapped = Mapped([source.files[1], source.files[0], source.files[1]], source.table.schema)
    assert mapped.rows == 72
    assert mapped.column(2, "label").values.tolist() == mapped.column(0, "label").values.tolist() == [70]
