"""Labelled predictions become rows of a dataset, each once, and the commit's tag leads back to them."""

import json

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from airloom.cli.main import app
from airloom.datasets import versions
from airloom.datasets.commit import commit
from airloom.datasets.ingest import from_table
from airloom.datasets.read import read
from airloom.datasets.storage.schema import Layout
from airloom.errors import DataError
from airloom.monitoring import decisions, label_batches
from airloom.monitoring.decision import FAULT, MonitorDecision
from airloom.monitoring.decisions import Look
from airloom.quality import label_commit, late_labels
from airloom.quality.label_commit import commit_labels

START = 1_790_000_000_000


@pytest.fixture
def boats(small):
    """A model that learned from two columns, and its dataset."""
    path = small.settings.project / "configs" / "expectations" / "digits.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    path.write_text(json.dumps({"name": "digits", "expectations": [rule]}))
    table = pa.table({"speed": [1.0, 2.0], "kind": ["tug", "ferry"], "late": [0, 1]})
    commit(small.settings, "digits", from_table(table, Layout("tabular", "late")), message="first", author="Ada")
    small.register("one")
    return small


@pytest.fixture
def asked(boats, write_log):
    def ask(rows, at=0, by="full"):
        inputs = [json.dumps(row) for row in rows]
        moments = [START + at + place for place in range(len(rows))]
        ids = write_log(
            boats.settings, "small", "1", moments, prediction=["1"] * len(rows), value=[1.0] * len(rows),
            inputs=inputs, inputs_by=[by] * len(rows),
        )  # fmt: skip
        return sorted(ids)

    return ask


def trips(*speeds):
    return [{"speed": speed, "kind": "tug"} for speed in speeds]


def label(world, ids, value="0"):
    late_labels.add(world.settings, dict.fromkeys(ids, value), source="harbour")


def test_each_labelled_prediction_becomes_a_row_once(boats, asked, monkeypatch):
    ids = asked(trips(3, 4.5, 6))
    label(boats, ids[:2])
    first = commit_labels(boats.settings, "small", author="Ada")
    assert (first.dataset, first.rows, first.known, first.not_kept) == ("digits@v2", 2, 0, 0)
    version = versions.latest(boats.settings, "digits")
    assert (version.tags, version.source) == ([first.tag], "predictions of small")
    assert label_batches.predictions_of(boats.settings.database_address, [first.tag.removeprefix("labels=")]) == {
        *ids[:2]
    }
    assert read(boats.settings, version).to_pylist()[2:] == [
        {"speed": 3.0, "kind": "tug", "late": 0},
        {"speed": 4.5, "kind": "tug", "late": 0},
    ]
    assert commit_labels(boats.settings, "small").dataset == ""
    label(boats, ids[2:], "1")

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # after the batch was written down
        patch.setattr("airloom.datasets.commit.commit", killed)
        with pytest.raises(KeyboardInterrupt):
            commit_labels(boats.settings, "small")
    again = commit_labels(boats.settings, "small")
    assert (again.dataset, again.rows, again.known) == ("digits@v3", 1, 2)
    assert label_commit.CommittedLabels.from_dict(again.to_dict()) == again


def test_windows_with_faulty_data_are_left_out(boats, asked):
    ids = asked(trips(3)) + asked(trips(4), at=60_000)
    label(boats, ids)
    look = Look("small", "1", "digits@v1", START / 1000 - 1, START / 1000 + 1, "Ada", "schedule", [], [], {})
    quarantine = MonitorDecision("quarantine", FAULT, "speed is null")
    decisions.keep(boats.settings.database_address, look, lambda *_: quarantine)
    found = commit_labels(boats.settings, "small")
    assert (found.rows, found.quarantined) == (1, 1)


@pytest.mark.parametrize(
    ("rows", "by", "says"),
    [
        (trips(3), "profile", "of 1 labelled predictions the log has no whole row"),
        ([{"speed": 3.0}], "full", "digits needs a column 'kind', the log has 'speed'"),
        ([{"speed": "fast", "kind": "tug"}], "full", "speed of digits is double, the log has something else"),
        ([{"speed": [1, 2], "kind": "tug"}], "full", "speed of digits is double, the log has something else"),
    ],
)
def test_what_is_no_row_of_the_dataset_is_refused(boats, asked, rows, by, says):
    label(boats, asked(rows, by=by))
    with pytest.raises(DataError) as caught:
        commit_labels(boats.settings, "small")
    assert says in caught.value.message
    assert versions.latest(boats.settings, "digits").number == 1


def test_the_command(boats, asked, monkeypatch):
    monkeypatch.setenv("AIRLOOM_HOME", str(boats.settings.home))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(boats.settings.project))
    label(boats, asked(trips(3)))
    said = CliRunner().invoke(app, ["labels", "commit", "small", "--author", "Ada"])
    assert said.output.startswith("digits@v2: 1 rows, tag labels="), said.output
    assert (
        "no new row was committed\n  1 labelled predictions were brought before"
        in CliRunner().invoke(app, ["labels", "commit", "small"]).output
    )
