"""Datasets store labels, and no order of classes: a class may come, go and be called as it likes."""

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from airloom.datasets import commit as commits
from airloom.datasets import versions
from airloom.datasets.commit import commit
from airloom.datasets.compact import compact
from airloom.datasets.edit import delete_rows
from airloom.datasets.ingest import from_table, open_source
from airloom.datasets.open_rows import open_rows
from airloom.datasets.past_classes import past_classes
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage.schema import Layout
from airloom.datasets.types import labels
from airloom.errors import DataError

SPLIT = {"train": 0.6, "validation": 0.15, "test": 0.25}
TEXT = Layout("text", "label")
PLAIN = "8381527a9b30e670596158fce4d8998ac150c26619a05a5bb448e1baaa8a6e60"  # ids that the release before gave
DECLARED = "98c5aaaf8dc815257c55e7088e437f726c712569115419ce44d08707bc708d7c"


@pytest.fixture
def settings(make_home, tmp_path):
    return make_home(tmp_path)


@pytest.fixture
def suite(tmp_path) -> Path:
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    (tmp_path / "suite.json").write_text(json.dumps({"name": "any", "expectations": [rule]}))
    return tmp_path / "suite.json"


def texts(names, count=60, first=0):
    said = {"text": [f"row {n}" for n in range(first, first + count)]}
    said["label"] = [names[n % len(names)] for n in range(count)]
    return pa.table(said, schema=pa.schema([("text", pa.large_string()), ("label", pa.large_string())]))


@pytest.fixture
def declared(settings, suite, monkeypatch):
    """A version as the release before made it, with an order of classes in its schema."""
    table = texts(["dog", "cat"])
    with monkeypatch.context() as patch:
        for module in (commits, import_module("airloom.datasets.ingest.stream")):
            patch.setattr(module, "without_order", lambda schema: schema)
        schema = labels.numbered(table.schema, TEXT, ["dog", "cat"])
        fields = [field.with_nullable(False) for field in schema]
        return commit(settings, "pets", from_table(table, TEXT, pa.schema(fields)), message="m", suite=suite)


def opened(settings, version, **asked):
    return snapshot.open_snapshot(settings, snapshot.prepare(settings, version, SPLIT, **asked))


def test_the_ids_of_versions_stay_as_releases_before_gave_them(settings, suite, declared):
    assert commit(settings, "plain", from_table(texts(["dog", "cat"]), TEXT), message="m", suite=suite).id == PLAIN
    assert declared.id == DECLARED
    assert versions.get(settings, "pets", 1).id == DECLARED


def test_a_class_is_appended_to_a_dataset_that_declared_an_order(settings, suite, declared):
    assert past_classes(settings, declared) == ["dog", "cat"]
    before = opened(settings, declared)
    assert before.classes == ["cat", "dog"]
    stored = before.table("train").column("label").to_pylist()
    for order in (["dog", "cat"], None):  # as a model of the release before numbers them, and as today
        numbers = before.for_model(order).tensors("train")[1].tolist()
        assert [(order or ["cat", "dog"])[number] for number in numbers] == stored
    rows = open_rows(settings, "pets", _file(settings, texts(["axolotl", "dog"], 40, 60)))
    second = commit(settings, "pets", rows, message="a new class", suite=suite)
    assert labels.classes_of(versions.manifest_of(settings, second).arrow_schema, TEXT) == []
    assert opened(settings, second).classes == ["axolotl", "cat", "dog"]
    assert before.table("train").equals(opened(settings, versions.get(settings, "pets", 1)).table("train"))
    assert versions.get(settings, "pets", 1).id == DECLARED
    compacted, _ = compact(settings, "pets")
    assert compacted.id == second.id
    assert opened(settings, compacted).classes == ["axolotl", "cat", "dog"]
    third = delete_rows(settings, second, list(range(60)), message="no cats")
    assert opened(settings, third).classes == ["axolotl", "dog"]


def _file(settings, table) -> Path:
    from pyarrow import parquet

    path = settings.project / "rows.parquet"
    parquet.write_table(table, path)
    return path


def test_an_edit_of_a_dataset_that_declared_an_order_says_none(settings, declared):
    left = delete_rows(settings, declared, [0], message="one less")
    assert labels.classes_of(versions.manifest_of(settings, left).arrow_schema, TEXT) == []
    assert opened(settings, left).classes == ["cat", "dog"]


