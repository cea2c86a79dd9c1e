"""Masks beside picture files of many sizes, from a table to a judged model; every part sees the same masks."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch  # noqa: TID253 - a test of torch code
from PIL import Image

from airloom.contracts import RunContext
from airloom.datasets.commit import commit
from airloom.datasets.ingest import from_table
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage.schema import Layout
from airloom.errors import ConfigError, DataError
from airloom.evaluation.evaluate import evaluate, rows_of
from airloom.picture_labels import framed
from airloom.pictures import Picture
from airloom.processing import Processing, parse
from airloom.spec.pipeline import Pipeline
from airloom.tasks import Segmentation
from airloom.tracking import runs
from airloom.training.export.store import _declared
from airloom.training.few_rows import FewRows
from airloom.training.run import TrainingRun
from airloom.training.source import SnapshotSplits
from airloom.training.train import train

SPLIT = {"train": 0.6, "validation": 0.2, "test": 0.2}
FRAME = Picture(height=16, width=12, mode="L", label="mask")
CODE = """
import torch
from airloom.training import Picture, fit

def segment(run):
    run.pictures(Picture(height=run.params["height"], width=12, mode="L", fit="pad", label="mask"))
    model = torch.nn.Conv2d(1, 2, 3, padding=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    loss = lambda scores, masks: torch.nn.functional.cross_entropy(scores, masks, ignore_index=255)
    fit(run, model, loss=loss, optimizer=optimizer, epochs=8)
    run.save_model(model)
"""


def png(values):
    file = BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def scenes(count):
    """Dark pictures with a bright half, of which the mask says 1."""
    generator, images, masks = np.random.default_rng(0), [], []
    for number in range(count):
        values = generator.integers(0, 90, (20 + number % 17, 24 + number % 21), dtype=np.uint8)
        mask = np.zeros_like(values)
        mask[:, : values.shape[1] // 2] = 1
        images.append(png(values + 150 * mask))
        masks.append(mask)
    return images, masks


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    file = tmp_path_factory.mktemp("suite") / "suite.json"
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    file.write_text(json.dumps({"name": "scenes", "expectations": [rule]}))
    return file


def committed(home, name, images, masks, suite):
    table = pa.table({"image": images, "mask": masks})
    return commit(home, name, from_table(table, Layout("image", "mask")), message="rows", suite=suite)


@pytest.fixture(scope="module")
def photos(shared_home, suite):
    images, masks = scenes(90)
    return snapshot.prepare(shared_home, committed(shared_home, "masked", images, list(map(png, masks)), suite), SPLIT)


class Sink:
    """Keeps nothing."""

    def report(self, step, metrics):
        """Not needed."""

    def sync(self):
        """Not needed."""


def run_of(source):
    return TrainingRun({"batch_size": 16}, 0, source, Sink())


def test_every_reader_gives_the_same_masks(shared_home, photos):
    run = run_of(SnapshotSplits(shared_home, photos))
    run.pictures(FRAME)
    inputs, masks = run.tensors("train")
    assert (masks.dtype, masks.shape) == (torch.int64, (len(inputs), 16, 12))
    assert ((inputs[:, 0] > 0.5) == (masks == 1)).double().mean() > 0.93  # but for the blurred edge
    stored = rows_of(snapshot.open_snapshot(shared_home, photos).split("train"), task=Segmentation())
    np.testing.assert_array_equal(framed(FRAME, stored.raw, stored.labels), masks.numpy())
    for options in ({}, {"threads": 1}, {"processes": 1}):
        batches = list(run.loader("train", 16, shuffle=False, **options))
        assert torch.equal(torch.cat([labels for _, labels in batches]), masks)
    named = list(run.loader("train", 16, shuffle=False, named=True))
    assert torch.equal(torch.cat([batch["mask"] for batch in named]), masks)
    few = run_of(FewRows(SnapshotSplits(shared_home, photos), 4))
    few.pictures(FRAME)
    assert few.tensors("train")[1].shape[1:] == (16, 12)
    forgotten = run_of(SnapshotSplits(shared_home, photos))
    forgotten.pictures(FRAME.model_copy(update={"label": ""}))
    with pytest.raises(ConfigError, match="the labels of this dataset are picture files"):
        forgotten.tensors("train")


def test_rows_of_numbers_and_boxes_are_labels_too(shared_home, suite):
    images, masks = scenes(12)
    version = committed(shared_home, "listed", images, [mask.tolist() for mask in masks], suite)
    run = run_of(SnapshotSplits(shared_home, snapshot.prepare(shared_home, version, SPLIT)))
    run.pictures(FRAME)
    (_, labels), *_ = list(run.loader("train", 16, shuffle=False))
    assert labels.shape[1:] == (16, 12)
    assert set(labels.unique().tolist()) == {0, 1}
    boxes = [[[0.0, 0.0, mask.shape[1] / 2, float(mask.shape[0])]] for mask in masks]
    version = committed(shared_home, "boxed", images, boxes, suite)
    run = run_of(SnapshotSplits(shared_home, snapshot.prepare(shared_home, version, SPLIT)))
    run.pictures(Picture(height=16, width=12, mode="L", fit="stretch", label="boxes"))
    (_, labels), *_ = list(run.loader("train", 16, shuffle=False))
    assert all(torch.allclose(box, torch.tensor([[0.0, 0.0, 6.0, 16.0]])) for box in labels)


def test_a_mask_of_another_size_than_its_picture_is_refused_with_its_row(shared_home, suite):
    images, masks = scenes(5)
    files = list(map(png, masks))
    files[3] = png(masks[3][1:])
    with pytest.raises(DataError, match=r"row 3: the mask has 27 x 22 pixels, and its picture 27 x 23"):
        committed(shared_home, "other_size", images, files, suite)


def test_a_model_whose_label_lies_on_no_picture_is_one_that_earlier_releases_read(tmp_path):
    (file,) = _declared(Processing(picture=Picture(height=8, width=8)), tmp_path)
    assert "label" not in json.loads(Path(file).read_text())["picture"]
    _declared(Processing(picture=FRAME), tmp_path)
    assert parse(Path(file).read_bytes()).picture == FRAME


@pytest.mark.long
def test_a_model_is_judged_by_the_masks_of_its_own_frame(make_home, tmp_path, suite):
    settings = make_home(tmp_path)
    images, masks = scenes(90)
    version = committed(settings, "masked", images, list(map(png, masks)), suite)
    prepared = snapshot.prepare(settings, version, SPLIT)
    (settings.project / "model.py").write_text(CODE)
    metrics = []
    for height in (16, 24):
        pipeline = Pipeline.model_validate(
            {
                "pipeline": "masked",
                "dataset": {"name": "masked", "split": SPLIT},
                "train": "model.py:segment",
                "task": "segmentation",
                "parameters": {"height": height, "batch_size": 16},
            }
        )
        experiment, run = runs.ensure_parent(settings, "masked", f"masked/{height}", {})
        spec = pipeline.model_dump(mode="json", by_alias=True, exclude_unset=True)
        ctx = RunContext("masked", spec, f"masked/{height}", run, experiment, prepared)
        trained = train(settings, pipeline, ctx, {}, state=tmp_path / str(height))
        metrics.append(evaluate(settings, pipeline, ctx, trained).metrics)
    assert min(one["mean_iou"] for one in metrics) > 0.8
