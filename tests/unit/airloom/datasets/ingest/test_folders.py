"""Folders: one class each, or files of one kind; what does not belong there is refused by name."""

import os
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from airloom.datasets.ingest import Reading, open_source
from airloom.datasets.storage.schema import Layout
from airloom.errors import DataError


def picture(path, size=(4, 3), mode="RGB", value=7):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode in ("L", "1", "P", "I;16") else (value,) * len(mode)).save(path)
    return path


@pytest.fixture
def pets(tmp_path):
    for name in ("cat/b.png", "cat/a.png", "dog/c.png"):
        picture(tmp_path / "pets" / name, value=ord(name[4]))
    return tmp_path / "pets"


def refused(path, says, **options):
    with pytest.raises(DataError, match=f"(?s){says}") as caught:
        open_source(path, **options).to_table()
    assert caught.value.hint


def test_a_folder_a_class_in_the_order_of_names(pets):
    (pets / "cat" / ".DS_Store").write_bytes(b"x")
    found = open_source(pets)
    assert found.layout == Layout("image", label="label")
    assert found.schema.field("image").metadata == {b"shape": b"3,3,4"}
    table = found.to_table()
    assert table["label"].to_pylist() == ["cat", "cat", "dog"]
    assert table["image"].to_pylist() == [[ord(name)] * 36 for name in "abc"]


def test_channels_come_first(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    (tmp_path / "x").mkdir()
    Image.fromarray(pixels).save(tmp_path / "x" / "a.png")
    assert open_source(tmp_path).to_table()["image"][0].as_py() == pixels.transpose(2, 0, 1).reshape(-1).tolist()


def test_the_label_can_have_another_name(pets):
    found = open_source(pets, label="animal")
    assert found.layout == Layout("image", label="animal")
    assert found.to_table()["animal"].to_pylist() == ["cat", "cat", "dog"]


def test_the_path_can_be_the_key(pets):
    found = open_source(pets, key="path")
    assert found.layout == Layout("image", label="label", key="path")
    assert found.to_table()["path"].to_pylist() == ["cat/a.png", "cat/b.png", "dog/c.png"]


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("P", 3), ("RGBA", 4), ("CMYK", 3)])
def test_colour_modes(tmp_path, mode, channels):
    picture(tmp_path / "x" / ("a.jpg" if mode == "CMYK" else "a.png"), mode=mode, value=1)
    assert open_source(tmp_path).schema.field("image").metadata == {b"shape": f"{channels},3,4".encode()}


def test_an_image_of_another_size_or_mode_does_not_go_to_a_dataset_of_pixels(pets):
    to_pixels = {"schema": open_source(pets).schema, "type": "image", "label": "label"}
    picture(pets / "dog" / "z.png", size=(5, 3))
    refused(pets, r"dog/z\.png has the shape \(3, 3, 5\).*before it \(3, 3, 4\)", **to_pixels)
    picture(pets / "dog" / "z.png", mode="L")
    refused(pets, r"dog/z\.png has the shape \(1, 3, 4\)", **to_pixels)
    picture(pets / "dog" / "z.png", mode="I;16")
    refused(pets, r"dog/z\.png has pixels of 16 bits a channel", **to_pixels)
    refused(pets, r"dog/z\.png has pixels of more than 8 bits a channel")  # nor to a new one


def test_images_go_to_a_dataset_of_another_size_only_by_mistake(pets):
    schema = open_source(pets).schema
    picture(pets / "cat" / "a.png")
    assert open_source(pets, schema=schema, type="image", label="label").to_table().num_rows == 3
    for path in pets.rglob("*.png"):
        picture(path, size=(2, 2))
    refused(pets, r"fixed_size_list<item: uint8>\[36\]", schema=schema, type="image", label="label")


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "gif", "flip"])
def test_a_broken_image_is_named(pets, damage):
    path = pets / "cat" / "b.png"
    data = bytearray(path.read_bytes())
    data[45] ^= 0xFF
    broken = {"cut": path.read_bytes()[:-25], "empty": b"", "text": b"no image", "flip": bytes(data)}
    if damage == "gif":
        Image.new("L", (4, 3)).save(path, format="GIF")  # whatever its suffix says
    else:
        path.write_bytes(broken[damage])
    refused(pets, r"cat/b\.png is no whole image")


