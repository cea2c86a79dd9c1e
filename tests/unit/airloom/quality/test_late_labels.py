"""Labels from files and by hand, joined with the log: what is told, and what they measure."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd  # noqa: TID253 - one of the doors
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from airloom.cli.main import app
from airloom.errors import AirloomError, ConfigError, DataAway, DataError
from airloom.monitoring import labels, log_columns
from airloom.monitoring.prediction_id import new
from airloom.quality import by_label, late_labels
from airloom.quality.late_labels import AddedLabels, Columns
from airloom.quality.window import Window
from airloom.tracking import runs
from airloom.tracking.tags import Tag

DAY = 86_400_000
START = 1_790_000_000_000 // DAY * DAY


@pytest.fixture
def served(small, write_log):
    """Version 1 of `small` with forty answers on each of two days: 30 are right on the first, 20 on the second."""
    small.register("one")
    at = [START + day * DAY + place * 1000 for day in range(2) for place in range(40)]
    truth = [str(place % 10) for place in range(80)]
    wrong = {*range(10), *range(40, 60)}
    said = [str((int(text) + 1) % 10) if place in wrong else text for place, text in enumerate(truth)]
    inputs = [json.dumps({"order": place}) for place in range(80)]
    ids = write_log(
        small.settings, "small", "1", at, prediction=said, value=[float(text) for text in said], inputs=inputs,
        request=[f"r{place}" for place in range(80)],
    )  # fmt: skip
    return small, ids, truth


def measured(world, **more):
    (version,) = by_label.measure(world.settings, "small", **more)
    return version


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_file_of_labels_gives_accuracy_by_day(served, tmp_path, form):
    small, ids, truth = served
    frame = pd.DataFrame({"prediction_id": ids, "label": truth, "note": "x"})
    path = tmp_path / f"late.{form}"
    if form == "csv":
        frame.to_csv(path, index=False)
    elif form == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    added = late_labels.add_file(small.settings, path, source="clinic")
    assert (added.added, added.known, added.unknown) == (80, 0, 0)
    version = measured(small)
    assert (version.task, version.rows, version.labelled, version.waiting) == ("classification", 80, 80, 0)
    assert [window.metrics["accuracy"] for window in version.windows] == [0.75, 0.5]
    assert version.all.metrics["accuracy"] == 0.625
    low, high = version.all.interval
    assert 0.5 < low < 0.625 < high < 0.75
    assert late_labels.add_file(small.settings, path, source="clinic").known == 80
    assert by_label.LabelledVersion.from_dict(json.loads(json.dumps(version.to_dict()))) == version


def test_later_labels_complete_a_window_that_is_past(served):
    small, ids, truth = served
    late_labels.add(small.settings, dict(zip(ids[:20], truth, strict=False)), source="clinic")
    assert [(window.labelled, window.rows) for window in measured(small).windows] == [(20, 40), (0, 40)]
    late_labels.add(small.settings, dict(zip(ids[20:], truth[20:], strict=False)), source="clinic")
    assert [window.labelled for window in measured(small).windows] == [40, 40]
    assert [window.rows for window in measured(small, window=Window(rows=30)).windows] == [30, 30, 20]


def test_unknown_ids_are_told_and_wait_for_their_rows(served, write_log):
    small, ids, truth = served
    strangers = [new("small", "1") for _ in range(5)]
    added = late_labels.add(small.settings, {ids[0]: truth[0]} | dict.fromkeys(strangers, "1"), source="clinic")
    assert added == AddedLabels(6, 0, 0, 5, strangers[:3])
    assert measured(small).waiting == 5


def test_a_label_waits_until_its_row_is_written(small, write_log):
    small.register("one")
    ids = write_log(small.settings, "small", "1", [START], prediction=["7"], value=[7.0])
    (file,) = small.settings.prediction_log.rglob("*.parquet")
    hidden = file.rename(small.settings.home / "not-yet")
    assert late_labels.add(small.settings, {ids[0]: 7}, source="clinic").unknown == 1
    assert measured(small).labelled == 0
    hidden.rename(file)
    assert measured(small).labelled == 1


def test_contradictions_are_shown_and_the_most_trusted_counts(served):
    small, ids, truth = served
    late_labels.add(small.settings, dict(zip(ids, truth, strict=True)), source="pathologist")
    added = late_labels.add(small.settings, dict.fromkeys(ids[10:14], "9"), source="nurse")
    assert added.otherwise == 4
    version = measured(small)
    assert (version.contradicted, version.corrected) == (4, 0)
    assert version.sources == {"nurse": 4, "pathologist": 80}
    assert version.all.metrics["accuracy"] == 46 / 80  # the nurse's words are newer
    labels.trust(small.settings.database_address, ["pathologist"])
    assert measured(small).all.metrics["accuracy"] == 50 / 80
    assert measured(small, rule="agreed").undecided == 4
    assert measured(small, rule="agreed").labelled == 76
    with pytest.raises(ConfigError, match="no rule 'best'"):
        measured(small, rule="best")


def test_the_lag_is_known_and_a_clock_that_is_wrong_is_said(served):
    small, ids, truth = served
    for place, hours in ((0, 1), (1, 3), (2, -1)):
        found = datetime.fromtimestamp((START + place * 1000) / 1000, UTC) + timedelta(hours=hours)
        late_labels.add(small.settings, {ids[place]: truth[place]}, source="clinic", found=found)
    version = measured(small)
    assert version.lag["median"] == pytest.approx(3600)
    assert version.lag["longest"] == pytest.approx(3 * 3600)
    assert version.early == 1


def test_keys_of_ones_own_find_their_rows(served):
    small, _, truth = served
    late_labels.add(small.settings, enumerate(truth), source="shop", by="input:order", model="small")
    assert measured(small).all.metrics["accuracy"] == 0.625
    late_labels.add(small.settings, {"r0": "5", "none": "5"}, source="front", by="request", model="small")
    assert measured(small).contradicted == 1


def test_a_request_of_several_rows_labels_none_of_them(small, write_log):
    small.register("one")
    at, several = [START, START + 1], pa.array([2, 2], pa.int32()).to_pylist()
    write_log(
        small.settings, "small", "1", at, prediction=["1", "2"], value=[1.0, 2.0], request=["r", "r"], rows=several
    )
    late_labels.add(small.settings, {"r": 1}, source="shop", by="request", model="small")
    version = measured(small)
    assert (version.labelled, version.ambiguous) == (0, 2)


def test_errors_of_numbers_are_the_tasks_own(small, write_log):
    version = small.register("one")
    small_tags = {"mae": 1.0, "mse": 2.0}
    runs.client(small.settings).set_model_version_tag("small", version.version, Tag.METRICS, json.dumps(small_tags))
    values = np.arange(50.0)
    ids = write_log(
        small.settings, "small", "1", START + np.arange(50), prediction=list(map(repr, values)), value=list(values)
    )
    pairs = dict(zip(ids, values + 2, strict=True)) | {ids[0]: "no number"}
    late_labels.add(small.settings, pairs, source="clinic")
    found = measured(small)
    assert (found.task, found.unscored) == ("regression", 1)
    assert found.all.metrics["mae"] == pytest.approx(2)
    assert found.all.metrics["rmse"] == pytest.approx(2)


def test_files_of_several_releases_are_read_together_and_a_row_in_two_once(served, write_log):
    small, _, _ = served
    (one, *_) = sorted(small.settings.prediction_log.rglob("*.parquet"))
    first, last, _ = one.name.split("-")
    (one.parent / f"{first}-{last}-m{'0' * 12}.parquet").write_bytes(one.read_bytes())  # while files are merged
    write_log(small.settings, "small", "1", [START + 5 * DAY], prediction=["7"])
    assert measured(small).rows == 81


def test_files_that_are_merged_while_they_are_read_lose_no_row(served, monkeypatch):
    small, ids, _ = served
    read, moved = log_columns._read, []

    def merging(path, columns):
        if not moved:
            first, last, _ = path.name.split("-")
            moved.append(path.rename(path.with_name(f"{first}-{last}-m{'0' * 12}.parquet")))
        return read(path, columns)

    monkeypatch.setattr(log_columns, "_read", merging)
    assert log_columns.table(small.settings, "small", ["value"]).num_rows == 80
    moved.clear()
    assert log_columns.there(small.settings, ids) == {*ids}
    monkeypatch.setattr(log_columns, "_read", lambda path, columns: read(path.with_name("gone"), columns))
    with pytest.raises(DataAway, match="go while they are read"):
        log_columns.table(small.settings, "small", ["value"])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"id": "nonsense", "label": "1"}, "row 3: 'nonsense' is no id of a prediction"),
        ({"id": None, "label": "1"}, "row 3: there is no id"),
        ({"id": "ID", "label": None}, "no label in column 'label'"),
        ({"id": "ID", "label": "1", "time": "yesterday"}, "row 3: 'yesterday' is no time"),
        ({"id": "ID", "label": "1", "time": "2999-01-01"}, "row 3: 2999-01-01T00:00:00 is in the future"),
        ({"id": "ID", "label": "1", "source": "x" * 200}, "row 3: the source"),
    ],
)
def test_one_bad_row_keeps_all_others_out(served, tmp_path, row, says):
    small, ids, _ = served
    good = {"id": ids[0], "label": "1", "time": "2026-01-01T00:00", "source": "clinic"}
    bad = good | {key: ids[1] if value == "ID" else value for key, value in row.items()}
    path = tmp_path / "late.csv"
    pd.DataFrame([good, bad]).to_csv(path, index=False)
    with pytest.raises(DataError) as refusal:
        late_labels.add_file(small.settings, path, source="clinic")
    assert says in str(refusal.value)
    assert labels.of_id(small.settings.database_address, ids[0]) == []


def test_what_the_columns_are_is_said(served, tmp_path):
    small, ids, _ = served
    table = pa.table({"order": [1], "truth": ["a"]})
    with pytest.raises(DataError, match=r"no column 'id' with the id; there are 'order', 'truth'"):
        late_labels.add_table(small.settings, table, source="x", columns=Columns(label="truth"))
    with pytest.raises(ConfigError, match="names no model whose keys"):
        late_labels.add_table(small.settings, table, source="x", by="input:order")
    with pytest.raises(ConfigError, match="labels cannot be given by"):
        late_labels.add_table(small.settings, table, source="x", by="row")
    lists = pa.table({"id": ids[:1], "label": [[1, 2]]})
    with pytest.raises(DataError, match="row 0: the label is list"):
        late_labels.add_table(small.settings, lists, source="x")


def run(small, monkeypatch, *arguments):
    monkeypatch.setenv("AIRLOOM_HOME", str(small.settings.home))
    return CliRunner().invoke(app, ["labels", *arguments])


def test_the_command_adds_shows_and_trusts(served, tmp_path, monkeypatch):
    small, ids, truth = served
    path = tmp_path / "late.csv"
    pd.DataFrame({"id": ids, "label": truth}).to_csv(path, index=False)
    added = run(small, monkeypatch, "add", str(path), "--source", "clinic")
    assert "80 labels added, 0 had been said before" in added.output
    one = run(small, monkeypatch, "add", "--id", ids[0], "--label", "9", "--source", "nurse", "--json")
    assert json.loads(one.output)["otherwise"] == 1
    stranger = run(small, monkeypatch, "add", "--id", new("small", "1"), "--label", "9", "--source", "nurse")
    assert "1 ids have no row in the prediction log, kept until it comes: " in stranger.output
    assert "pathologist > clinic > all others" in run(small, monkeypatch, "trust", "pathologist", "clinic").output
    shown = run(small, monkeypatch, "show", "small", "--window", "1d").output
    for text in (
        "small/1: 80 predictions logged, 80 labelled (100%)", "lag: half within", "1 labelled, but without a row",
        "contradicted by another source", "sources: clinic 80, nurse 2", "accuracy 0.6250 (",
    ):  # fmt: skip
        assert text in shown
    assert json.loads(run(small, monkeypatch, "show", "small/1", "--json").output)[0]["contradicted"] == 1
    assert "all sources are trusted alike" in run(small, monkeypatch, "trust", "--reset").output


@pytest.mark.parametrize(
    "arguments",
    [
        ["add"], ["add", "--id", "x"], ["add", "x.csv", "--id", "y", "--label", "z"], ["add", "none.csv"],
        ["add", "--id", "x", "--label", "1"], ["show", "small", "--window", "0"], ["show", "small", "--since", "x"],
        ["show", "nobody"], ["trust", "a", "--reset"], ["trust", "a\x07"], ["show", "small", "--rule", "x"],
    ],
)  # fmt: skip
def test_bad_requests_are_refused_in_words(served, monkeypatch, arguments):
    small, _, _ = served
    assert isinstance(run(small, monkeypatch, *arguments).exception, AirloomError)


def test_a_notebook_adds_and_looks(served, monkeypatch):
    import airloom

    small, ids, truth = served
    monkeypatch.setenv("AIRLOOM_HOME", str(small.settings.home))
    assert airloom.add_labels(pd.DataFrame({"id": ids, "label": truth}), source="clinic").added == 80
    assert airloom.add_labels({ids[0]: truth[0]}, source="clinic").known == 1
    assert airloom.labels("small")[0].all.metrics["accuracy"] == 0.625
