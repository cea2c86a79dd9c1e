"""Drift of a version whose snapshot and evaluation are real, from a log as servers of several releases write it."""

import json
import re
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from airloom.cli.main import app
from airloom.datasets.commit import commit
from airloom.datasets.ingest import from_table
from airloom.datasets.snapshots import snapshot
from airloom.datasets.snapshots.files import folder
from airloom.datasets.storage.schema import Layout
from airloom.errors import AirloomError, DataError
from airloom.evaluation import predictions
from airloom.evaluation.evaluate import FOLDER, PREDICTIONS
from airloom.quality import reference as references
from airloom.quality.drift import analyse
from airloom.quality.drift_page import render
from airloom.quality.window import Window
from airloom.registry import models
from airloom.tasks.rows import ModelAnswers
from airloom.tracking import runs
from airloom.tracking.tags import Tag

HOUR = 3_600_000
START = 1_790_000_000_000 // HOUR * HOUR
ROWS = 400


def trips(rows, seed):
    generator = np.random.default_rng(seed)
    return {
        "distance": generator.lognormal(1, 0.6, rows).round(3).tolist(),
        "passengers": generator.integers(1, 5, rows).tolist(),
        "city": generator.choice(["oslo", "bergen", "bodø"], rows, p=[0.5, 0.3, 0.2]).tolist(),
        "fixed": [1.5] * rows,
        "empty": [None if place else 1.0 for place in range(rows)] if seed == 0 else [None] * rows,
    }


@pytest.fixture(scope="module")
def trained(shared_home, tmp_path_factory):
    """A snapshot of a table with 3000 rows."""
    suite = tmp_path_factory.mktemp("suite") / "trips.json"
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    suite.write_text(json.dumps({"name": "trips", "expectations": [rule]}))
    columns = trips(3000, 0) | {"late": (["yes", "no"] * 1500), "when": np.arange(3000).astype("datetime64[D]")}
    columns["empty"] = pa.array(columns["empty"], pa.float64())
    rows = from_table(pa.table(columns), Layout("tabular", "late"))
    version = commit(shared_home, "trips", rows, message="rows", author="Ada", suite=suite)
    return snapshot.prepare(shared_home, version, {"train": 0.8, "test": 0.2})


@pytest.fixture
def model(world, trained):
    """A version trained on it, evaluated on 400 rows: half of them late, with scores around 0.8."""
    ctx = world.ctx("one")
    learned = world.train(ctx)
    client = runs.client(world.settings)
    client.set_tag(learned.mlflow_run, Tag.SNAPSHOT_RECORD, json.dumps(trained.to_dict()))
    generator = np.random.default_rng(1)
    chances = np.stack([1 - (high := generator.uniform(0.6, 1, 400)), high], axis=1)
    chances[::2] = chances[::2, ::-1]
    said = ModelAnswers(chances.argmax(axis=1), np.zeros(400), ["no", "yes"], ("no", "yes"), {"chances": chances})
    rows = predictions.by_name(["yes", "no"] * 200, said, None)
    place = world.settings.home / "made" / PREDICTIONS
    place.parent.mkdir(parents=True, exist_ok=True)
    predictions.write(rows, place)
    client.log_artifact(ctx.mlflow_run, str(place), FOLDER)
    made = world.register_trained(ctx, learned)
    return f"{made.model}/{made.version}"


@pytest.fixture
def log(world, model, write_log):
    """Write one hour of rows: what `trips` draws, changed as the test says."""

    def write(hour, change=None, rows=ROWS, share_yes=0.5, score=None, keep=("inputs", "inputs_by", "score")):
        generator = np.random.default_rng(100 + hour)
        columns = trips(rows, 100 + hour)
        columns |= change(columns, generator) if change else {}
        cells = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        more = {
            "inputs": [json.dumps(cell) for cell in cells],
            "inputs_by": ["profile"] * rows,
            "score": (score if score is not None else generator.uniform(0.6, 1, rows)).tolist(),
        }
        said = ["yes" if one else "no" for one in generator.random(rows) < share_yes]
        name, _, version = model.partition("/")
        at = START + hour * HOUR + np.arange(rows)
        return write_log(
            world.settings, name, version, at, prediction=said, value=[None] * rows, **{key: more[key] for key in keep}
        )

    return write


def report(world, model, **more):
    return analyse(world.settings, model, **more).report


def by_name(found):
    return {feature.name: feature for feature in found.features}


def test_without_a_shift_nothing_drifts_and_what_cannot_be_said_is_said(world, model, log):
    for hour in range(4):
        log(hour)
    found = report(world, model)
    features = by_name(found)
    assert found.headline == "no drift in 5 features"
    assert (found.dataset, found.rows, len(found.windows)) == ("trips@v1", 4 * ROWS, 4)
    steady = ("distance", "passengers", "city", "(answer)", "(score)")
    assert {features[name].verdict for name in steady} == {"steady"}
    assert features["fixed"].says == "it is constant, as in training"
    assert re.search("no value in training|1 rows with a value in training, fewer", features["empty"].says)
    assert features["when"].says == "a time moves on by itself"
    assert "late" not in features  # the label is no input


