"""Picture files of any size, kept as they are; what is no picture is named where it is given."""

import json

import pyarrow as pa
import pytest
from PIL import Image

from airloom.datasets.commit import commit
from airloom.datasets.ingest import Reading, from_table, open_source
from airloom.datasets.storage.schema import Layout
from airloom.datasets.types import get_type
from airloom.errors import DataError


@pytest.fixture
def pets(tmp_path):
    for number, name in enumerate(("cat/a.jpg", "cat/b.png", "dog/c.webp", "dog/d.jpg")):
        path = tmp_path / "pets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + 7 * number, 30), (60 * number, 0, 0)).save(path)
    return tmp_path / "pets"


def test_pictures_of_several_sizes_are_kept_as_their_files_are(pets):
    found = open_source(pets)
    assert found.layout == Layout("image", label="label")
    assert found.schema.field("image").type == pa.large_binary()
    table = found.to_table()
    assert table["label"].to_pylist() == ["cat", "cat", "dog", "dog"]
    assert table["image"].to_pylist() == [path.read_bytes() for path in sorted(pets.rglob("*.*"))]
    assert found.notes == ["pictures of several sizes or modes: each is kept as its file is"]


def test_pictures_of_one_size_are_pixels_unless_files_are_asked_for(pets):
    for path in pets.rglob("*.*"):
        path.unlink()
    for name in ("cat/a.png", "dog/b.png"):
        Image.new("RGB", (4, 3)).save(pets / name)
    assert open_source(pets).schema.field("image").metadata == {b"shape": b"3,3,4"}
    asked = Reading(columns={"image": "bytes"})
    assert open_source(pets, reading=asked).schema.field("image").type == pa.large_binary()


def test_a_dataset_of_files_takes_files_whatever_their_size(pets):
    schema = open_source(pets).schema
    for path in pets.rglob("*.*"):
        path.unlink()
    Image.new("L", (4, 3)).save(pets / "cat" / "a.png")
    given = {"schema": schema, "type": "image", "label": "label"}
    assert open_source(pets, **given).to_table().num_rows == 1


def test_their_profile_is_of_pictures_as_they_are_looked_at(pets):
    kind, found = get_type("image"), open_source(pets)
    frame = kind.profile(found.to_table(), found.layout)
    assert list(frame) == ["width", "height", "aspect", "mean_intensity", "bytes", "label"]
    assert frame["width"].tolist() == [20, 27, 34, 41]
    assert frame["bytes"].tolist() == [path.stat().st_size for path in sorted(pets.rglob("*.*"))]
    assert frame["mean_intensity"].is_monotonic_increasing


def test_a_file_that_is_no_whole_picture_is_named(pets):
    whole = (pets / "cat" / "a.jpg").read_bytes()
    (pets / "cat" / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cat/a\.jpg is no whole picture: .*runcated"):
        open_source(pets).to_table()


def test_of_a_table_the_row_is_named_and_no_version_is_made(settings, pets):
    table = open_source(pets).to_table()
    cells = table["image"].to_pylist()
    bad = table.set_column(0, "image", pa.array([*cells[:2], cells[2][:-30], cells[3]], pa.large_binary()))
    with pytest.raises(DataError, match="row 2: the picture is no whole picture"):
        commit(settings, "pets", from_table(bad, Layout("image", "label")), message="x")


def test_a_label_called_as_a_measure_is_refused(pets):
    table = open_source(pets).to_table().rename_columns(["image", "bytes"])
    with pytest.raises(DataError, match="would hide a measure"):
        get_type("image").check(table.schema, Layout("image", "bytes"))


def test_a_file_is_decoded_once_for_its_check_and_its_measures(settings, pets, monkeypatch):
    from airloom import pictures

    measured, measure = [], pictures._measure
    monkeypatch.setattr(pictures, "_measure", lambda data, name: measured.append(name) or measure(data, name))
    pictures._SEEN.clear()
    suite = pets.with_suffix(".json")
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    suite.write_text(json.dumps({"name": "pets", "expectations": [rule]}))
    commit(settings, "pets", open_source(pets), message="x", suite=suite)
    assert len(measured) == 4


def test_what_was_measured_is_forgotten_where_there_is_too_much_of_it(pets, monkeypatch):
    from airloom import pictures

    monkeypatch.setattr(pictures, "_SEEN_MOST", 2)
    pictures._SEEN.clear()
    kind, found = get_type("image"), open_source(pets)
    assert kind.profile(found.to_table(), found.layout)["width"].tolist() == [20, 27, 34, 41]
    assert len(pictures._SEEN) <= 2
