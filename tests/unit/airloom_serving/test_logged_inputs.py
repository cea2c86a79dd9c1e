"""What is kept of a row: by policy, by column, the dataset types' own numbers, and nothing where it is not clear."""

import io
import json
from base64 import b64encode

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from airloom.datasets.ingest.images import image_table
from airloom.datasets.storage.schema import Layout
from airloom.datasets.types import get_type
from airloom.inference.columns import ColumnSignature
from airloom.inference.instances import InputSignature
from airloom.inputs.declared import InputProcessing
from airloom.inputs.tokenise import Tokenise
from airloom.monitoring.log_key import log_key
from airloom.pictures import Picture
from airloom.processing import Processing
from airloom.signature import Port, Signature
from airloom_serving.logged_inputs import LARGEST, form_of

KEY = b"k" * 32


def numbers(shape=(2,), **processing):
    port = Port("input", "float32", ("batch", *shape))
    return InputSignature("m", shape, Processing(**processing), False, port)


def form(signature, **policy):
    return form_of(signature, json.dumps(policy), lambda: KEY, "m version 1")


def kept(signature, instances, **policy):
    cells = signature.judge(instances).cells
    return [(json.loads(text), by) for text, by in form(signature, **policy).texts(cells, len(instances))]


@pytest.fixture
def people():
    """A model of a text, a category and a number, each a column of its own."""
    inputs = {
        "note": InputProcessing(tokenizer={"version": "1.0"}, length=4, pad=0),
        "city": InputProcessing(categories={"city": ["Bern", "Rome"]}),
    }
    ports = (
        Port("note", "int64", ("batch", "length")),
        Port("city", "int64", ("batch",)),
        Port("age", "float32", ("batch",)),
    )
    graph = Signature(ports, (Port("output", "float32", ("batch", 2)),))
    return ColumnSignature("m", graph, Processing(inputs=inputs))


def test_nothing_is_kept_where_nobody_said_what():
    assert form_of(numbers(), "", lambda: KEY, "m") is None
    assert form(numbers(), inputs="drop") is None


def test_a_row_of_numbers_is_kept_as_it_came():
    assert kept(numbers(), [[0.1, 2]], inputs="full") == [({"input": [0.1, 2.0]}, "full")]
    table = numbers(columns=["age", "miles"])
    assert kept(table, [[0.1, 2], [3, 4]], inputs="full") == [
        ({"age": 0.1, "miles": 2.0}, "full"),
        ({"age": 3.0, "miles": 4.0}, "full"),
    ]


def test_columns_are_dropped_and_hashed_whatever_is_kept_of_the_others(people):
    row = {"note": "Ada Lovelace, 12 St James Square", "city": "Bern", "age": 36}
    ((found, by),) = kept(people, [row], inputs="full", drop=["note"], hash=["city"])
    assert (found["age"], by) == (36, "full")
    assert set(found) == {"city", "age"}
    assert len(found["city"]) == 32
    other = kept(people, [row | {"city": "Rome"}, row], inputs="full", drop=["note"], hash=["city"])
    assert other[0][0]["city"] != found["city"] == other[1][0]["city"]


def test_a_profile_has_no_text_of_anybody(people):
    row = {"note": "Ada Lovelace", "city": "Bern", "age": 36}
    ((found, by),) = kept(people, [row], inputs="profile")
    assert by == "profile"
    assert found == {"note.characters": 12, "note.words": 2, "note.non_ascii": 0.0, "city": "Bern", "age": 36}


def test_the_profile_of_images_is_the_dataset_types():
    images = np.random.default_rng(0).uniform(0, 1, (5, 1, 4, 4)).astype(np.float32)
    table = image_table(images, np.arange(5))
    frame = get_type("image").profile(table, Layout("image", label="label"))
    rows = [row for row, _ in kept(numbers((1, 4, 4)), images.tolist(), inputs="profile")]
    for name in ("pixels", "mean_intensity", "lowest", "highest"):
        assert [row[name] for row in rows] == pytest.approx(frame[name].tolist(), rel=1e-6), name


def test_the_profile_of_texts_is_the_dataset_types():
    texts = ["one two", "", "zwölf Boxkämpfer", "  a  b "]
    signature = numbers((8,), tokenise=Tokenise(vocabulary=["one"], length=8))
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    frame = get_type("text").profile(table, Layout("text"))
    assert [row for row, _ in kept(signature, texts, inputs="profile")] == frame.to_dict("records")


def test_of_picture_files_a_profile_is_measured_and_the_whole_is_base64():
    file = io.BytesIO()
    Image.new("RGB", (6, 3), (255, 255, 255)).save(file, "PNG")
    signature = numbers((3, 2, 2), picture=Picture(height=2, width=2))
    text = b64encode(file.getvalue()).decode()
    assert kept(signature, [text], inputs="full") == [({"input": text}, "full")]
    ((found, _),) = kept(signature, [text], inputs="profile")
    assert found == {"width": 6, "height": 3, "aspect": 2.0, "mean_intensity": 1.0, "bytes": len(file.getvalue())}


def test_a_hash_finds_equal_rows_and_needs_the_key(tmp_path):
    rows = [[1, 2], [1.0, 2.0], [1, 3]]
    found = [row["hash"] for row, _ in kept(numbers(), rows, inputs="hash")]
    assert found[0] == found[1] != found[2]
    other = form_of(numbers(), '{"inputs": "hash"}', lambda: b"o" * 32, "m")
    assert json.loads(other.texts(numbers().judge(rows).cells, 3)[0][0])["hash"] not in found
    assert log_key(tmp_path) == log_key(tmp_path)
    assert (tmp_path / "keys" / "prediction_log.key").stat().st_mode & 0o077 == 0


def test_of_a_row_too_large_for_the_log_its_hash_is_kept():
    ((found, by),) = kept(numbers((LARGEST,)), [[0.5] * LARGEST], inputs="full")
    assert by == "hash"
    assert len(found["hash"]) == 32


def test_a_name_that_the_model_has_not_keeps_nothing(people, caplog):
    assert form(people, inputs="full", drop=["nota"]) is None
    assert "nothing is logged: `log` names 'nota', the columns are" in caplog.text


def test_a_policy_of_a_newer_release_keeps_nothing(caplog):
    assert form_of(numbers(), '{"inputs": "noise"}', lambda: KEY, "m version 1") is None
    assert form_of(numbers(), "no JSON", lambda: KEY, "m version 1") is None
    assert "m version 1" in caplog.text