def test_drift_needs_two_windows_in_a_row_and_is_ranked(world, model, log):
    def farther(columns, generator):
        return {"distance": (np.array(columns["distance"]) * 1.6).tolist(), "city": ["oslo"] * ROWS}

    def busier(columns, generator):
        return {
            "distance": (np.array(columns["distance"]) * 1.6).tolist(),
            "city": generator.choice(["oslo", "bergen", "bodø"], ROWS, p=[0.3, 0.3, 0.4]).tolist(),
        }

    log(0)
    log(1, busier)
    assert report(world, model).verdict == "steady"
    log(2, busier)
    found = report(world, model)
    assert found.verdict == "drift"
    assert found.headline.startswith("DRIFT in 2 of 5 features since ")
    assert [feature.name for feature in found.features[:2]] == sorted(
        ["distance", "city"], key=lambda name: -by_name(found)[name].psi
    )
    log(3)
    log(4)
    assert by_name(report(world, model))["city"].says == "it drifted, and came back"


def test_answers_and_scores_drift_without_any_inputs(world, model, log):
    generator = np.random.default_rng(0)
    for hour in range(3):
        log(hour, share_yes=0.8, score=generator.uniform(0.5, 0.75, ROWS), keep=("score",))
    found = report(world, model)
    assert {feature.name for feature in found.features if feature.verdict == "drift"} == {"(answer)", "(score)"}
    assert found.notes == [
        "the log keeps no inputs of this version: `log: {inputs: profile}` in its pipeline file does"
    ]


def test_a_log_of_an_earlier_release_has_answers_only(world, model, log):
    log(0, keep=())
    found = report(world, model)
    assert found.headline == "no drift in 1 feature"
    assert by_name(found)["(score)"].says == "the log keeps nothing of it"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c, g: {"distance": [None] * ROWS}, r"distance is null in 100% of the rows, in training in 0%"),
        (
            lambda c, g: {"city": ["tromsø"] * 40 + c["city"][40:]},
            r"city is in 10.0% of the rows what training never had",
        ),
        (lambda c, g: {"distance": (np.array(c["distance"]) * 1000).tolist()}, r"distance looks multiplied by 1000"),
        (lambda c, g: {"passengers": ["two"] * ROWS}, r"passengers is no number in 100%"),
        (lambda c, g: {"distance": [2.5] * ROWS}, r"distance is 2.5 in every row"),
    ],
)
def test_a_data_fault_is_the_first_line_and_is_no_drift(world, model, log, change, says):
    def shifted(columns, generator):
        return {"passengers": [4] * 200 + columns["passengers"][200:]} | change(columns, generator)

    log(0, shifted)
    log(1, shifted)
    found = report(world, model)
    assert found.verdict == "data fault"
    assert found.headline.startswith("DATA FAULT, for whoever sends the data: ")
    assert re.search(says, found.headline)
    log(2)
    assert report(world, model).verdict != "data fault"  # it was mended


def test_rows_of_which_no_inputs_were_kept_are_no_nulls(world, model, log, write_log):
    log(0)
    name, _, version = model.partition("/")
    write_log(world.settings, name, version, START + np.arange(600), prediction=["yes", "no"] * 300)
    found = report(world, model)
    assert found.verdict == "steady"
    assert found.windows[0].faults == {}
    (distance,) = (one for one in found.windows[0].features if one.name == "distance")
    assert (distance.rows, distance.nulls) == (ROWS, 0)


def test_whole_inputs_that_are_no_features_are_said(world, model, log, write_log):
    name, _, version = model.partition("/")
    at, inputs = START + np.arange(300), [json.dumps({"image": [0.5, 0.5]})] * 300
    write_log(
        world.settings, name, version, at, prediction=["yes", "no"] * 150, inputs=inputs, inputs_by=["full"] * 300
    )
    found = report(world, model)
    assert found.notes == ["of the kept inputs none is a feature of the profile: `log: {inputs: profile}` keeps those"]
    assert found.headline == "no drift in 1 feature"


def test_columns_that_are_hashed_are_not_compared(world, model, log):
    name, _, version = model.partition("/")
    policy = json.dumps({"inputs": "profile", "hash": ["city"], "drop": []})
    runs.client(world.settings).set_model_version_tag(name, version, "airloom.log", policy)
    log(0, lambda c, g: {"city": ["5f0a"] * ROWS})
    found = report(world, model)
    assert by_name(found)["city"].says == "the log keeps nothing of it"
    assert found.verdict == "steady"


