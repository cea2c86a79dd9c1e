"""The model metrics on a started stack: counted by the stack itself, and told by the command."""

import time

import pytest

from airloom.monitoring.metric_query import ask, records, table

pytestmark = [pytest.mark.system, pytest.mark.timeout(300, func_only=True)]


def test_the_stack_has_counted_what_the_demo_asked(airloom) -> None:
    """Before anybody used the command, which counts too."""
    settings, rows, until = airloom.settings, [], time.monotonic() + 120
    while time.monotonic() < until:
        rows = records(table(settings, ask(settings, "digits")))
        if {row.version for row in rows if row.requests and row.predictions} >= {"1", "2"}:
            break
        time.sleep(0.5)
    assert sum(row.predictions for row in rows) >= airloom.demo["rounds"]["second"]["traffic"]["answered"]
    assert all(
        row.latency_ms["p50"] <= row.latency_ms["p95"] <= row.latency_ms["p99"] for row in rows if row.predictions
    )
    assert "7" in {answer for row in rows for answer in row.answers} <= set("0123456789")


def test_the_command_tells_it_by_minute(airloom, tmp_path) -> None:
    picture = tmp_path / "day.png"
    whole = airloom.json("metrics", "digits")
    minutes = airloom.json("metrics", "digits", "--by", "minute", "--plot", str(picture))
    assert len(minutes) >= len(whole)
    for version in ("1", "2"):
        sums = [sum(row["predictions"] for row in rows if row["version"] == version) for rows in (whole, minutes)]
        assert 0 < sums[0] <= sums[1]
    assert picture.read_bytes().startswith(b"\x89PNG")
    said = airloom.run("metrics", "digits/2").stdout.splitlines()
    assert said[0].split()[:2] == ["version", "role"]
    assert ["2", "champion"] in [line.split()[:2] for line in said[1:]]
