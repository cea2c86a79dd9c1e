"""What each type takes, measures and hands to a model."""

import importlib
import importlib.metadata
import math
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom import classes
from airloom.datasets.ingest import from_arrays, from_table
from airloom.datasets.ingest.images import image_arrays, image_table
from airloom.datasets.storage.schema import Layout
from airloom.datasets.types import OWN, get_type, known_types, labels
from airloom.errors import ConfigError, DataError

IMAGE = Layout("image", label="label")
TEXT = Layout("text", label="label")
HOW_TO = Path(__file__).parents[5] / "docs" / "how-to"


def stored(columns, layout):
    return from_table(pa.table(columns), layout).to_table()


def measured(table, layout):
    return get_type(layout.type).profile(table, layout)


def test_pixels_are_measured_from_0_to_1_whatever_their_type():
    images = np.array([[0, 51], [255, 255]], np.uint8).reshape(2, 1, 1, 2)
    whole = measured(image_table(images, np.array([3, 4])), IMAGE)
    parts = measured(image_table(images / np.float32(255), np.array([3, 4])), IMAGE)
    assert list(whole) == ["pixels", "mean_intensity", "lowest", "highest", "label"]
    for frame in (whole, parts):
        assert frame["pixels"].tolist() == [2, 2]
        assert frame["mean_intensity"].tolist() == pytest.approx([0.1, 1])
        assert frame["lowest"].tolist() == pytest.approx([0, 1])
        assert frame["highest"].tolist() == pytest.approx([0.2, 1])
        assert frame["label"].tolist() == [3, 4]


def test_a_pixel_that_is_no_number_shows_in_every_measure():
    images = np.zeros((1, 1, 2, 2), np.float32)
    images[0, 0, 0, 1] = np.nan
    frame = measured(image_table(images, np.array([0])), IMAGE)
    assert frame[["mean_intensity", "lowest", "highest"]].isna().all(axis=None)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_become_tensors_on_the_same_memory(dtype):
    images = (np.arange(24) / (1 if dtype == np.uint8 else 24)).astype(dtype).reshape(2, 3, 2, 2)
    table = image_table(images, np.array([1, 0]))
    assert image_arrays(table)[0].dtype == dtype
    assert (image_arrays(table)[0] == images).all()
    columns = {"image": images, "label": np.array([1, 0])}
    inputs, numbers = get_type("image").to_tensors(columns, table.schema, IMAGE)
    assert inputs.shape == (2, 3, 2, 2)
    assert inputs.data_ptr() == images.ctypes.data
    assert numbers.data_ptr() == columns["label"].ctypes.data
    assert (str(numbers.dtype), numbers.tolist()) == ("torch.int64", [1, 0])


def test_memory_that_may_not_be_written_is_copied():
    images = np.ones((1, 1, 2, 2), np.float32)
    schema = image_table(images, np.array([1])).schema
    images.flags.writeable = False
    inputs, _ = get_type("image").to_tensors({"image": images, "label": np.array([1])}, schema, IMAGE)
    inputs += 1
    assert images.max() == 1


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"image": [[1.0, 2.0]], "label": [1]}, "shape"),
        ({"image": ["x"], "label": [1]}, "image.*large_string"),
        ({"image": [[1.0]], "label": [1.5]}, "label.*double"),
        ({"image": [[1.0]], "lable": [1]}, "no column 'label'.*did you mean 'lable'"),
        ({"label": [1]}, "besides label and key"),
    ],
)
def test_what_is_no_image_dataset_is_refused_with_the_column(columns, says):
    table = pa.table(columns)
    if "shape" not in says and "image" in columns and isinstance(columns["image"][0], list):
        table = table.set_column(0, table.schema.field(0).with_metadata({"shape": "1,1,1"}), table.column(0))
    with pytest.raises(DataError, match=f"(?s){says}"):
        from_table(table, IMAGE)


