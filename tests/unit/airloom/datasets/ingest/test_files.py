"""Files of every kind: read as they are, refused with file, row and value."""

import io
import os
import struct
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airloom.datasets.ingest import Reading, from_arrays, from_batches, from_table, open_source
from airloom.datasets.storage.schema import Layout
from airloom.errors import AirloomError, ConfigError, DataError

ROWS = {"a": [1, 2], "text": ["x", "y"], "label": [0, 1]}
CSV = b"a,text,label\n1,x,0\n2,y,1\n"
JSON = b'{"a":1,"text":"x","label":0}\n{"a":2,"text":"y","label":1}\n'


def ipc(batch=None, new=pa.ipc.new_file, times=1):
    batch = batch or pa.record_batch(ROWS)
    sink = pa.BufferOutputStream()
    with new(sink, batch.schema) as writer:
        for _ in range(times):
            writer.write(batch)
    return sink.getvalue().to_pybytes()


def parquet(table, **options):
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def npz(save=np.savez, **arrays):
    sink = io.BytesIO()
    save(sink, **arrays)
    return sink.getvalue()


def npy(array):
    sink = io.BytesIO()
    np.save(sink, array)
    return sink.getvalue()


def forged(shape, payload, name="images.npy"):
    """A packed array that claims a shape."""
    header, sink = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, header.getvalue() + payload)
    return sink.getvalue()


@pytest.fixture
def source(tmp_path):
    def make(name, data, **options):
        (tmp_path / name).write_bytes(data)
        return open_source(tmp_path / name, **options)

    return make


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", CSV),
        ("a.tsv", CSV.replace(b",", b"\t")),
        ("bom.csv", b"\xef\xbb\xbf" + CSV),
        ("a.jsonl", JSON),
        ("no newline.ndjson", JSON.rstrip().replace(b"\n", b"\n\n")),
        ("a.parquet", parquet(pa.table(ROWS))),
        ("a.arrow", ipc()),
        ("stream.arrow", ipc(new=pa.ipc.new_stream)),
        ("a.feather", ipc()),
        ("a.npz", npz(a=np.array([1, 2]), texts=np.array(["x", "y"]), labels=np.array([0, 1]))),
        ("a.npy", npy(np.array([(1, "x", 0), (2, "y", 1)], [("a", "<i8"), ("text", "U1"), ("label", ">i8")]))),
    ],
)
def test_the_same_rows_from_every_kind_of_file(source, name, data):
    found = source(name, data)
    assert found.layout == Layout("tabular", label="label")
    table = found.to_table()
    assert table.to_pydict() == ROWS
    assert table.schema == pa.schema([("a", pa.int64()), ("text", pa.large_string()), ("label", pa.int64())])


def test_images_from_arrays_keep_type_and_shape(source):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    found = source("a.npz", npz(np.savez_compressed, images=pixels, labels=np.array([1, 0])))
    assert found.layout == Layout("image", label="label")
    field = found.schema.field("image")
    assert (field.type, field.metadata, field.nullable) == (pa.list_(pa.uint8(), 12), {b"shape": b"3,2,2"}, False)
    assert found.to_table()["image"].to_pylist() == pixels.reshape(2, -1).tolist()
    wide = source("f.npz", npz(images=pixels / 255, labels=np.array([1, 0]))).schema
    assert wide.field("image").type == pa.list_(pa.float32(), 12)


def test_arrays_that_lie_in_one_piece_are_not_copied():
    pixels = np.zeros((4, 1, 2, 2), np.float32)
    batch = next(from_arrays({"image": pixels, "label": np.arange(4)}, Layout("image", label="label")).batches)
    assert batch["image"].flatten().buffers()[1].address == pixels.ctypes.data


def test_text_can_be_of_another_encoding(source):
    assert (
        source("a.csv", "text,label\né,1\n".encode("latin-1"), reading=Reading(encoding="latin-1"))
        .to_table()["text"]
        .to_pylist()
    ) == ["é"]
    with pytest.raises(ConfigError, match="'klingon'"):
        source("b.csv", CSV, reading=Reading(encoding="klingon"))


