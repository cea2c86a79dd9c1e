"""Pictures reach MLflow at their steps, each once, whatever dies meanwhile; what is no picture is refused."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from airloom.errors import ConfigError, MlflowAway
from airloom.tracking import runs as mlflow_runs
from airloom.training.reporting.pictures import Pictures, png_of
from airloom.training.reporting.sinks import FirstRank, OtherRank
from airloom.training.run import TrainingRun


@pytest.fixture
def api(settings, ctx):
    return mlflow_runs.client(settings)


def shown(api, ctx):
    """The pictures that the run's page has: name, step and pixels."""
    found = []
    for file in api.list_artifacts(ctx.mlflow_run, "images"):
        if file.path.endswith(".png"):
            name, step = re.fullmatch(r"images/(.+)\+step\+(-?\d+)\+timestamp\+\d+\+[\w-]+\.png", file.path).groups()
            with Image.open(api.download_artifacts(ctx.mlflow_run, file.path)) as picture:
                found.append((name, int(step), picture.size, picture.getpixel((0, 0))))
    return sorted(found)


def run_of(sink):
    return TrainingRun({}, 0, None, sink, "cpu")


def test_every_kind_of_picture_is_shown_at_its_step(tmp_path, api, ctx):
    import torch
    from matplotlib.figure import Figure

    sink = FirstRank(tmp_path, api, ctx.mlflow_run)
    run, figure = run_of(sink), Figure(figsize=(2, 1), dpi=50)
    figure.add_subplot().plot([1, 2])
    pixels = np.zeros((3, 5, 3), np.uint8)
    pixels[0, 0] = 7, 8, 9
    run.picture(0, "curve", figure)
    run.picture(1, "masks/first", pixels)
    run.picture(2, "masks/first", Image.fromarray(pixels))
    run.picture(3, "grey", torch.linspace(0, 1, 12).reshape(1, 3, 4))
    pixels[:] = 0  # it was drawn
    sink.close()
    assert [(name, step, size) for name, step, size, _ in shown(api, ctx)] == [
        ("curve", 0, (100, 50)),
        ("grey", 3, (4, 3)),
        ("masks~first", 1, (5, 3)),
        ("masks~first", 2, (5, 3)),
    ]
    assert [first for *_, first in shown(api, ctx)][1:] == [0, (7, 8, 9), (7, 8, 9)]
    assert api.get_run(ctx.mlflow_run).data.tags["mlflow.loggedImages"] == "True"
    # the same files that MLflow's own client writes
    api.log_image(ctx.mlflow_run, np.zeros((2, 2, 3), np.uint8), key="masks/own", step=4, synchronous=True)
    assert ("masks~own", 4, (2, 2), (0, 0, 0)) in shown(api, ctx)


def test_a_step_that_is_trained_again_shows_its_first_picture(tmp_path, api, ctx):
    for value in (10, 200):
        sink = FirstRank(tmp_path, api, ctx.mlflow_run)
        run_of(sink).picture(0, "seen", np.full((2, 2), value, np.uint8))
        sink.close()
    assert shown(api, ctx) == [("seen", 0, (2, 2), 10)]


def test_what_mlflow_did_not_take_is_sent_by_the_next_attempt(tmp_path, api, ctx):
    class Away:
        """MLflow that takes the first file only."""

        def __init__(self):
            self.taken = 0

        def log_artifact(self, *arguments):
            self.taken += 1
            if self.taken > 1:
                raise ConnectionError("refused")
            api.log_artifact(*arguments)

    pictures = Pictures(tmp_path / "pictures", ctx.mlflow_run)
    pictures.add(0, "seen", lambda: png_of(np.zeros((2, 2), np.uint8), "seen"))
    with pytest.raises(ConnectionError):
        pictures.send(Away())
    assert pictures.left == 1
    again = Pictures(tmp_path / "pictures", ctx.mlflow_run)
    assert again.left == 1
    again.send(api)
    assert again.left == 0
    assert shown(api, ctx) == [("seen", 0, (2, 2), 0)]
    assert Pictures(tmp_path / "pictures", ctx.mlflow_run).left == 0


def test_pictures_that_nobody_took_fail_the_end_of_the_training(tmp_path, api, ctx, monkeypatch):
    sink = FirstRank(tmp_path, api, ctx.mlflow_run)
    monkeypatch.setattr(Pictures, "send", lambda *_: (_ for _ in ()).throw(ConnectionError("refused")))
    run_of(sink).picture(0, "seen", np.zeros((2, 2), np.uint8))
    with pytest.raises(MlflowAway, match="did not take the last 1 pictures"):
        sink._uploader.close(timeout=0)


@pytest.mark.parametrize(
    ("figure", "says"),
    [
        (np.zeros((2, 2, 5)), r"float64 of shape \(2, 2, 5\)"),
        (np.zeros((0, 2)), r"shape \(0, 2\)"),
        (np.full((2, 2), 1.5), "values from 1.5 to 1.5"),
        (np.full((2, 2), np.nan), "values from nan to nan"),
        (np.array(["a"]), "of shape"),
        (None, "of shape"),
    ],
)
def test_what_is_no_picture_is_refused(figure, says):
    with pytest.raises(ConfigError, match=says):
        png_of(figure, "seen")


@pytest.mark.parametrize("name", ["", "a:b", "a+b", "x" * 101, "é", 7])
def test_a_name_that_mlflow_takes_for_no_picture_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="takes no picture called"):
        run_of(OtherRank(tmp_path, 0)).picture(0, name, np.zeros((2, 2)))


def test_modes_that_png_lacks_become_colours():
    picture = Image.open(io.BytesIO(png_of(Image.new("CMYK", (2, 3), (0, 255, 255, 0)), "seen")))
    assert (picture.mode, picture.size) == ("RGB", (2, 3))
