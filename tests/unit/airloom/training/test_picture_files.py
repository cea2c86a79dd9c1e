"""JPEG files of many sizes from a folder to a served answer; every part sees the same pixels."""

import json
from base64 import b64encode
from io import BytesIO

import numpy as np
import pytest
import torch  # noqa: TID253 - a test of torch code
from PIL import Image

from airloom.contracts import RunContext
from airloom.datasets.commit import commit
from airloom.datasets.ingest import open_source
from airloom.datasets.snapshots import snapshot
from airloom.errors import ConfigError, DataError, InstancesRefused, JobFailed
from airloom.evaluation.evaluate import evaluate, rows_of
from airloom.inference.model import LoadedModel
from airloom.pictures import Picture
from airloom.processing import Processing, parse
from airloom.project.functions import load_function
from airloom.spec.pipeline import Pipeline
from airloom.tracking import artifacts, runs
from airloom.training.few_rows import FewRows
from airloom.training.run import TrainingRun
from airloom.training.source import SnapshotSplits, TensorSource
from airloom.training.train import train

SPLIT = {"train": 0.6, "validation": 0.2, "test": 0.2}
PICTURE = Picture(height=16, width=12)
CODE = """
import torch
from airloom.training import Picture, fit

def colours(run):
    run.pictures(Picture(height=16, width=12))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 12, len(run.classes)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    fit(run, model, loss=torch.nn.functional.cross_entropy, optimizer=optimizer, epochs=5)
    run.save_model(model)

def forgotten(run):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(2))
    fit(run, model, loss=torch.nn.functional.cross_entropy, optimizer=None, epochs=1)
"""


@pytest.fixture(scope="module")
def photos(shared_home, tmp_path_factory):
    """A snapshot of 120 reddish and bluish JPEG files, no two of one size."""
    folder, generator = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(120):
        pixels = generator.integers(0, 120, (20 + number % 37, 24 + number % 41, 3), dtype=np.uint8)
        pixels[..., 2 * (number % 2)] += 100
        path = folder / ("blue" if number % 2 else "red") / f"{number:03}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    suite = folder.parent / "photos.json"
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    suite.write_text(json.dumps({"name": "photos", "expectations": [rule]}))
    version = commit(shared_home, "photos", open_source(folder), message="rows", suite=suite)
    return snapshot.prepare(shared_home, version, SPLIT)


class Sink:
    """Keeps the model."""

    def report(self, step, metrics):
        """Not needed."""

    def sync(self):
        """Not needed."""

    def save(self, model, example):
        self.saved = model, example


def _negated(row):
    return row | {"image": -row["image"]}


def run_of(source) -> TrainingRun:
    return TrainingRun({"batch_size": 16}, 0, source, Sink())


def test_every_reader_gives_the_same_pixels(shared_home, photos):
    files = snapshot.open_snapshot(shared_home, photos).split("train")
    stored = rows_of(files).raw
    expected = PICTURE.frames(stored) / np.float32(255)
    np.testing.assert_array_equal(Processing(picture=PICTURE).single(stored), expected)
    run = run_of(SnapshotSplits(shared_home, photos))
    run.pictures(PICTURE)
    inputs, labels = run.tensors("train")
    assert (inputs.dtype, inputs.shape) == (torch.float32, (len(labels), 3, 16, 12))
    np.testing.assert_array_equal(inputs.numpy(), expected)
    for options in ({}, {"threads": 1}, {"processes": 1}):
        batches = list(run.loader("train", 16, shuffle=False, **options))
        np.testing.assert_array_equal(torch.cat([images for images, _ in batches]).numpy(), expected)
    named = list(run.loader("train", 16, shuffle=False, named=True, row_transform=_negated))
    np.testing.assert_array_equal(torch.cat([batch["image"] for batch in named]).numpy(), -expected)
    assert torch.equal(torch.cat([batch["label"] for batch in named]), labels)
    few = run_of(FewRows(SnapshotSplits(shared_home, photos), 4))
    few.pictures(PICTURE)
    assert few.tensors("train")[0].shape[1:] == (3, 16, 12)


def test_trials_that_ask_for_another_size_get_it(shared_home, photos):
    source = SnapshotSplits(shared_home, photos)
    for height in (16, 8, 16):
        run = run_of(source)
        run.pictures(Picture(height=height, width=12))
        assert run.example().shape == (2, 3, height, 12)
        assert run.tensors("validation")[0].shape[2] == height


def test_from_files_to_an_answer(shared_home, photos, tmp_path):
    (shared_home.project / "photos.py").write_text(CODE)
    pipeline = Pipeline.model_validate(
        {
            "pipeline": "photos",
            "dataset": {"name": "photos", "split": SPLIT},
            "train": "photos.py:colours",
            "tune": {"trials": 1, "objective": {"metric": "loss"}, "space": {"unused": {"int": [1, 2]}}},
            "gate": {
                "at_least": {"accuracy": 0.9},
                "first_model": "minimums",
                "against_champion": {"non_inferior_by": 0.1},
            },
        }
    )
    spec = pipeline.model_dump(mode="json", by_alias=True, exclude_unset=True)
    experiment, parent = runs.ensure_parent(shared_home, "photos", "photos/one", {})
    ctx = RunContext("photos", spec, "photos/one", parent, experiment, photos)
    trained = train(shared_home, pipeline, ctx, {})
    found = evaluate(shared_home, pipeline, ctx, trained)
    assert found.metrics["accuracy"] > 0.9
    folder = artifacts.fetch_model(shared_home, trained.model_uri, trained.digests, tmp_path / "m")
    kept = parse((folder / artifacts.PROCESSING).read_bytes())
    assert (kept.picture, kept.pixels, kept.classes) == (PICTURE, None, ["blue", "red"])
    model = LoadedModel.load("photos", "1", folder, trained.digests)
    files = rows_of(snapshot.open_snapshot(shared_home, photos).split("test")).raw
    asked = [b64encode(file).decode() for file in files]
    answered = model.answers(model.parse(asked)).predictions
    assert answered == model.answers(model.parse(files)).predictions  # Python gives bytes, JSON base64
    right = rows_of(snapshot.open_snapshot(shared_home, photos).split("test")).labels
    assert np.mean([one == other for one, other in zip(answered, right, strict=True)]) == found.metrics["accuracy"]
    for wrong, says in (
        (["%%"], "instance 1 is no base64"),
        ([7], "instance 1 is a number"),
        ([asked[0][:40]], "instance 1"),
    ):
        with pytest.raises(InstancesRefused, match=says):
            model.answers(model.parse(asked[:1] + wrong))


def test_who_forgets_to_say_the_size_is_told(shared_home, photos):
    (shared_home.project / "photos.py").write_text(CODE)
    run = run_of(SnapshotSplits(shared_home, photos))
    with pytest.raises((ConfigError, JobFailed), match="picture files, of any size") as caught:
        load_function(shared_home.project, "photos.py:forgotten")(run)
    assert "run.pictures(Picture(" in caught.value.hint
    with pytest.raises(ConfigError, match="tensors in memory are no picture files"):
        run_of(TensorSource({})).pictures(PICTURE)


def test_what_is_no_file_is_refused(shared_home, digits):
    run = run_of(SnapshotSplits(shared_home, digits))
    run.pictures(PICTURE)
    with pytest.raises(ConfigError, match="no picture files"):
        run.tensors("train")
    file = BytesIO()
    Image.new("RGB", (3, 3)).save(file, "PNG")
    with pytest.raises(DataError, match="these are files"):
        Processing().single([file.getvalue()])