@pytest.mark.parametrize("shape", ["x,1,1", "-1,1,1", "1,1", "1,1,2", "9" * 400, b"\xff"])
def test_a_forged_shape_is_refused(shape):
    field = pa.field("image", pa.list_(pa.float32()), metadata={"shape": shape})
    table = pa.table([[[0.5]], [1]], schema=pa.schema([field, ("label", pa.int64())]))
    with pytest.raises(DataError, match="shape"):
        from_table(table, IMAGE)


def test_texts_are_measured_and_handed_on():
    table = stored({"text": ["", "two words", " Straße  für é ", "a\nb\tc"], "label": ["x", "y", "x", "y"]}, TEXT)
    frame = measured(table, TEXT)
    assert frame["characters"].tolist() == [0, 9, 15, 5]
    assert frame["words"].tolist() == [0, 2, 3, 3]
    assert frame["non_ascii"].tolist() == pytest.approx([0, 0, 3 / 15, 0])
    assert frame["label"].tolist() == ["x", "y", "x", "y"]
    schema = labels.numbered(table.schema, TEXT, ["x", "y"])
    texts, numbers = get_type("text").to_tensors({"text": ["a", "b"], "label": ["y", "x"]}, schema, TEXT)
    assert (texts, numbers.tolist()) == (["a", "b"], [1, 0])


def test_labels_are_numbered_by_the_names_of_a_model_and_a_stranger_is_named():
    columns = {"text": ["a", "b"], "label": ["dog", "cat"]}
    schema = labels.numbered(stored(columns, TEXT).schema, TEXT, ["dog", "cat", "axolotl"])
    kind = get_type("text")
    assert kind.to_tensors(columns, schema, TEXT)[1].tolist() == [0, 1]
    with pytest.raises(DataError, match="'zebra' is none of the 3 classes"):
        kind.to_tensors({"text": ["a"], "label": ["zebra"]}, schema, TEXT)
    with pytest.raises(DataError, match="nothing numbers the classes"):
        kind.to_tensors(columns, stored(columns, TEXT).schema, TEXT)
    with pytest.raises(DataError, match="'a' stands there twice"):
        labels.numbered(schema, TEXT, ["a", "a"])
    with pytest.raises(DataError, match="label 'none' is no class"):
        labels.numbered(schema, Layout("text", "none"), ["a"])


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
LABELS = st.one_of(
    st.lists(NAMES, min_size=1).map(lambda names: pa.array(names, pa.large_string())),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1).map(lambda whole: pa.array(whole, pa.int64())),
    st.lists(st.integers(0, 2**64 - 1), min_size=1).map(lambda whole: pa.array(whole, pa.uint64())),
    st.lists(st.booleans(), min_size=1).map(lambda truth: pa.array(truth, pa.bool_())),
)


@settings(deadline=None)
@given(LABELS)
def test_a_label_comes_back_from_its_name_and_from_its_number(column):
    layout, given_labels = Layout("tabular", "y"), column.to_pylist()
    gathered = given_labels if column.type == pa.large_string() else column.to_numpy(zero_copy_only=False)
    names = labels.label_names(gathered)
    assert [labels.label_of(name, column.type) for name in names] == given_labels
    assert names == column.cast(pa.large_string()).to_pylist()  # the names by which a batch is checked
    order = classes.in_order(names)
    assert len(order) == len(set(given_labels))
    schema = labels.numbered(pa.schema([("x", pa.int64()), ("y", column.type)]), layout, order)
    assert labels.classes_of(schema, layout) == order
    numbers = labels.label_tensor({"y": gathered}, schema, layout)
    assert [order[number] for number in numbers.tolist()] == names
    assert labels.without_order(schema).equals(pa.schema([("x", pa.int64()), ("y", column.type)]), check_metadata=True)


def test_numbers_are_in_the_order_of_their_values_and_before_text():
    assert classes.in_order(["10", "b", "2", "-1", "a", "2", "1e3"]) == ["-1", "2", "10", "1e3", "a", "b"]


