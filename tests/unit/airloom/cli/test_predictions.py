"""`airloom predictions`: lines for people, JSON for programs, and what it says where there is nothing to show."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from airloom.cli.main import app
from airloom.errors import AirloomError
from airloom.monitoring import prediction_id
from airloom.settings import load
from airloom_serving.logged_rows import Answered
from airloom_serving.prediction_log import write


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def answered(version: str, *values: object, role: str = "champion") -> Answered:
    ids = prediction_id.several("digits", version, len(values))
    return Answered("digits", version, ids, values, 1.25, len(values), role)


def ask(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["predictions", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_it_shows_filters_and_finds(home: Path) -> None:
    first, second = answered("1", "cat", "dog"), answered("2", "cat", "a\x1b[31mb\n", role="canary")
    write(load().prediction_log, [first])
    write(load().prediction_log, [second])
    lines = ask().splitlines()
    assert len(lines) == 4
    assert "digits/1 champion  cat  1.2 ms  " in ask("digits/1", "--answer", "cat")
    assert "  a\\x1b[31mb\\n  " in ask("--role", "canary")
    assert len(ask("--role", "canary", "-n", "1").splitlines()) == 1
    rows = json.loads(ask("digits", "--json", "--since", "1h"))
    assert sorted(row["prediction"] for row in rows) == ["a\x1b[31mb\n", "cat", "cat", "dog"]
    assert {row["role"] for row in rows} == {"champion", "canary"}
    (row,) = ask("--id", second.ids[0]).splitlines()
    assert row.startswith(f"{prediction_id.given_at(second.ids[0]):%Y-%m-%d %H:%M:%S}")
    assert json.loads(ask("--id", second.ids[0], "--json"))["version"] == "2"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "there is no prediction log in .*predictions.*\n.*airloom up"),
        (["--id", "7"], "'7' is no id of a prediction"),
        (["--id", "00000000-0000-4000-8000-000000000000"], "it tells no time"),
        (["digits", "--id", "01a20b76-0146-7000-8000-000000000000"], "--id names one prediction"),
        (["--id", "01a20b76-0146-7000-8000-000000000000"], "the prediction log has no 01a20b76"),
        (["--last", "-1"], "--last -1"),
    ],
)
def test_what_cannot_be_shown_is_said(home: Path, arguments: list[str], says: str) -> None:
    with pytest.raises(AirloomError, match=says):
        CliRunner().invoke(app, ["predictions", *arguments], catch_exceptions=False)


def test_those_that_come_are_told_until_ctrl_c(home: Path) -> None:
    write(load().prediction_log, [answered("1", "before")])
    command = [sys.executable, "-m", "airloom", "predictions", "digits", "--follow", "--json", "--last", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [json.loads(process.stdout.readline())["prediction"]]
        write(load().prediction_log, [answered("1", "after")])
        told.append(json.loads(process.stdout.readline())["prediction"])
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert told == ["before", "after"]