SCHEMA = pa.schema([("a", pa.int64()), ("text", pa.large_string()), ("label", pa.int64())])
BAD_TABLES = [
    ("ragged.csv", CSV + b"3,z\n", "Row #4: Expected 3 columns, got 2: 3,z"),
    ("type.csv", CSV + b"three,z,0\n", "row 4, column 'a': 'three' is no int64"),
    ("utf.csv", CSV + b"3,\xff\xfe,0\n", "row 4, column 'text': .*invalid UTF8.*--encoding"),
    ("quote.csv", CSV + b'3,"z,0\n4,y,1\n', 'Row #4.*3,"z'),
    ("empty.csv", b"", "Empty CSV"),
    ("header.csv", b"a,text,label\n", "no rows"),
    ("more.csv", b"a,text,label,b\n1,x,0,3\n", "the column 'b' is not one of the columns"),
    ("less.csv", b"a,text\n1,x\n", "the column 'label' is missing"),
    ("twice.csv", b"a,a,label\n1,2,0\n", "two columns 'a'"),
    ("nul.csv", b"a\0,text,label\n1,x,0\n", r"'a\\x00' is not printable"),
    ("long.csv", b"x" * 500 + b",b\n1,x\n", "500 characters"),
    ("syntax.jsonl", JSON + b'\n{"a":3,\n{}\n', r"line 4: .*b'{\"a\":3,'"),
    ("type.jsonl", JSON + b'{"a":"three"}\n', r"line 3: .*a.*number to string.*three"),
    ("fraction.jsonl", JSON + b'{"a":2.5,"text":"x","label":0}\n', r"line 3: .*2\.5"),
    ("surrogate.jsonl", JSON + b'{"text":"\\ud800"}\n', r"line 3: .*surrogate.*ud800"),
    ("utf.jsonl", JSON + b'{"text":"\xff"}\n', "line 3: byte 0xff"),
    ("array.jsonl", b"[1]\n", "line 1"),
    ("empty.jsonl", b"\n\n", "no rows"),
    ("deep.jsonl", JSON + b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "line 3: nested more than 500 deep"),
    ("sneaky.jsonl", b'{"b":"' + b"]" * 100_000 + b'","a":' + b"[" * 100_000, "line 1: nested more than 500 deep"),
    ("objects.jsonl", b'{"a":' * 50_000 + b"\n", "line 1: nested more than 500 deep"),
    ("cut.arrow", ipc()[:-30], "cut.arrow cannot be read at or after row 0"),
    ("cut stream.arrow", ipc(new=pa.ipc.new_stream, times=3)[:-60], "at or after row [46]"),
    ("nonsense.arrow", b"this is no arrow", "cannot be read"),
    ("empty.arrow", b"", "cannot be read"),
    ("type.arrow", ipc(pa.record_batch(ROWS | {"a": ["1", "2"]})), "the column 'a' is string, not int64"),
    ("float.arrow", ipc(pa.record_batch(ROWS | {"a": [1.0, 2.0]})), "the column 'a' is double, not int64"),
    ("cut.parquet", parquet(pa.table(ROWS))[:-20], "cut.parquet cannot be read"),
    ("nonsense.parquet", b"PAR1xxxxPAR1", "cannot be read"),
    ("length.npz", npz(a=np.arange(2), labels=np.arange(3)), r"number of rows: 'a': \(2,\), 'labels': \(3,\)"),
    ("object.npz", npz(a=np.array([1, None], object)), "'a' is of type object"),
    ("object.npy", npy(np.array([1, None], object)), "Python objects"),
    ("complex.npz", npz(a=np.ones(2, complex)), "'a' is of type complex128"),
    ("scalar.npz", npz(a=np.float64(3)), r"'a': \(\)"),
    ("fortran.npz", npz(a=np.asfortranarray(np.ones((3, 4)))), "Fortran"),
    ("cut.npz", npz(a=np.arange(9))[:-30], "not a zip file"),
    ("none.npz", npz(), "no array"),
    ("no rows.npz", npz(a=np.arange(0)), "no rows"),
    ("cut.npy", npy(np.arange(9))[:-3], "greater than file size"),
    ("nonsense.npy", b"\x80\x04K\x01.", "no .npy file"),
    ("claims more.npz", forged((10**12, 3072), b"x" * 99), r"claims the shape \(1000000000000, 3072\)"),
    ("claims less.npz", forged((1, 4), b"x" * 99), "claims the shape"),
    ("wide.npz", forged((1, 10**9), b"x"), "4000000000 bytes"),
    ("twice.npz", npz(image=np.arange(2), images=np.arange(2)), "two columns 'image'"),
    ("a.pickle", b"\x80\x04K\x01.", r"'\.pickle' are not read.*\.csv"),
]


@pytest.mark.parametrize(("name", "data", "says"), BAD_TABLES, ids=[name for name, *_ in BAD_TABLES])
def test_a_bad_file_is_refused_with_file_row_and_value(source, name, data, says):
    with pytest.raises(DataError, match=f"(?s){says}") as caught:
        source(name, data, schema=SCHEMA, type="tabular", label="label").to_table()
    assert name in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no file .*none\.csv"):
        open_source(tmp_path / "none.csv")


