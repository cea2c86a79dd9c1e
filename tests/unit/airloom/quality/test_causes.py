"""Causes of a version whose snapshot, evaluation and labels are real."""

import json
import re

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from airloom.cli.main import app
from airloom.datasets.commit import commit
from airloom.datasets.ingest import from_table
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage.schema import Layout
from airloom.evaluation import predictions
from airloom.evaluation.evaluate import FOLDER, PREDICTIONS
from airloom.quality import late_labels
from airloom.quality.causes import causes
from airloom.spec.load import DEFINITION
from airloom.tasks.rows import ModelAnswers
from airloom.tracking import runs
from airloom.tracking.tags import Tag

HOUR = 3_600_000
START = 1_790_000_000_000 // HOUR * HOUR
ROWS = 500
SLICES = {
    "oslo": {"column": "city", "equals": "oslo"},
    "bergen": {"column": "city", "equals": "bergen"},
    "far": {"column": "distance", "at_least": 4},
    "yes": {"label": "yes"},
    "phone": {"tag": "source=phone"},
}


def journeys(rows, seed):
    generator = np.random.default_rng(seed)
    return {
        "distance": generator.lognormal(1, 0.6, rows).round(3),
        "passengers": generator.integers(1, 5, rows),
        "city": generator.choice(["oslo", "bergen", "bodø"], rows, p=[0.5, 0.3, 0.2]),
    }


def answers(columns):
    return np.where(np.asarray(columns["distance"], float) > 3, "yes", "no")


def truth(columns, seed, wrong=0.1):
    """Otherwise than the model says, with that chance."""
    said = answers(columns)
    return np.where(np.random.default_rng(seed).random(len(said)) < wrong, np.where(said == "yes", "no", "yes"), said)


@pytest.fixture(scope="module")
def trained(shared_home, tmp_path_factory):
    suite = tmp_path_factory.mktemp("suite") / "journeys.json"
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    suite.write_text(json.dumps({"name": "journeys", "expectations": [rule]}))
    columns = journeys(3000, 0)
    rows = from_table(pa.table(columns | {"late": truth(columns, 1)}), Layout("tabular", "late"))
    version = commit(shared_home, "journeys", rows, message="rows", author="Ada", suite=suite)
    return snapshot.prepare(shared_home, version, {"train": 0.7, "test": 0.3})


@pytest.fixture
def model(world, trained):
    ctx = world.ctx("one")
    learned = world.train(ctx)
    client = runs.client(world.settings)
    client.set_tag(learned.mlflow_run, Tag.SNAPSHOT_RECORD, json.dumps(trained.to_dict()))
    frame = snapshot.open_snapshot(world.settings, trained).frame("test")
    places = (answers(frame) == "yes").astype(int)
    said = ModelAnswers(places, np.zeros(len(frame)), ["no", "yes"], ("no", "yes"), {})
    masks = {
        "oslo": (frame["city"] == "oslo").to_numpy(),
        "bergen": (frame["city"] == "bergen").to_numpy(),
        "far": (frame["distance"] >= 4).to_numpy(),
        "yes": (frame["late"] == "yes").to_numpy(),
        "phone": np.zeros(len(frame), bool),
    }
    place = world.settings.home / "made" / ctx.key / PREDICTIONS
    place.parent.mkdir(parents=True, exist_ok=True)
    predictions.write(predictions.by_name(frame["late"].tolist(), said, None, masks), place)
    client.log_artifact(ctx.mlflow_run, str(place), FOLDER)
    client.log_text(ctx.mlflow_run, json.dumps({"evaluate": {"slices": SLICES}}), DEFINITION)
    made = world.register_trained(ctx, learned)
    return f"{made.model}/{made.version}"