def test_labels_that_a_batch_may_have_are_no_part_of_the_dataset(settings, suite, tmp_path):
    path = _file(settings, texts(["dog", "cat", "cow"]))
    with pytest.raises(DataError, match=r"row 2: the label 'cow' is none of the 2 classes"):
        open_rows(settings, "pets", path, classes=["cat", "dog"]).to_table()
    made = commit(
        settings, "pets", open_rows(settings, "pets", path, classes=["dog", "cow", "cat"]), message="m", suite=suite
    )
    assert made.id == commit(settings, "pets2", open_rows(settings, "pets2", path), message="m", suite=suite).id
    more = _file(settings, texts(["yak"], 5, 60))
    with pytest.raises(DataError, match="'yak' is none of the 1 classes"):
        open_rows(settings, "pets", more, classes=["dog"]).to_table()
    assert commit(settings, "pets", open_rows(settings, "pets", more), message="m", suite=suite).rows == 65
    whole = pa.table({"x": [1, 2], "label": [3, 4]})
    with pytest.raises(DataError, match=r"row 1: the label '4'"):
        open_rows(settings, "numbers", _file(settings, whole), classes=["3"]).to_table()
    with pytest.raises(DataError, match="the label 'x' is double, and no class"):
        open_rows(
            settings, "numbers", _file(settings, pa.table({"x": [0.5], "y": [1]})), label="x", classes=["3"]
        ).to_table()
    with pytest.raises(DataError, match="there is no label, and no class"):
        open_rows(settings, "numbers", _file(settings, pa.table({"x": [0.5]})), classes=["3"]).to_table()


def test_a_class_that_no_training_reads_is_behind_those_that_a_model_knows(settings, suite):
    first = commit(settings, "pets", from_table(texts(["dog", "cat"]), TEXT), message="m", suite=suite)
    tested = opened(settings, first).table("test").column("text").to_pylist()
    table = texts(["dog", "cat"])
    rare = [
        ("bee" if text == tested[0] else label) for text, label in zip(*(c.to_pylist() for c in table), strict=True)
    ]
    table = table.set_column(1, "label", pa.array(rare, pa.large_string()))
    data = opened(settings, commit(settings, "rare", from_table(table, TEXT), message="m", suite=suite))
    assert (data.classes, data.all_classes) == (["cat", "dog"], ["cat", "dog", "bee"])
    assert data.tensors("test")[1].max() == 2


@pytest.mark.parametrize(
    ("column", "kind", "names"),
    [
        (pa.array([5, 100, 20] * 20, pa.int64()), "image", ["5", "20", "100"]),
        (pa.array([5, 100, 20] * 20, pa.uint8()), "tabular", ["5", "20", "100"]),
        (pa.array([True, False, True] * 20), "tabular", ["false", "true"]),
        (pa.array([0.5, 1.5, 2.5] * 20), "tabular", []),
    ],
    ids=["image", "table", "booleans", "fractions"],
)
def test_a_model_gets_the_numbers_of_its_own_classes_and_a_reader_the_labels(settings, suite, column, kind, names):
    table = pa.table({"x": np.arange(60, dtype=np.int64), "label": column})
    if kind == "image":
        pixels = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(240, dtype=np.uint8)), 4)
        field = pa.field("image", pixels.type, metadata={"shape": "1,2,2"})
        table = pa.table([pixels, column], schema=pa.schema([field, ("label", column.type)]))
    made = commit(settings, "rows", from_table(table, Layout(kind, "label")), message="m", suite=suite)
    data = opened(settings, made)
    stored = data.table("train").column("label").to_pylist()
    assert data.tensors("train")[1].tolist() == stored
    assert data.classes == names
    import torch

    numbers = data.for_model().tensors("train")[1]
    if not names:
        assert numbers.tolist() == stored
        return
    assert numbers.dtype == torch.int64
    assert [data.labels_of_classes[number] for number in numbers] == stored
    batches = torch.cat([part for _, part in data.for_model().loader("train", 7, shuffle=False)])
    assert batches.equal(numbers)


def test_numbered_folders_are_called_as_they_are(tmp_path):
    for name in (0, 2, 10):
        (tmp_path / "by_number" / str(name)).mkdir(parents=True)
        Image.new("L", (2, 2), name).save(tmp_path / "by_number" / str(name) / "a.png")
    table = open_source(tmp_path / "by_number").to_table()
    assert table.column("label").to_pylist() == ["0", "10", "2"]
    assert [pixels[0] for pixels in table.column("image").to_pylist()] == [0, 10, 2]
