"""Each value comes back as it was written, or is refused by file, row, column and value: whatever it looks like."""

import datetime
import io
import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import feather

from airloom.datasets.ingest import Reading, open_source, text_values
from airloom.datasets.storage.schema import Layout
from airloom.errors import ConfigError, DataError

quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
letters = st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('\n",;|\t')
texts = st.text(letters, max_size=8)
LOOKALIKES = [
    "007",
    "7",
    "00501",
    "1e5",
    "1e+05",
    "0x10",
    "1.10",
    "1.1",
    "-0",
    "+5",
    " 5",
    "5 ",
    "5.",
    ".5",
    "1_000",
    "1,5",
]
LOOKALIKES += ["2026-01-01", "2026-1-1", "2026-01-01T00:00:00Z", "2026-01-01 00:00:00", "2026-01-01T10:00:00+02:00"]
LOOKALIKES += [
    "2026-02-30",
    "12:30",
    "12:30:05",
    "24:00:00",
    "true",
    "True",
    "TRUE",
    "yes",
    "NA",
    "NaN",
    "null",
    "",
    "inf",
]
LOOKALIKES += ["9223372036854775808", "18446744073709551000", "18446744073709551616", "9007199254740993", "-1"]
LOOKALIKES += ["0.1", "0.12345678901234561", "1.000000000000000056e-01", "1e400", "1e-400", "\ufeff1", "٣"]
lookalikes = st.sampled_from(LOOKALIKES) | st.floats().map(repr) | st.integers(-(2**70), 2**70).map(str)


@pytest.fixture
def source(tmp_path):
    def make(name, data, **options):
        data = data.encode() if isinstance(data, str) else data
        (tmp_path / name).write_bytes(data)
        return open_source(tmp_path / name, **options)

    return make


def csv_of(columns):
    """A CSV in which a text is quoted where it must be, and an empty cell is nothing at all."""

    def cell(text):
        return (
            ""
            if text is None
            else f'"{text.replace(chr(34), chr(34) * 2)}"'
            if not text or set(text) & set(',"\r\n')
            else text
        )

    rows = zip(*columns.values(), strict=True)
    return "\n".join([",".join(columns), *[",".join(map(cell, row)) for row in rows]]) + "\n"