def test_a_flipped_byte_in_an_archive_is_found(source):
    data = bytearray(npz(images=np.ones((4, 1, 8, 8), np.float32), labels=np.arange(4)))
    data[400] ^= 1
    with pytest.raises(DataError, match=r"Bad CRC-32 for file 'images\.npy'"):
        source("a.npz", bytes(data)).to_table()


def test_forged_offsets_never_reach_a_reader(source):
    data = bytearray(ipc(pa.record_batch({"a": ["abc", "defg", "h"]})))
    place = data.find(struct.pack("<4i", 0, 3, 7, 8))
    data[place + 8 : place + 12] = struct.pack("<i", 2**30)
    with pytest.raises(DataError, match="out of bounds: 1073741824"):
        source("a.arrow", bytes(data))


def test_random_damage_is_refused_or_harmless(source):
    whole, random = ipc(), np.random.default_rng(0)
    for seed in range(300):
        data = bytearray(whole)
        for place in random.integers(0, len(data), 1 + seed % 4):
            data[place] = random.integers(0, 256)
        try:
            source("a.arrow", bytes(data)).to_table().to_pydict()
        except AirloomError as error:
            assert "a.arrow" in error.message


def test_a_zip_bomb_is_refused_before_it_goes_off(source, monkeypatch):
    bomb = npz(np.savez_compressed, images=np.zeros((4, 1, 512, 512), np.float32), labels=np.arange(4))
    assert len(bomb) < 20_000
    monkeypatch.setattr("airloom.datasets.ingest.arrays.BOMB_BYTES", 1 << 20)
    with pytest.raises(DataError, match=r"a\.npz: the array 'images' would inflate \d+-fold to 4194"):
        source("a.npz", bomb)


def test_a_line_without_end_is_refused(source, tmp_path):
    long = b"x" * (40 << 20)
    with pytest.raises(DataError, match=r"b\.jsonl: line 1 is longer than 8 MiB"):
        source("b.jsonl", b'{"a":"' + long)
    with pytest.raises(DataError, match=r"b\.csv: a row is longer than 2 MiB"):
        source("b.csv", b"a,b\n" + long + b",1\n")


def test_a_name_that_is_no_text_is_refused(source):
    data = ipc(pa.record_batch({"abcdefgh": [1]})).replace(b"abcdefgh", b"abc\xff\xfefgh")
    with pytest.raises(DataError, match=r"a\.arrow: a column's name is no UTF-8"):
        source("a.arrow", data)


@pytest.mark.parametrize("name", ["a\tb", "a\x1b[31m", "a\u202eb", "\x7f"])
def test_names_that_would_fool_a_reader_are_refused(name):
    with pytest.raises(DataError, match="not printable"):
        from_table(pa.table({name: [1]}), Layout("tabular"))


def test_the_label_and_the_key_must_be_columns(source):
    with pytest.raises(DataError, match=r"(?s)'lable' to be the label.*did you mean 'label'"):
        source("a.csv", CSV, label="lable")
    with pytest.raises(DataError, match=r"a\.csv: there is no column '\.\./a' to be the key; there are 'a', 'text'"):
        source("a.csv", CSV, key="../a")
    with pytest.raises(DataError, match="'label' cannot be label and key"):
        source("a.csv", CSV, label="label", key="label")
    assert source("a.csv", CSV, key="label").layout == Layout("tabular", key="label")


def test_a_column_without_values_has_no_type(source):
    with pytest.raises(DataError, match="'b' has no value"):
        source("a.csv", b"a,b\n1,\n2,\n")
    found = source("b.csv", b"a,b\n1,\n2,\n", schema=pa.schema([("a", pa.int64()), ("b", pa.float64())]))
    assert found.to_table()["b"].null_count == 2


def test_later_rows_must_be_like_the_first():
    good, bad = pa.record_batch({"v": [[1, 2], [3, 4]]}), pa.record_batch({"v": [[5, 6], [7]]})
    with pytest.raises(DataError, match=r"the batch: row 3 of column 'v' does not fit.*\[2\]: \[7\]"):
        from_batches([good, bad], Layout("generic")).to_table()
    assert from_batches([bad, good], Layout("generic")).schema.field("v").type == pa.large_list(pa.int64())
    with pytest.raises(DataError, match=r"row 2 of column 'a' does not fit into int8: 300"):
        wide = [pa.record_batch({"a": [1, 2]}), pa.record_batch({"a": [300]})]
        from_batches(wide, Layout("generic"), pa.schema([("a", pa.int8())])).to_table()


def test_the_source_of_an_error_of_ours_is_not_hidden():
    def broken():
        yield pa.record_batch({"a": [1]})
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        from_batches(broken(), Layout("generic")).to_table()


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"no file .*a\.csv"):
        open_source(tmp_path / "a.csv")