@pytest.mark.parametrize("text", ["[1]", "{", "7", '["\\ud800"]', "[" * 100_000, b"\xff"])
def test_forged_classes_are_refused(text):
    field = pa.field("label", pa.large_string(), metadata={"classes": text})
    table = pa.table([["a"], ["x"]], schema=pa.schema([("text", pa.large_string()), field]))
    with pytest.raises(DataError, match="classes of 'label'"):
        labels.classes_of(table.schema, TEXT)
    assert from_table(table, TEXT).schema.field("label").metadata is None


def test_tabular_columns_are_measured_as_they_are():
    columns = {
        "id": ["r1", "r2", "r3"],
        "age": pa.array([31, None, 2**60], pa.int64()),
        "price": pa.array([1, None, 3]).cast(pa.decimal128(30, 2)),
        "town": pa.array(["Ulm", None, "Ulm"]).dictionary_encode(),
        "member": [True, None, False],
        "born": pa.array([0, 1, None], pa.date32()),
        "took": pa.array([1500, None, 1], pa.duration("ms")),
        "at": pa.array([60, None, 1], pa.time32("s")),
        "rate": [0.5, 1.0, math.inf],
    }
    layout = Layout("tabular", label="rate", key="id")
    frame = measured(stored(columns, layout), layout)
    assert list(frame) == ["age", "price", "town", "member", "born", "took", "at", "rate"]
    assert frame["age"].tolist()[2] == 2**60
    assert frame["price"].tolist()[::2] == [1.0, 3.0]
    assert frame["town"].tolist()[::2] == ["Ulm", "Ulm"]
    assert str(frame["born"][1]) == "1970-01-02 00:00:00"
    assert (frame["took"][0], frame["at"][0]) == (1.5, 60)
    assert frame.isna().sum().tolist() == [1] * 7 + [0]


def test_tabular_rows_become_a_tensor_a_column():
    table = stored({"a": [1, 2], "t": ["x", "y"], "label": [0.5, 1.5]}, Layout("tabular", label="label"))
    columns = {"a": np.array([1, 2]), "t": ["x", "y"], "label": np.array([0.5, 1.5])}
    inputs, wanted = get_type("tabular").to_tensors(columns, table.schema, Layout("tabular", label="label"))
    assert inputs["a"].data_ptr() == columns["a"].ctypes.data
    assert (inputs["t"], wanted.tolist()) == (["x", "y"], [0.5, 1.5])
    assert get_type("tabular").to_tensors(columns, table.schema, Layout("tabular"))[1] is None


def test_nested_columns_are_generic():
    nested = {"a": [{"x": 1}]}
    with pytest.raises(DataError, match=r"(?s)column .a. is struct.*type generic"):
        stored(nested, Layout("tabular"))
    assert measured(stored(nested, Layout("generic")), Layout("generic"))["a.present"].tolist() == [True]


def test_generic_says_what_can_be_said_of_any_column():
    columns = {
        "blob": [b"abc", None],
        "text": ["é", "four"],
        "number": [1.5, None],
        "vector": pa.array([[1.0, 3.0], [5.0, 5.0]], pa.list_(pa.float64(), 2)),
        "void": pa.array([[], []], pa.list_(pa.float64(), 0)),
        "tags": [["a"], ["a", "b"]],
        "record": [{"x": 1}, None],
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "nothing": pa.nulls(2),
        "label": ["u", "v"],
    }
    layout = Layout("generic", label="label")
    frame = measured(stored(columns, layout), layout)
    assert frame["blob.bytes"].tolist()[0] == 3
    assert frame["text.characters"].tolist() == [1, 4]
    assert frame["vector.mean"].tolist() == [2, 5]
    assert frame["vector.lowest"].tolist() == [1, 5]
    assert frame["vector.highest"].tolist() == [3, 5]
    assert frame["tags.items"].tolist() == [1, 2]
    assert frame["record.present"].tolist() == [True, False]
    assert frame["label"].tolist() == ["u", "v"]
    assert len(frame) == 2


def test_two_measures_of_one_name_are_refused():
    with pytest.raises(DataError, match=r"'a\.bytes'"):
        measured(stored({"a": [b"x"], "a.bytes": [1]}, Layout("generic")), Layout("generic"))