def written(value):
    """A value as text, in one of the forms that stand for it."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    return str(value)


EMPTY = set(text_values.EMPTY)


def same(text, value):
    """Whether a value is what the text says, digit by digit."""
    if text is None or value is None:
        return value is None and (text is None or text in EMPTY)
    if isinstance(value, str):
        return value == text
    if isinstance(value, bool):
        return text.lower() == str(value).lower()
    if isinstance(value, int):
        return text == str(value)
    if isinstance(value, float):
        number = Decimal(text)
        if Decimal(repr(value)) == number:  # the fewest digits that tell it; not always its rounded ones
            return True
        digits = len(number.as_tuple().digits)
        return number == Decimal(value) if not number.is_finite() else Decimal(f"{value:.{digits - 1}e}") == number
    if isinstance(value, datetime.datetime):
        return datetime.datetime.fromisoformat(text) == value
    return type(value).fromisoformat(text) == value


@quick
@given(cells=st.lists(st.none() | lookalikes | texts, min_size=1, max_size=5), alike=st.none() | lookalikes)
@example(cells=["007", "7"], alike=None)
@example(cells=["9007199254740993", "0.5"], alike=None)
@example(cells=["2026-01-01T10:00:00+02:00"], alike=None)
@example(cells=["1e-400"], alike=None)
@example(cells=["NA", "5"], alike="NA")
@example(cells=["NULL"], alike="0.0")
def test_csv_keeps_every_cell_or_refuses_it(source, cells, alike):
    cells = cells if alike is None else [alike, *cells, alike]
    try:
        read = source("a.csv", csv_of({"x": cells, "n": ["1"] * len(cells)})).to_table()
    except DataError as error:
        assert "no value from which to tell its type" in error.message
        assert set(cells) <= EMPTY | {None}
    else:
        values = read["x"].to_pylist()
        assert all(map(same, cells, values)), (cells, values)
        if any(isinstance(value, str) for value in values):  # of text, an empty cell and an empty text are two things
            assert values == cells


kinds = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.float32(): st.floats(allow_nan=False, width=32),
    pa.float16(): st.floats(allow_nan=False, width=16),
    pa.bool_(): st.booleans(),
    pa.large_string(): texts,
    pa.date32(): st.dates(),
    pa.timestamp("us"): st.datetimes(datetime.datetime(1000, 1, 1)),
    pa.time64("us"): st.times(),
    pa.decimal128(9, 2): st.decimals(-99999, 99999, places=2),
}


@st.composite
def typed(draw):
    kind = draw(st.sampled_from(list(kinds)))
    rows = draw(st.integers(1, 6))
    return pa.array(draw(st.lists(st.none() | kinds[kind], min_size=rows, max_size=rows)), kind)


def shortest(kind, value):
    narrow = {pa.float32(): np.float32, pa.float16(): np.float16}
    return None if value is None else str(narrow[kind](value)) if kind in narrow else written(value)


@quick
@given(column=typed())
@example(column=pa.array([2.0**-24]))  # its shortest digits are not its rounded ones
def test_typed_values_come_back_from_csv(source, column):
    schema = pa.schema([("x", column.type), ("n", pa.int64())])
    cells = [shortest(column.type, value) for value in column.to_pylist()]
    data = csv_of({"x": cells, "n": ["1"] * len(column)})
    assert source("a.csv", data, schema=schema, type="tabular").to_table()["x"].to_pylist() == column.to_pylist()
    guessed = source("b.csv", data, type="generic").to_table()["x"].to_pylist()
    assert all(map(same, cells, guessed))


@quick
@given(column=typed())
def test_typed_values_come_back_from_parquet_and_arrow(tmp_path, column):
    table = pa.table({"x": column, "n": [1] * len(column)})
    pq.write_table(table, tmp_path / "a.parquet")
    feather.write_feather(table, str(tmp_path / "a.feather"))
    for name in ("a.parquet", "a.feather"):
        assert open_source(tmp_path / name, type="generic").to_table().to_pydict() == table.to_pydict()


numbers = st.integers(-(2**70), 2**70) | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False)
fields = {
    "text": st.none() | lookalikes | texts,
    "number": st.none() | numbers,
    "whole": st.none() | st.integers(0, 2**64 - 1),
    "flag": st.booleans(),
    "list": st.lists(st.integers(-9, 9) | st.floats(-9, 9), max_size=2),
    "record": st.fixed_dictionaries({"t": lookalikes, "n": st.integers(-9, 9)}),
}


@quick
@given(rows=st.lists(st.fixed_dictionaries({}, optional=fields), min_size=1, max_size=4))
@example(rows=[{"text": "2026-01-01T10:00:00Z"}])
@example(rows=[{"record": {"t": "2026-01-01 10:00:00", "n": 1}}])
@example(rows=[{"number": 2**53 + 1}, {"number": 0.5}])
@example(rows=[{"list": [2**53 + 1, 0.5]}])
@example(rows=[{"whole": 2**64 - 1}, {"whole": 3}])
def test_json_lines_keep_every_value_or_refuse_it(source, rows):
    try:
        read = source("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows), type="generic").to_table().to_pylist()
    except DataError as error:
        assert "a.jsonl" in error.message
    else:
        assert [{k: v for k, v in row.items() if v is not None} for row in read] == [
            {k: v for k, v in row.items() if v is not None} for row in rows
        ]


arrays = st.sampled_from(["<i8", "<u8", ">i4", "u1", "<f4", ">f8", "?", "<M8[s]", "<M8[D]"])


@quick
@given(kind=arrays, rows=st.integers(1, 4), data=st.data())
def test_npz_keeps_every_value(source, kind, rows, data):
    raw = np.frombuffer(data.draw(st.binary(min_size=8 * rows, max_size=8 * rows)), "<i8")
    bits = np.dtype(kind).itemsize * 8
    array = (raw >> (64 - bits)).astype(f"<i{bits // 8}").view(np.dtype(kind).newbyteorder("<")).astype(kind)
    array = np.nan_to_num(array) if np.dtype(kind).kind == "f" else array
    array = raw > 0 if kind == "?" else raw // 2**20 if kind == "<M8[D]" else array
    array = array.astype(kind)
    sink = io.BytesIO()
    np.savez(sink, a=array)
    stored = source("a.npz", sink.getvalue(), type="generic").to_table()["a"]
    plain = array.astype(array.dtype.newbyteorder("="))
    assert stored.combine_chunks().equals(pa.array(plain))


@quick
@given(mode=st.sampled_from(["L", "RGB", "RGBA"]), data=st.data())
def test_pictures_keep_every_pixel(tmp_path, mode, data):
    depth = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    pixels = np.frombuffer(data.draw(st.binary(min_size=6 * depth, max_size=6 * depth)), np.uint8).reshape(2, 3, depth)
    (tmp_path / "x").mkdir(exist_ok=True)
    Image.fromarray(pixels[:, :, 0] if depth == 1 else pixels).save(tmp_path / "x" / "a.png")
    stored = open_source(tmp_path).to_table()["image"][0].as_py()
    assert stored == pixels.transpose(2, 0, 1).reshape(-1).tolist()


# -- what a type is told by


def types_of(found):
    return {field.name: str(field.type) for field in found.schema}


def test_types_are_told_by_all_rows_of_all_files(source, tmp_path):
    filler = "1,2026-01-01,7\n" * 300_000  # more than Arrow looks at
    found = source("a.csv", "x,when,id\n" + filler + "1.5,2026-01-01 10:00:00,007\n,,\n")
    assert types_of(found) == {"x": "double", "when": "large_string", "id": "large_string"}
    assert found.notes == [
        "column id is text: as a number, '007' in row 300002 would change (--column id=TYPE says otherwise)"
    ]
    table = found.to_table()
    assert table["id"].to_pylist()[-2:] == ["007", None]
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "1.jsonl").write_text('{"a": 1, "b": null}\n')
    (tmp_path / "parts" / "2.jsonl").write_text('{"a": 1.5, "b": "x", "c": true}\n')
    assert open_source(tmp_path / "parts").to_table().to_pylist() == [
        {"a": 1.0, "b": None, "c": None},
        {"a": 1.5, "b": "x", "c": True},
    ]


def test_a_column_quoted_throughout_is_text_and_so_is_a_key_of_fractions(source):
    found = source("a.csv", 'id,code,version\n"7",1,1.10\n"07",2,1.1\n', key="version")
    assert types_of(found) == {"id": "large_string", "code": "int64", "version": "large_string"}
    assert found.notes == [
        "column id is text: it is quoted throughout (--column id=TYPE says otherwise)",
        "column version is text: a key is compared as it is written (--column version=TYPE says otherwise)",
    ]
    assert source("b.csv", 'a,b\n"x,""y\n2",1\n"2",1\n').to_table()["a"].to_pylist() == ['x,"y\n2', "2"]


def test_a_dataset_takes_numbers_as_they_are_written_or_names_them(source):
    schema = pa.schema([("zip", pa.int64()), ("price", pa.float64()), ("n", pa.int64())])
    own = {"schema": schema, "type": "tabular"}
    with pytest.raises(
        DataError,
        match=r"(?s)a\.csv: row 3, column 'zip': '00501' is no int64: it would become 501.*--column 'zip=int64'",
    ):
        source("a.csv", "zip,price,n\n7,1,1\n00501,2,1\n", **own).to_table()
    with pytest.raises(
        DataError, match=r"row 2, column 'price': '9007199254740993' is no float64: it would become 90071992547409"
    ):
        source("a.csv", "zip,price,n\n7,9007199254740993,1\n", **own).to_table()
    said = Reading({"zip": "int64", "price": "float64"})
    read = source("a.csv", "zip,price,n\n00501,0.12345678901234561,1\n", reading=said, **own).to_table()
    assert read.to_pylist() == [{"zip": 501, "price": 0.12345678901234561, "n": 1}]
    with pytest.raises(DataError, match="9007199254740993"):  # whole numbers are never rounded
        source("a.csv", "zip,price,n\n7,9007199254740993,1\n", reading=said, **own).to_table()


def test_named_types_are_taken_in_every_kind_of_file(source):
    said = {"reading": Reading({"id": "text", "when": "timestamp[s, UTC]", "v": "list<int64>"}), "type": "generic"}
    rows = [{"id": 7, "when": "2026-01-01T12:00:00+02:00", "v": [1, 2]}, {"id": 8, "when": None, "v": [3, 4]}]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    for name, data in (("a.jsonl", lines), ("a.parquet", sink.getvalue())):
        read = source(name, data, **said).to_table()
        assert read.schema.field("v").type == pa.large_list(pa.int64())
        assert read["id"].to_pylist() == ["7", "8"]
        assert read["when"][0].as_py() == datetime.datetime(2026, 1, 1, 10, tzinfo=datetime.UTC)
    with pytest.raises(DataError, match=r"(?s)no column 'ids'.*did you mean 'id'"):
        source("a.parquet", sink.getvalue(), reading=Reading({"ids": "text"}))
    with pytest.raises(
        DataError, match=r"a\.parquet: row 0 of column 'when': '2026-01-01T12:00:00\+02:00' does not fit"
    ):
        source("a.parquet", sink.getvalue(), reading=Reading({"when": "int64"}), type="generic").to_table()
    with pytest.raises(ConfigError, match="no column type 'number'"):
        source("a.csv", "a,b\n1,2\n", reading=Reading({"a": "number"}))


# -- how a file is written


def test_the_delimiter_is_named_or_probable(source):
    data = "when;temperature;label\n2026-01-01;20,5;0\n2026-01-02;21,0;1\n"
    with pytest.raises(
        DataError,
        match=r"(?s)a\.csv: cut at ',', the header .* is one column; it seems to be cut at ';'.*--delimiter ';'",
    ):
        source("a.csv", data)
    found = source("a.csv", data, reading=Reading(delimiter=";"))
    assert found.notes == [
        "column temperature is text: its numbers have a decimal comma, which `--decimal ,` reads "
        "(--column temperature=TYPE says otherwise)"
    ]
    read = source("a.csv", data, reading=Reading(delimiter=";", decimal=",")).to_table()
    assert read["temperature"].to_pylist() == [20.5, 21.0]
    assert source("b.csv", "a;b\nx\n", reading=Reading(delimiter=",")).to_table().to_pydict() == {"a;b": ["x"]}
    assert source("a.tsv", "a;b\tlabel\n1\t2\n").to_table().num_columns == 2
    with pytest.raises(ConfigError, match="--delimiter ';;' is not one character"):
        source("a.csv", data, reading=Reading(delimiter=";;"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["A.CSV", "a.JSONL", "a.Tsv"])
def test_a_byte_order_mark_names_the_encoding_and_endings_may_be_capitals(source, encoding, name):
    data = '{"city": "Zürich", "n": 1}\n' if "JSON" in name else "city,n\nZürich,1\n"
    data = data.replace(",", "\t") if "Tsv" in name else data
    assert source(name, data.encode(encoding)).to_table().to_pylist() == [{"city": "Zürich", "n": 1}]


def test_another_encoding_is_asked_for(source, tmp_path):
    with pytest.raises(
        DataError, match=r"(?s)a\.csv: row 2, column 'city': invalid UTF8 data.*--encoding utf-16, cp1252 or latin-1"
    ):
        source("a.csv", "city,n\nZürich,1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"(?s)every other byte of it is NUL.*--encoding"):
        source("a.csv", "city,n\nZürich,1\n".encode("utf-16-le"))
    with pytest.raises(DataError, match=r"(?s)a\.jsonl, line 1: byte 0xfc is no UTF-8"):
        source("a.jsonl", '{"city": "Zürich"}\n'.encode("latin-1"))
    for name, data in (("a.csv", "city,n\nZürich,1\n"), ("a.jsonl", '{"city": "Zürich", "n": 1}\n')):
        read = source(name, data.encode("latin-1"), reading=Reading(encoding="latin-1")).to_table()
        assert read["city"].to_pylist() == ["Zürich"]
    with pytest.raises(DataError, match=r"a\.csv is no ascii"):
        source("a.csv", "city,n\nZürich,1\n".encode("latin-1"), reading=Reading(encoding="ascii"))
    for codec in ("base64", "zip"):
        with pytest.raises(ConfigError, match="no encoding"):
            source("a.csv", "a,b\n1,2\n", reading=Reading(encoding=codec))
    (tmp_path / "ham").mkdir()
    (tmp_path / "ham" / "1.txt").write_text("é", encoding="utf-8-sig")
    for stray in tmp_path.glob("a.*"):
        stray.unlink()
    assert open_source(tmp_path).to_table()["text"].to_pylist() == ["é"]


def test_an_option_that_would_be_ignored_is_refused(source):
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    for option, value in (("encoding", "latin-1"), ("delimiter", ";"), ("decimal", ",")):
        with pytest.raises(ConfigError, match=f"--{option} '.*' says nothing of .parquet files"):
            source("a.parquet", sink.getvalue(), reading=Reading(**{option: value}))
    for option in ("decimal", "channels", "unlabelled"):
        with pytest.raises(ConfigError, match=f"--{option} 'x' is not known"):
            Reading(**{option: "x"})


def test_an_unnamed_column_is_pandas_index(source):
    with pytest.raises(DataError, match=r"(?s)column 1 of the header has no name.*index=False"):
        source("a.csv", ",x,label\n0,1,2\n")


@pytest.mark.parametrize(
    "write", [lambda f, p: f.to_parquet(p), lambda f, p: feather.write_feather(pa.Table.from_pandas(f), str(p))]
)
def test_what_pandas_calls_an_index_is_left_out_and_said(tmp_path, write):
    import pandas as pd

    frame = pd.DataFrame({"x": [1, 2, 3], "label": [0, 1, 0]})
    path = tmp_path / "a.parquet" if write.__code__.co_names[0] == "to_parquet" else tmp_path / "a.feather"
    write(frame.iloc[[0, 2, 1]], path)
    found = open_source(path)
    assert found.to_table().to_pydict() == {"x": [1, 3, 2], "label": [0, 0, 1]}
    assert "column __index_level_0__ of a" in found.notes[0]
    write(frame.set_index(pd.Index(["p", "q", "r"], name="patient")), path)
    assert open_source(path).schema.names == ["x", "label"]
    assert open_source(path, key="patient").to_table()["patient"].to_pylist() == ["p", "q", "r"]
    schema = pa.schema([("x", pa.int64()), ("label", pa.int64()), ("patient", pa.large_string())])
    assert open_source(path, schema=schema, type="tabular").to_table().schema == schema  # a home that has it


# -- what no suite needs to say


@pytest.mark.parametrize(
    ("rows", "row"),
    [
        ("0.1,0\n0.2,\n", 3),
        ("0.1,a\n0.2,\n", 3),
        ('0.1,a\n0.2,""\n', 3),
        ("0.1,0.5\n0.2,NaN\n", 3),
        ("0.1,true\n,\n", 3),
    ],
)
def test_a_missing_label_is_named_or_dropped_on_request(source, rows, row):
    with pytest.raises(
        DataError, match=rf"(?s)a\.csv: there is no label in column 'label', row {row}.*--unlabelled drop"
    ):
        source("a.csv", "x,label\n" + rows).to_table()
    found = source("a.csv", "x,label\n" + rows, reading=Reading(unlabelled="drop"))
    assert found.to_table().num_rows == 1
    assert found.notes == ["1 rows without a label were left out"]


def test_a_missing_label_is_named_in_every_kind_of_dataset(source):
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", "b"], "label": [None, "y"]}), sink)
    for kind in ("text", "tabular", "generic"):
        with pytest.raises(DataError, match=r"a\.parquet: there is no label in column 'label', row 0"):
            source("a.parquet", sink.getvalue(), type=kind).to_table()


@pytest.mark.parametrize("lists", [[[1.0, 2.0], [1.0, None]], [[1.0], [1.0, None]]])
def test_an_empty_element_of_a_list_is_named(source, lists):
    sink = io.BytesIO()
    pq.write_table(pa.table({"v": lists, "label": [0, 1]}), sink)
    with pytest.raises(DataError, match=r"a\.parquet: row 1 of column 'v': element 1 of the list is empty"):
        source("a.parquet", sink.getvalue()).to_table()


def npz(**arrays):
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    return sink.getvalue()


def test_channels_stand_first_or_are_turned_when_asked(source):
    pixels = np.arange(2 * 8 * 6 * 3, dtype=np.uint8).reshape(2, 8, 6, 3)
    data = npz(images=pixels, labels=np.arange(2))
    with pytest.raises(
        DataError,
        match=r"(?s)a\.npz: the images of column 'image' have the shape \(8, 6, 3\): 8 channels\?.*--channels last",
    ):
        source("a.npz", data)
    found = source("a.npz", data, reading=Reading(channels="last"))
    assert found.schema.field("image").metadata == {b"shape": b"3,8,6"}
    assert found.to_table()["image"].to_pylist() == pixels.transpose(0, 3, 1, 2).reshape(2, -1).tolist()
    assert source("a.npz", data, reading=Reading(channels="first")).schema.field("image").metadata == {
        b"shape": b"8,6,3"
    }
    own = found.schema
    again = source("a.npz", data, reading=Reading(channels="last"), schema=own, type="image", label="label")
    assert again.to_table().num_rows == 2
    with pytest.raises(DataError, match=r"(?s)\(8, 6\) without channels.*images\[:, None\]"):
        source("a.npz", npz(images=pixels[..., 0], labels=np.arange(2)), type="image")
    with pytest.raises(DataError, match=r"(?s)list_size|reshape\(-1\)"):
        source("a.npz", npz(images=pixels.transpose(0, 3, 1, 2), labels=np.arange(2).reshape(2, 1)))


@pytest.mark.parametrize("value", [254.0, -0.1, 1.001, np.inf])
def test_pixels_beyond_their_range_are_refused(source, value):
    pixels = np.full((3, 1, 2, 2), 0.5, np.float32)
    pixels[1, 0, 1, 0] = value
    with pytest.raises(
        DataError, match=rf"(?s)a\.npz: row 1 of column 'image' has a pixel of {value:g}, beyond 0 to 1.*255"
    ):
        source("a.npz", npz(images=pixels, labels=np.arange(3))).to_table()


def test_fractions_are_not_narrowed_silently(source):
    schema = pa.schema([pa.field("v", pa.list_(pa.float32(), 2)), ("n", pa.float32())])
    own = {"schema": schema, "type": "generic"}
    assert source("a.jsonl", '{"v": [0.1, 2.5], "n": 0.1}\n', **own).to_table()["v"].to_pylist() == [
        [float(np.float32(0.1)), 2.5]
    ]
    with pytest.raises(DataError, match=r"a\.jsonl: row 1 of column 'v': '0.123456789012' does not fit"):
        source("a.jsonl", '{"v": [0.123456789012, 2.5], "n": 0.1}\n', **own).to_table()
    with pytest.raises(DataError, match=r"field 'n': '0.123456789012' is no float32: it would become 0.12"):
        source("a.jsonl", '{"v": [0.1, 2.5], "n": 0.123456789012}\n', **own).to_table()


# -- what a dataset is taken for


@pytest.mark.parametrize("label", ['"ham"', "1"])
def test_one_text_and_a_class_are_a_text_dataset(source, label):
    found = source("a.jsonl", f'{{"text": "hello", "label": {label}}}\n')
    assert found.layout == Layout("text", label="label")
    assert source("a.csv", f"id,text,label\n1,hello,{label}\n", key="id").layout.type == "text"
    assert source("a.csv", f"city,label\nRome,{label}\n", type="tabular").layout.type == "tabular"
    assert source("a.csv", "city,n,label\nRome,1,0\n").layout.type == "tabular"
    assert source("a.csv", "city,label\nRome,0.5\n").layout.type == "tabular"


# -- pictures


def test_a_picture_is_stored_as_a_viewer_shows_it(tmp_path):
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 10
    (tmp_path / "x").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "x" / "a.png", exif=exif)
    found = open_source(tmp_path)
    assert found.schema.field("image").metadata == {b"shape": b"3,3,2"}
    shown = np.rot90(pixels, -1).transpose(2, 0, 1)
    assert found.to_table()["image"][0].as_py() == shown.reshape(-1).tolist()
    Image.fromarray(np.rot90(pixels, -1).copy()).save(tmp_path / "x" / "b.png")
    assert open_source(tmp_path).to_table()["image"][0] == open_source(tmp_path).to_table()["image"][1]


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparency_is_kept(tmp_path, mode):
    (tmp_path / "x").mkdir()
    image = Image.new(mode, (2, 1), 1 if mode != "RGB" else (1, 1, 1))
    image.putpixel((1, 0), 0 if mode != "RGB" else (0, 0, 0))
    image.save(tmp_path / "x" / "a.png", transparency=0 if mode != "RGB" else (0, 0, 0))
    found = open_source(tmp_path)
    assert found.schema.field("image").metadata == {b"shape": b"4,1,2"}
    assert found.to_table()["image"][0].as_py()[-2:] == [255, 0]


def png16(path, colour, samples):
    """A PNG of 16 bits a channel, which Pillow can read but not write."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"\0" + struct.pack(f">{samples}H", *range(1000, 1000 + samples))
    header = struct.pack(">IIBBBBB", 1, 1, 16, colour, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("colour", "samples"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_deep_pictures_are_refused_not_halved(tmp_path, colour, samples):
    (tmp_path / "x").mkdir()
    png16(tmp_path / "x" / "a.png", colour, samples)
    with pytest.raises(DataError, match=r"(?s)a\.png has pixels of 16 bits a channel.*8 bits"):
        open_source(tmp_path)


def test_an_animation_is_refused(tmp_path):
    (tmp_path / "x").mkdir()
    frames = [Image.new("L", (2, 2), value) for value in (0, 9)]
    frames[0].save(tmp_path / "x" / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"a\.png is an animation"):
        open_source(tmp_path)
