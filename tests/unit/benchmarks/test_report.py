"""The benchmarks' common end: what is missed must be seen, in the exit code as in the table."""

import importlib.util
import json
import math
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[3] / "benchmarks" / "_report.py"


@pytest.fixture
def module(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmarks_report", FILE)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    monkeypatch.setattr(found, "RESULTS", tmp_path)
    monkeypatch.setattr(found, "competing_load", lambda: {"load_1m": 0.5, "busy_percent": 3.0})
    return found


def finish(report, capsys):
    code = report.finish()
    *table, last = capsys.readouterr().out.splitlines()
    return code, "\n".join(table), json.loads(last)


def test_the_median_is_the_figure_and_the_result_is_kept_with_its_spread(module, tmp_path, capsys) -> None:
    report = module.Report("some", {"took_s": ("<=", 15), "speed": (">=", 2), "files": None})
    report.add("took_s", [14.0, 99.0, 12.34567])
    report.add("speed", [2])
    report.add("files", [7])
    report.note(sides="two")
    code, table, last = finish(report, capsys)
    assert code == 0
    assert set(last) == {"benchmark", "commit", "dirty", "machine", "figures"}
    assert last["figures"] == {"took_s": 14.0, "speed": 2.0, "files": 7.0}
    kept = json.loads((tmp_path / "some.json").read_text())
    assert kept["spread"]["took_s"] == [12.35, 99.0]
    assert kept["targets"] == {"took_s": "<= 15", "speed": ">= 2"}
    assert (kept["missed"], kept["sides"], kept["load"]["after"]["busy_percent"]) == ([], "two", 3.0)
    assert "MISSED" not in table


@pytest.mark.parametrize(
    "samples", [[16.0], [1.0, math.nan, 2.0], [1.0, math.inf], []], ids=["above", "nan", "inf", "none"]
)
def test_a_missed_or_absent_figure_fails_and_is_kept_as_missed(module, tmp_path, capsys, samples) -> None:
    report = module.Report("some", {"took_s": ("<=", 15)})
    report.add("took_s", samples)
    code, table, _ = finish(report, capsys)
    assert code == 1
    assert "MISSED" in table
    assert json.loads((tmp_path / "some.json").read_text())["missed"] == ["took_s"]


def test_a_figure_without_a_bound_must_be_there_all_the_same(module, capsys) -> None:
    assert finish(module.Report("some", {"files": None}), capsys)[0] == 1


def test_a_lower_bound_is_missed_from_below(module, capsys) -> None:
    report = module.Report("some", {"speed": (">=", 2)})
    report.add("speed", [1.99])
    assert finish(report, capsys)[0] == 1


def test_a_misspelt_figure_is_an_error_that_names_the_right_ones(module) -> None:
    with pytest.raises(KeyError, match="speed"):
        module.Report("some", {"speed": (">=", 2)}).add("sped", [3])
