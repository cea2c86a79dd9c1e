"""What a person and a program get of the model metrics, and what is said where there is nothing."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from served.segments import MIDNIGHT, prediction, write_segment
from typer.testing import CliRunner

import airloom
from airloom.cli.main import app
from airloom.errors import ConfigError, DataError
from airloom.monitoring import metric_store as store
from airloom.monitoring.metric_aggregator import now
from airloom.monitoring.metric_counts import DAY, HOUR, MINUTE, Batch, Cell, Place
from airloom.monitoring.metric_query import ask, check_known, records, table
from airloom.settings import Settings

START = datetime.fromtimestamp(MIDNIGHT / 1000, UTC)


def found(settings, **more):
    return records(table(settings, ask(settings, **{"model": "digits", "since": START, **more})))


@pytest.fixture
def counted(settings):
    """Two versions, in three roles, over two days."""
    rows = [prediction(at=n, prediction="cat", value=None, latency_ms=10.0, score=0.9) for n in range(90)]
    rows += [prediction(at=3600 + n, prediction="dog", value=None, latency_ms=50.0, rows=2) for n in range(10)]
    rows += [prediction(at=86_400, version="10", role="canary", prediction="2.5", value=2.5)]
    rows += [prediction(at=86_400, version="2", role="shadow"), prediction(model="boats")]
    write_segment(settings.prediction_log, rows)
    now(settings)
    place = Place("digits", "1", "champion", MIDNIGHT // 1000 + 60)
    store.give(settings.database_address, Batch("b", "test", {place: Cell(20, errors={"busy": 2, "failed": 1})}))
    return settings


def test_all_of_the_time_is_one_row_for_each_version_and_role(counted):
    first, second, third = found(counted)
    assert [(row.version, row.role) for row in (first, second, third)] == [
        ("1", "champion"),
        ("2", "shadow"),
        ("10", "canary"),
    ]
    assert (first.model, first.requests, first.errors, first.predictions) == (
        "digits",
        20,
        {"busy": 2, "failed": 1},
        100,
    )
    assert first.latency_ms == pytest.approx({"p50": 10, "p95": 100, "p99": 100}, rel=0.03)
    assert first.answers == {"cat": 90, "dog": 10}
    assert first.scores == pytest.approx({"p05": 0.895, "p50": 0.895, "p95": 0.895}, abs=0.011)
    assert (third.answers, third.scores) == ({}, {})
    assert third.numbers == pytest.approx({"p05": 2.5, "p50": 2.5, "p95": 2.5}, rel=0.02)


@pytest.mark.parametrize(
    ("by", "sizes"), [("minute", [60, 30, 10, 1, 1]), ("hour", [90, 10, 1, 1]), ("day", [100, 1, 1])]
)
def test_each_span_has_its_row_oldest_first(counted, by, sizes):
    rows = found(counted, by=by)
    assert [row.predictions for row in rows] == sizes
    assert [row.start for row in rows] == sorted(row.start for row in rows)
    assert rows[0].start == START.isoformat()


def test_a_version_and_a_time_are_chosen(counted):
    assert [row.version for row in found(counted, model="digits/2")] == ["2"]
    assert [row.version for row in found(counted, version="10")] == ["10"]
    assert sum(row.predictions for row in found(counted, until=START + timedelta(minutes=1))) == 60
    assert sum(row.predictions for row in found(counted, since=START + timedelta(hours=1))) == 12
    assert found(counted, since="10s") == []


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"model": "digits@champion"}, "an alias moves"),
        ({"model": "a b"}, "names no model"),
        ({"model": "digits/2", "version": "3"}, "are two versions"),
        ({"version": "three"}, "version 'three' is no number"),
        ({"since": "yesterday"}, "since 'yesterday' is no time"),
        ({"until": "12"}, "until '12' is no time"),
        ({"since": "1h", "until": "2h"}, "is not before until"),
        ({"by": "year"}, "there are minute, hour, day"),
    ],
)
def test_what_is_no_question_is_named(settings, more, says):
    with pytest.raises(ConfigError, match=says):
        ask(settings, **{"model": "digits", **more})


def test_what_was_never_counted_is_named_with_what_there_is(settings, counted):
    for model, says in (("digits/7", "version 1, 2, 10"), ("digit", "did you mean digits"), ("x", "boats, digits")):
        with pytest.raises(DataError, match=says):
            check_known(counted, ask(counted, model))


def test_before_anything_was_counted_the_next_step_is_said(settings):
    with pytest.raises(DataError, match=r"no prediction of digits was ever counted(.|\n)*ask it something"):
        check_known(settings, ask(settings, "digits"))
    assert table(settings, ask(settings, "digits")).num_rows == 0


@pytest.mark.parametrize(
    ("since", "until", "span"),
    [("2d", "", MINUTE), ("29d", "28d", MINUTE), ("29d", "", HOUR), ("31d", "30d", HOUR), ("401d", "400d", DAY)],
)
def test_all_of_a_time_is_read_of_the_finest_that_is_kept_so_long(tmp_path, since, until, span):
    asked = ask(Settings(home=tmp_path, project=tmp_path), "digits", since=since, until=until)
    assert asked.span == span
    assert asked.since % span == 0


def test_another_installations_model_is_named_as_everywhere(settings, tmp_path):
    write_segment(settings.prediction_log, [prediction(model="prod.digits")])
    now(settings)
    (row,) = found(settings, model="prod.digits")
    assert (row.model, row.predictions) == ("prod.digits", 1)


def test_the_command_counts_what_is_new_and_answers(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRLOOM_HOME", str(settings.home))
    monkeypatch.chdir(tmp_path)
    write_segment(settings.prediction_log, [prediction(prediction="a\nb", value=None, at=n) for n in range(3)])
    since = ["--since", START.isoformat()]
    run = CliRunner().invoke
    said = run(app, ["metrics", "digits", *since, "--by", "minute"])
    assert said.exit_code == 0
    assert f"{START:%Y-%m-%d %H:%M}        1  champion          -        -            3" in said.stdout
    assert "a\\nb 100.0%" in said.stdout
    rows = json.loads(run(app, ["metrics", "digits", *since, "--json"]).stdout)
    assert [(row["version"], row["predictions"], row["answers"]) for row in rows] == [("1", 3, {"a\nb": 3})]
    picture = tmp_path / "week.svg"
    assert run(app, ["metrics", "digits", *since, "--plot", str(picture)]).exit_code == 0
    assert picture.read_text().lstrip().startswith("<?xml")
    (nothing,) = [run(app, ["metrics", "digits", "--since", "10s"])]
    assert "nothing in that time" in nothing.stderr
    assert nothing.stdout.strip() == ""
    frame = airloom.metrics("digits", since=START)
    assert frame["predictions"].to_pylist() == [3]
    with pytest.raises(ConfigError, match=r"give one of \.png"):
        run(app, ["metrics", "digits", "--plot", "x.gif"], catch_exceptions=False)


def test_a_share_of_the_log_is_said(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRLOOM_HOME", str(settings.home))
    monkeypatch.setenv("AIRLOOM_PREDICTION_LOG_SHARE", "0.1")
    monkeypatch.chdir(tmp_path)
    write_segment(settings.prediction_log, [prediction()])
    said = CliRunner().invoke(app, ["metrics", "digits", "--since", START.isoformat()])
    assert "keeps 0.1 of all predictions" in said.stderr
