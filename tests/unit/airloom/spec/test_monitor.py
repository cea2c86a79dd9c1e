"""The key `monitor` of a pipeline file, and what becomes of the gate of a run that an alarm started."""

from pathlib import Path

import pytest

from airloom.errors import ConfigError
from airloom.spec import yaml_text
from airloom.spec.load import checked, digest, full, load_pipeline, read_values
from airloom.spec.monitor import MonitorSection, of_alarm

GOOD = Path(__file__).resolve().parents[4] / "configs" / "pipelines" / "digits.yaml"


def monitored(**section: object) -> dict:
    return read_values(GOOD) | {"monitor": section}


def test_the_defaults_watch_and_start_nothing() -> None:
    assert checked(read_values(GOOD)).monitor is None
    section = checked(monitored()).monitor
    assert section == MonitorSection()
    assert (section.every, section.window, section.labelled, section.retrain) == (86_400, "1d", 100, None)
    retrain = checked(monitored(retrain={})).monitor.retrain
    assert (retrain.on, retrain.cooldown, retrain.budget_per_week) == (["metric"], 86_400, 2)


def test_a_file_without_it_means_what_it_meant() -> None:
    assert "monitor" not in full(load_pipeline(GOOD))
    watched = checked(monitored(window=500, retrain={"on": "drift"}))
    assert digest(checked(full(watched))) == digest(watched) != digest(load_pipeline(GOOD))


def test_the_key_on_is_a_word_in_the_file(tmp_path) -> None:
    """YAML 1.1 reads it as true."""
    assert yaml_text.read("on: [metric]\noff: yes\n1: true") == {"on": ["metric"], "off": True, 1: True}
    file = tmp_path / "digits.yaml"
    file.write_text(GOOD.read_text() + "monitor:\n  window: 1000\n  retrain: {on: drift, budget_per_week: 1}\n")
    section = load_pipeline(file).monitor
    assert (section.window, section.retrain.on) == ("1000", ["drift"])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (monitored(widow="1d"), "monitor.widow: unknown key; did you mean 'window'?"),
        (monitored(window="soon"), "monitor.window: give a time or a number of rows"),
        (monitored(window="0h"), "monitor.window: give a time or a number of rows"),
        (monitored(window=0), "monitor.window: give 1 to 10,000,000 rows"),
        (monitored(window=True), "monitor.window: give a time or a number of rows"),
        (monitored(window="60d"), "window: 60d is longer than look_back"),
        (monitored(window=50), "labelled: no window of 50 rows has 100 with a label"),
        (monitored(every="5s"), "monitor.every: "),
        (monitored(margin=0), "monitor.margin: "),
        (monitored(retrain={"on": "alert"}), "monitor.retrain.on.0: Input should be 'metric' or 'drift'"),
        (monitored(retrain={"on": []}), "monitor.retrain.on: "),
        (monitored(retrain={"budget_per_week": 0}), "monitor.retrain.budget_per_week: "),
        (monitored(retrain={"cooldown": "-1h"}), "monitor.retrain.cooldown: "),
        (read_values(GOOD) | {"monitor": None}, "monitor: the key stands there without a value"),
        (
            {k: v for k, v in monitored(retrain={}).items() if k not in ("gate", "deploy")},
            "monitor.retrain starts runs whose model has to be better than the champion, and nobody judges it",
        ),
    ],
)
def test_what_is_wrong_is_named(values, says) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(values)
    assert says in caught.value.message


def test_a_run_of_an_alarm_must_be_better_whatever_the_files_margin() -> None:
    values = read_values(GOOD)
    rule = checked(of_alarm(values)).policy
    assert (rule.against_champion.superior, rule.against_champion.margin) == (True, 0.0)
    assert rule.first_model == "refuse"
    assert (rule.at_least, rule.at_most) == (checked(values).policy.at_least, checked(values).policy.at_most)
    assert values == read_values(GOOD)
    assert of_alarm(of_alarm(values)) == of_alarm(values)
    with pytest.raises(ConfigError, match="an alarm starts no run of a pipeline without a gate"):
        of_alarm({name: value for name, value in values.items() if name != "gate"})
