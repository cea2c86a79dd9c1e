"""Several labels, several numbers and masks as the label of a row: taken, measured, and read as they are."""

import numpy as np
import pyarrow as pa
import pytest

from airloom.datasets.ingest.images import image_table
from airloom.datasets.storage.schema import Layout
from airloom.datasets.storage.statistics import summarise
from airloom.datasets.types import get_type
from airloom.errors import DataError

IMAGES = np.random.default_rng(0).uniform(size=(5, 1, 4, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("labels", "measures"),
    [
        (np.arange(60, dtype=np.uint8).reshape(5, 4, 3) % 3, {"label.mean", "label.lowest", "label.highest"}),
        (np.eye(5, 4, dtype=np.int8), {"label.mean", "label.lowest", "label.highest"}),
        (np.ones((5, 2)), {"label.mean", "label.lowest", "label.highest"}),
        (np.arange(5), {"label"}),
    ],
)
def test_of_an_image(labels, measures):
    table, layout = image_table(IMAGES, labels), Layout("image", "label")
    frame = get_type("image").profile(table, layout)
    assert measures <= set(frame.columns)
    assert set(summarise(frame)) >= measures


def test_of_a_text():
    names = pa.array([["red"], [], ["red", "big"]], pa.large_list(pa.large_string()))
    table = pa.table({"text": pa.array(["a", "b c", "d"], pa.large_string()), "label": names})
    frame = get_type("text").profile(table, Layout("text", "label"))
    assert frame["label.items"].tolist() == [1, 0, 2]
    assert frame["words"].tolist() == [1, 2, 1]
    assert summarise(frame)["label.items"]["max"] == 2


def test_one_number_in_a_list_is_still_a_mistake():
    with pytest.raises(DataError, match="is fixed_size_list"):
        image_table(IMAGES, np.zeros((5, 1), np.int64))


def test_a_single_fraction_is_no_label_of_an_image():
    with pytest.raises(DataError, match="the label 'label' is double"):
        image_table(IMAGES, np.zeros(5))