def bomb(path, width, height):
    """A PNG of a few bytes that claims a size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


@pytest.mark.parametrize("width", [10_000, 60_000])  # beyond Pillow's limit, and twice beyond
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_bomb_is_refused_before_it_goes_off(pets, width):
    bomb(pets / "cat" / "a.png", width, 10_000)
    refused(pets, r"cat/a\.png is too large.*at most 89478485 pixels")


def test_links_pipes_and_strangers_are_refused_by_name(pets, tmp_path):
    secret = tmp_path / "secret.png"
    picture(secret)
    link = pets / "cat" / "link.png"
    link.symlink_to(secret)
    refused(pets, r"cat/link\.png is a symbolic link to '.*secret\.png'")
    link.unlink()
    (pets / "fish").symlink_to(pets / "cat")
    refused(pets, "fish is a symbolic link")
    (pets / "fish").unlink()
    os.mkfifo(pets / "cat" / "pipe.png")
    refused(pets, r"cat/pipe\.png is neither a file nor a folder")
    (pets / "cat" / "pipe.png").unlink()
    (pets / "cat" / "inner").mkdir()
    refused(pets, "cat/inner is a folder within a class")
    (pets / "cat" / "inner").rmdir()
    (pets / "cat" / "notes.doc").write_text("x")
    refused(pets, r"cat/notes\.doc does not go with the others")
    (pets / "cat" / "notes.doc").rename(pets / "cat" / "notes.txt")
    refused(pets, r"notes\.txt|\.png")
    (pets / "cat" / "notes.txt").rename(pets / "notes.txt")
    refused(pets, r"notes\.txt lies beside folders")


@pytest.mark.parametrize("name", [b"a\xffb", b"a\x07b", b"a\nb", "a\u202eb".encode()])
def test_a_class_of_a_name_that_is_no_text_is_refused(pets, name):
    (pets / os.fsdecode(name)).mkdir()
    refused(pets, "file name 'a.* is not printable")


def test_an_accent_is_one_class_however_it_is_written(tmp_path):
    picture(tmp_path / "caf\u00e9" / "a.png")
    picture(tmp_path / "cafe\u0301" / "b.png")
    assert set(open_source(tmp_path).to_table()["label"].to_pylist()) == {"caf\u00e9"}


def test_empty_folders(tmp_path):
    refused(tmp_path, "there is no file in")
    (tmp_path / "cat").mkdir()
    refused(tmp_path, "there is no file in the folders of")


def test_texts_by_class(tmp_path):
    for name, text in (("ham/1.txt", "hé"), ("spam/2.txt", "buy\n")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    found = open_source(tmp_path)
    assert found.layout == Layout("text", label="label")
    assert found.to_table().to_pydict() == {"text": ["hé", "buy\n"], "label": ["ham", "spam"]}
    (tmp_path / "spam" / "3.txt").write_bytes(b"caf\xe9")
    refused(tmp_path, r"spam/3\.txt: byte 3 is 0xe9, which is no utf-8")
    assert open_source(tmp_path, reading=Reading(encoding="latin-1")).to_table().num_rows == 3


def test_files_of_one_kind_are_one_table(tmp_path):
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": ["y"], "a": pa.array([2], pa.int32())}), tmp_path / "2.parquet")
    assert open_source(tmp_path).to_table().to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    pq.write_table(pa.table({"a": ["z"], "b": ["y"]}), tmp_path / "3.parquet")
    refused(tmp_path, r"3\.parquet: the column 'a' is string, not int64")
    pq.write_table(pa.table({"a": [1], "c": ["y"]}), tmp_path / "3.parquet")
    refused(tmp_path, r"3\.parquet: the column 'b' is missing")
    (tmp_path / "3.parquet").rename(tmp_path / "3.csv")
    refused(tmp_path, r"3\.csv is of another kind than 1\.parquet")


def test_later_files_are_read_by_the_types_of_the_first(tmp_path):
    (tmp_path / "1.csv").write_text("a,b\n1.5,x\n")
    (tmp_path / "2.csv").write_text("a,b\n2,7\n")
    assert open_source(tmp_path).to_table().to_pydict() == {"a": [1.5, 2.0], "b": ["x", "7"]}
    schema = open_source(tmp_path).schema
    (tmp_path / "3.csv").write_text("a,b\nx,7\n")
    assert open_source(tmp_path).to_table()["a"].to_pylist() == ["1.5", "2", "x"]  # all files say the type
    refused(tmp_path, r"3\.csv: row 2, column 'a': 'x' is no float64", schema=schema)
    (tmp_path / "3.csv").write_text("a,b\n")
    refused(tmp_path, r"3\.csv has no rows")


def test_later_json_is_read_by_the_types_of_the_first(tmp_path):
    (tmp_path / "1.jsonl").write_text('{"a":1.5,"v":[1,2]}\n')
    (tmp_path / "2.jsonl").write_text('{"a":2,"v":[3,4]}\n')
    assert open_source(tmp_path).to_table().to_pydict() == {"a": [1.5, 2.0], "v": [[1, 2], [3, 4]]}
    (tmp_path / "3.jsonl").write_text('{"a":2,"v":[3,4,5]}\n')
    refused(tmp_path, r"3\.jsonl: row 1 of column 'v' does not fit.*\[3, 4, 5\].*--column 'v=list<int64>'")


def test_a_folder_of_mapped_arrays(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((3, 1, 2, 2), np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(3))
    assert open_source(tmp_path).layout == Layout("image", label="label")
    np.save(tmp_path / "labels.npy", np.array([1, None, 2], object), allow_pickle=True)
    refused(tmp_path, "Python objects")