@pytest.fixture
def log(world, model, write_log):
    def write(hour, change=None, wrong=0.1, inputs=True, labels=True, rows=ROWS):
        columns = journeys(rows, 100 + hour)
        columns |= change(columns) if change else {}
        cells = [
            dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)
        ]
        more = {"inputs": [json.dumps(cell) for cell in cells], "inputs_by": ["profile"] * rows} if inputs else {}
        name, _, version = model.partition("/")
        at = START + hour * HOUR + np.arange(rows)
        chance = wrong(columns) if callable(wrong) else wrong
        ids = write_log(
            world.settings, name, version, at, prediction=answers(columns).tolist(), value=[None] * rows, **more
        )
        if labels:
            said = dict(zip(ids, truth(columns, 200 + hour, chance).tolist(), strict=True))
            late_labels.add(world.settings, said, source="clinic")

    return write


def test_without_a_change_nothing_is_found(world, model, log):
    log(0)
    found = causes(world.settings, model)
    assert not found.test.differ
    assert found.test.rows == [2100, ROWS] or abs(found.test.rows[0] - 2100) < 100
    assert found.loss == "error rate"
    for low, high in (found.change.covariate_interval, found.change.concept_interval):
        assert low < 0.02
        assert high > -0.02
    assert "slice phone: the log does not know tags of commits" in found.notes


def test_the_feature_and_the_slice_that_changed_are_named_first(world, model, log):
    log(0, lambda columns: {"distance": columns["distance"] * 1.5}, lambda c: np.where(c["city"] == "bergen", 0.5, 0.1))
    found = causes(world.settings, model)
    assert found.test.differ
    assert found.features[0].name == "distance"
    assert found.features[0].answers > 0.8
    assert found.slices[0].name == "bergen"
    assert found.change.concept_interval[0] > 0
    assert {one.name for one in found.slices} == {"oslo", "bergen", "far", "yes"}


def test_without_inputs_labels_alone_tell_slices_by_label(world, model, log):
    log(0, wrong=0.3, inputs=False)
    found = causes(world.settings, model)
    assert "no feature that training and window both have" in found.test.says
    assert [one.name for one in found.slices] == ["yes"]
    assert found.change.says == "the log keeps no feature of these rows"
    assert any("slice oslo: the log keeps no 'city'" in note for note in found.notes)


def test_rows_of_which_inputs_were_not_kept_are_left_out_of_slices_and_parts(world, model, log):
    log(0)
    log(0, inputs=False, wrong=0.9)
    found = causes(world.settings, model)
    assert found.change.says == ""
    assert found.change.after < 0.2
    assert len(found.slices) == 4


def test_labels_of_an_older_window_are_taken_and_without_any_it_is_said(world, model, log):
    log(1, labels=False)
    found = causes(world.settings, model)
    assert (found.change, found.slices, found.labelled_window) == (None, [], [])
    assert any("no window has 100 labels" in note for note in found.notes)
    log(0)
    found = causes(world.settings, model)
    assert found.labelled_window[1] <= found.window[0]
    assert found.change is not None


@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_and_one_row_say_nothing(world, model, log, rows):
    if rows:
        log(0, rows=1)
    found = causes(world.settings, model)
    assert found.test.says == "no window has 200 rows"
    assert found.features == []


def test_the_command_and_its_page_tell_causes(world, model, log, tmp_path, monkeypatch):
    log(0)
    log(1, lambda columns: {"distance": columns["distance"] * 1.5}, lambda c: np.where(c["city"] == "bergen", 0.6, 0.1))
    monkeypatch.setenv("AIRLOOM_HOME", str(world.settings.home))
    page = tmp_path / "drift.html"
    shown = CliRunner().invoke(app, ["drift", model, "--why", "--html", str(page)])
    assert shown.exit_code == 0, shown.exception
    assert "the newest window is told from training, AUC 0." in shown.output
    assert re.search(r"distance: \d+% of drift times importance", shown.output)
    assert re.search(r"by what rows mean \+0\.\d+", shown.output)
    assert "slice bergen: 0." in shown.output
    text = page.read_text()
    for head in ("Accuracy without labels", "Features by drift times importance", "Slices by what they lost"):
        assert head in text
    assert text.count("<img") >= 5
    plain = json.loads(CliRunner().invoke(app, ["drift", model, "--json"]).stdout)
    assert plain["causes"] is None
    plain = json.loads(CliRunner().invoke(app, ["drift", model, "--json", "--why"]).stdout)
    assert plain["causes"]["features"][0]["name"] == "distance"