def nulls_at(row, rows=4):
    return [None if n == row else n for n in range(rows)]


def test_cells_must_be_there_where_the_type_says_so():
    with pytest.raises(DataError, match="column 'label', row 2"):
        from_table(pa.table({"text": list("abcd"), "label": nulls_at(2)}), TEXT).to_table()
    pixels = pa.array([0.5, 0.5, 0.5, None], pa.float32())
    field = pa.field("image", pa.list_(pa.float32(), 2), metadata={"shape": "1,1,2"})
    image = pa.FixedSizeListArray.from_arrays(pixels, 2)
    with pytest.raises(DataError, match="row 1 of column 'image'"):
        from_table(pa.table([image, [1, 2]], schema=pa.schema([field, ("label", pa.int64())])), IMAGE).to_table()
    table = pa.table({"id": nulls_at(3), "a": nulls_at(0)})
    assert from_table(table, Layout("tabular")).to_table().num_rows == 4
    with pytest.raises(DataError, match="column id, row 3"):
        from_table(table, Layout("tabular", key="id")).to_table()


@pytest.mark.parametrize("name", ["", "imgae", "../image", "a\0b", "image\n", "x" * 5000])
def test_an_unknown_type_is_refused(name):
    with pytest.raises(ConfigError, match="image, text, tabular, generic"):
        get_type(name)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a package with entry points on the path, as an installer would."""

    def make(package, entries, module=""):
        info = tmp_path / f"{package}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[airloom.dataset_types]\n" + "\n".join(entries))
        (tmp_path / f"{package}.py").write_text(module)
        importlib.invalidate_caches()

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(HOW_TO)
    get_type.cache_clear()
    yield make
    get_type.cache_clear()
    for name in ("dataset_type_signal", "mine", "other"):
        sys.modules.pop(name, None)


def test_the_documented_type_is_found_by_its_entry_point(install):
    install("mine", ["signal = dataset_type_signal:signal"])
    assert known_types()[-1] == "signal"
    layout = Layout("signal", label="label")
    windows = np.array([[[3.0, -4.0]], [[0.0, 0.0]]], np.float32)
    table = from_arrays({"windows": windows, "labels": np.array(["walk", "rest"])}, layout).to_table()
    frame = measured(table, layout)
    assert frame["rms"].tolist() == pytest.approx([math.sqrt(12.5), 0])
    assert (frame["peak"].tolist(), frame["label"].tolist()) == ([4, 0], ["walk", "rest"])
    schema = labels.numbered(table.schema, layout, ["rest", "walk"])
    inputs, numbers = get_type("signal").to_tensors({"windows": windows, "label": ["walk", "rest"]}, schema, layout)
    assert inputs.data_ptr() == windows.ctypes.data
    assert numbers.tolist() == [1, 0]
    assert not hasattr(get_type("signal"), "to_arrays")  # a type need not have it
    with pytest.raises(DataError, match="windows, channels, samples"):
        from_arrays({"windows": windows[:, 0], "labels": np.array([1, 2])}, layout)


def test_a_type_that_cannot_be_loaded_names_its_package(install):
    entries = ["gone = no_such_module:x", "broken = mine:broken", "text2 = mine:named", "klass = mine:Klass"]
    module = "named = object()\nclass Klass:\n    name = 'klass'\n    nullable = True\n"
    module += "    check = profile = to_tensors = None\n"
    install("mine", entries, module)
    for name in ("gone", "broken", "text2", "klass"):
        with pytest.raises(ConfigError, match=rf"'{name}'.*(mine|no_such_module)|(mine|no_such_module).*'{name}'"):
            get_type(name)


def test_a_type_that_two_offer_is_refused(install):
    install("mine", ["image = mine:x", "twice = mine:x"])
    install("other", ["twice = other:x"])
    with pytest.raises(ConfigError, match="'twice' is offered more than once"):
        get_type("twice")
    assert get_type("image") is OWN["image"], "nobody can put another type in the place of ours"
    assert known_types() == ["image", "text", "tabular", "generic", "twice"]
