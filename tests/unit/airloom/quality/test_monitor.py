"""A look at a champion with a real registry, log, labels and dataset: what is found, decided and kept."""

import json
import re
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from airloom.cli.main import app
from airloom.datasets.commit import commit
from airloom.datasets.ingest.images import image_table
from airloom.errors import ConfigError, RegistryError
from airloom.monitoring import decisions
from airloom.quality import late_labels
from airloom.quality.monitor import look, named, outcome_of
from airloom.spec.monitor import MonitorSection
from airloom.tracking import runs
from airloom.tracking.tags import Tag

MINUTE = 60_000
NOW = int(time.time() * 1000) // MINUTE * MINUTE
SECTION = MonitorSection(window=200, labelled=100, retrain={"on": ["metric"], "cooldown": "1h", "budget_per_week": 1})


@pytest.fixture
def champion(small):
    """Version 1 of `small`, right on all test rows, serves."""
    made = small.register("one")
    runs.client(small.settings).set_registered_model_alias("small", "champion", made.version)
    return small


@pytest.fixture
def served(champion, write_log):
    """200 answers an hour ago, so many of the hundred that were labelled wrong."""

    def serve(wrong, labelled=100, ago=60):
        at = [NOW - ago * MINUTE + place for place in range(200)]
        ids = write_log(champion.settings, "small", "1", at, prediction=["7"] * 200, value=[7.0] * 200)
        ids = sorted(ids)
        labels = {identity: "1" if place < wrong else "7" for place, identity in enumerate(ids[:labelled])}
        late_labels.add(champion.settings, labels, source="clinic")
        return ids

    return serve


@pytest.fixture
def newer(champion):
    """Commit rows after those that the champion learned from."""

    def write():
        for seed in (5, 6):  # the version of the champion, and one after it
            generator = np.random.default_rng(seed)
            images = generator.uniform(0, 0.5, (30, 1, 8, 8)).astype(np.float32)
            table = image_table(images, generator.integers(0, 10, 30))
            version = commit(
                champion.settings, "digits", table, message="more", author="Ada", suite=suite(champion.settings)
            )
        return version

    return write


def suite(settings):
    path = settings.home / "suite.json"
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    path.write_text(json.dumps({"name": "digits", "expectations": [rule]}))
    return path


def seen(world, section=SECTION, minutes=0, **more):
    until = datetime.fromtimestamp(NOW / 1000 - minutes * 60, UTC)
    return look(world.settings, "small", section, "digits", by="Ada", until=until, **more)


def test_a_metric_that_surely_fell_starts_a_run_once(champion, served, newer):
    served(wrong=60)
    asked = seen(champion, minutes=3)
    assert asked.action == "ask a person"
    assert "no rows newer than those it learned from" in asked.says
    made = newer()
    found = seen(champion, minutes=2)
    assert (found.action, found.kind, found.dataset, found.because) == ("retrain", "metric", made.name, "by hand")
    assert re.match(r"accuracy 0\.4000 \(0\.30\d+ to 0\.49\d+\) of 100 labelled rows since ", found.says)
    assert "on the test rows 1.0000" in found.says
    assert found.run
    assert seen(champion, minutes=2) == found
    held = seen(champion, minutes=1)
    assert (held.action, held.run) == ("explain", "")
    assert [one.run for one in decisions.of_model(champion.settings.database_address, "small")] == ["", found.run, ""]
    assert outcome_of(champion.settings, found) == ""
    parent = champion.ctx(found.run)
    assert outcome_of(champion.settings, found) == "running"
    runs.client(champion.settings).set_tag(parent.mlflow_run, Tag.OUTCOME, "refused")
    assert outcome_of(champion.settings, found) == "refused"


def test_weak_evidence_and_no_leave_to_start_ask_a_person(champion, served, newer):
    served(wrong=4)
    newer()
    weak = seen(champion)
    assert (weak.action, weak.kind) == ("ask a person", "metric")
    assert "may be chance" in weak.says
    served(wrong=60, ago=30)
    assert "lets no metric start a run" in seen(champion, SECTION.model_copy(update={"retrain": None}), 1).says