@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_and_one_row_say_nothing(world, model, log, rows):
    if rows:
        log(0, rows=1)
    found = report(world, model, window=Window(rows=1000))
    assert found.verdict == "nothing to say"
    assert found.headline.startswith("nothing to say: ")
    assert render(analyse(world.settings, model)).startswith("<!doctype html>")


def test_a_damaged_reference_is_counted_anew_and_a_kept_one_is_read(world, model, trained, monkeypatch):
    version = models.find(world.settings, model)
    first = references.reference(world.settings, version)
    place = folder(world.settings, trained.id) / "drift-features.json"
    place.write_text(place.read_text().replace("oslo", "Oslo", 1))
    assert references.reference(world.settings, version).digest == first.digest
    monkeypatch.setattr(references, "_features", None)
    assert references.reference(world.settings, version).digest == first.digest


def test_a_large_training_is_counted_on_evenly_spread_rows(world, model, trained, monkeypatch):
    monkeypatch.setattr(references, "MOST_ROWS", 700)
    frame = references._profile(snapshot.open_snapshot(world.settings, trained), "train")
    assert 590 <= len(frame) <= 700


def test_a_model_without_a_reference_says_why(world):
    made = world.register("two")
    with pytest.raises(DataError, match="has no reference: nobody knows what it was trained on"):
        report(world, f"{made.model}/{made.version}")


def run(world, monkeypatch, *arguments):
    monkeypatch.setenv("AIRLOOM_HOME", str(world.settings.home))
    return CliRunner().invoke(app, ["drift", *arguments])


def test_the_command_ranks_features_and_writes_a_page_with_pictures(world, model, log, tmp_path, monkeypatch):
    for hour in range(2):
        log(hour, lambda c, g: {"distance": (np.array(c["distance"]) * 1.6).tolist()})
    page = tmp_path / "drift.html"
    shown = run(world, monkeypatch, model, "--html", str(page))
    assert shown.exit_code == 0, shown.exception
    assert "DRIFT in 1 of 5 features" in shown.output
    assert re.search(r"distance +drift +PSI 0\.\d+, KS 0\.\d+, moved in 2 of 2 windows", shown.output)
    text = page.read_text()
    assert text.index("<h1 class='drift'>DRIFT in 1") < text.index("<table>")
    assert text.count("<img") >= 10
    assert "http" not in text
    plain = json.loads(run(world, monkeypatch, model, "--json", "--window", "200").stdout)
    assert (plain["verdict"], len(plain["windows"])) == ("drift", 4)


@pytest.mark.parametrize("arguments", [["--window", "-1"], ["--since", "x"], ["--html", "/nowhere/at/all.html"]])
def test_bad_requests_are_refused_in_words(world, model, monkeypatch, arguments):
    assert isinstance(run(world, monkeypatch, model, *arguments).exception, AirloomError)


def test_the_command_says_the_estimate_too(world, model, log, monkeypatch):
    for hour in range(2):
        log(hour)
    shown = run(world, monkeypatch, model)
    assert re.search(r"estimated accuracy without labels 0\.\d+ \(0\.\d+ to 0\.\d+\) of 400 answers", shown.output)
    assert "no concept drift" in shown.output
    assert "never checked: no window has 100 labels yet" in shown.output
    plain = json.loads(run(world, monkeypatch, model, "--json").stdout)
    assert len(plain["estimate"]["windows"]) == 2


def test_the_monitor_quarantines_a_data_fault_and_its_window_says_nothing_of_the_model(world, model, log):
    from airloom.quality import late_labels, monitor
    from airloom.spec.monitor import MonitorSection

    client, (name, _, number) = runs.client(world.settings), model.partition("/")
    client.set_registered_model_alias(name, "champion", number)
    section = MonitorSection(window="1h", labelled=100, retrain={"on": ["metric", "drift"], "cooldown": 60})

    def look(hours):
        until = datetime.fromtimestamp(START / 1000 + hours * 3600, UTC)
        return monitor.look(world.settings, name, section, "trips", by="Ada", until=until)

    log(0)
    ids = log(1, lambda columns, _: {"distance": [None] * ROWS}, share_yes=0)
    late_labels.add(world.settings, dict.fromkeys(ids, "yes"), source="clinic")
    found = look(2)
    assert (found.action, found.kind, found.run) == ("quarantine", "data fault", "")
    assert "distance is null in 100% of the rows" in found.says
    assert found.since == START / 1000 + 3600
    assert {signal["kind"] for signal in found.signals} >= {"data fault"}
    for hour in (2, 3):
        log(hour)
    later = look(4)
    assert later.action in ("nothing", "explain", "ask a person")
    assert not [signal for signal in later.signals if signal["kind"] == "metric"]
    assert any("windows with labels have faulty data" in note for note in later.notes)