@pytest.mark.parametrize(("labelled", "note"), [(0, "of 0 labelled rows no window has 100"), (99, "of 99 labelled")])
def test_too_few_labels_say_nothing(champion, served, labelled, note):
    served(wrong=labelled, labelled=labelled)
    found = seen(champion)
    assert found.action == "nothing"
    assert any(note in one for one in found.notes)
    assert any("drift are not looked at" in one for one in found.notes)  # a version of a test has no reference


def test_without_a_prediction_there_is_nothing(champion):
    assert seen(champion).action == "nothing"


def test_one_row_in_a_window_says_nothing(champion, write_log):
    (one,) = write_log(champion.settings, "small", "1", [NOW - MINUTE], prediction=["7"], value=[7.0])
    late_labels.add(champion.settings, {one: "1"}, source="clinic")
    assert seen(champion).action == "nothing"


def test_labels_that_come_late_are_found_in_their_old_window(champion, served, newer):
    served(wrong=60, ago=5 * 24 * 60)
    newer()
    assert seen(champion).action == "retrain"
    assert seen(champion, SECTION.model_copy(update={"look_back": 86_400.0}), 1).action == "nothing"


ESTIMATE = {
    "metric": "accuracy",
    "value": 0.5,
    "low": 0.4,
    "high": 0.6,
    "rows": 500,
    "baseline": 0.9,
    "why": "no labels",
}


def test_an_estimate_asks_a_person_and_one_that_was_wrong_asks_nobody(champion):
    asked = seen(champion, estimate=SimpleNamespace(**ESTIMATE, trusted=True))
    assert (asked.action, asked.kind) == ("ask a person", "estimate")
    wrong = seen(champion, minutes=1, estimate=SimpleNamespace(**ESTIMATE, trusted=False))
    assert wrong.action == "nothing"
    assert any("it is not trusted: no labels" in note for note in wrong.notes)
    fine = SimpleNamespace(**ESTIMATE | {"value": 0.91, "high": 0.95}, trusted=True)
    assert seen(champion, minutes=2, estimate=fine).action == "nothing"


def test_an_alert_alone_explains(champion):
    found = seen(champion, because="HighErrorRate")
    assert (found.action, found.because) == ("explain", "HighErrorRate")


def test_a_thousand_alerts_within_an_hour_start_one_run(champion, served, newer):
    """Sixty of them are looked at: one a minute; the others get the decision that is there."""
    served(wrong=60)
    newer()
    found = [seen(champion, minutes=30 - alert // 33, because=f"alert {alert}") for alert in range(99)]
    assert len({one.run for one in found if one.run}) == 1
    assert len(decisions.of_model(champion.settings.database_address, "small")) == 3


def test_what_cannot_be_looked_at_is_refused(small, champion):
    with pytest.raises(ConfigError, match="is in the future"):
        seen(champion, minutes=-10_000)
    with pytest.raises(RegistryError, match="there is no registered model nobody"):
        look(small.settings, "nobody", SECTION, "digits", by="Ada")
    with pytest.raises(RegistryError, match="'small/1' names no model"):
        named(small.settings, "small/1")
    runs.client(small.settings).delete_registered_model_alias("small", "champion")
    with pytest.raises(RegistryError, match="has no alias 'champion'"):
        seen(champion)


def test_the_command_tells_what_was_decided_newest_first(champion, served, newer, monkeypatch):
    monkeypatch.setenv("AIRLOOM_HOME", str(champion.settings.home))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(champion.settings.project))
    nothing = CliRunner().invoke(app, ["monitor", "small"])
    assert "nothing was decided about small: `airloom monitor run small` looks now" in nothing.output
    served(wrong=60)
    newer()
    found = seen(champion, minutes=1)
    seen(champion)
    text = CliRunner().invoke(app, ["monitor", "small"]).output
    assert text.index("EXPLAIN: ") < text.index("RETRAIN: accuracy 0.4000")
    assert f"  run {found.run} on {found.dataset}: not there" in text
    told = json.loads(CliRunner().invoke(app, ["monitor", "show", "small", "--json", "--since", "1h"]).stdout)
    assert [(one["action"], one["run"], one["outcome"]) for one in told] == [
        ("explain", "", ""),
        ("retrain", found.run, ""),
    ]
