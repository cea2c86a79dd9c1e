"""Wrong answers in service, as late labels tell them: the monitor's DAG starts one run, which must be better.

After test_loop.py, as it adds a run; before test_mishaps.py, which ends the stack.
"""

import time
from collections.abc import Callable

import pytest

from airloom.demo.digits import load_digits
from airloom.demo.traffic import Traffic
from airloom.deployment import record
from airloom.monitoring import decisions, log_columns
from airloom.stack.airflow_api import AirflowApi
from airloom.tracking import runs
from airloom.tracking.tags import Tag

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(900, func_only=True)]
DAG, ROWS = "digits_monitor", 150  # so many that the newest window with labels has no other rows, where it is cut
SECTION = """
monitor:
  every: 1d
  window: 60
  labelled: 30
  retrain: {on: metric, cooldown: 1h, budget_per_week: 1}
"""
ENDED = {"success", "failed"}


def until(true: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.5)


@pytest.fixture
def watched(airloom):
    """The demo's first version serves, and its pipeline file has a monitor; afterwards all is as it was."""
    settings, file = airloom.settings, airloom.project / "configs" / "pipelines" / "digits.yaml"
    before, text = record.current(settings, "digits").champion, file.read_text()
    airloom.run("model", "promote", "digits/1")
    file.write_text(text + SECTION)
    try:
        with AirflowApi(settings) as api:
            until(lambda: any(dag["dag_id"] == DAG for dag in api._all("/api/v2/dags", "dags", "dag_id")))
            yield api
    finally:
        file.write_text(text)
        airloom.run("model", "promote", f"digits/{before}")


def state(api, dag, run):
    found = api.dag_run_or_none(dag, run)
    return found["state"] if found else ""


def test_wrong_answers_start_one_run_however_often_the_alarm_comes(airloom, watched, tmp_path) -> None:
    settings, api = airloom.settings, watched
    traffic, answers = Traffic(settings, "digits", load_digits().instances), {}
    until(lambda: traffic.ask().get("version") == "1")
    for number in range(ROWS):
        said = traffic.ask(number)
        answers[said["prediction_ids"][0]] = said["predictions"][0]
    until(lambda: log_columns.there(settings, answers) == set(answers))
    wrong = tmp_path / "wrong.csv"
    lines = [f"{identity},{(int(answer) + 1) % 10}" for identity, answer in answers.items()]
    wrong.write_text("\n".join(["id,label", *lines]))
    assert f"{ROWS} labels added" in airloom.run("labels", "add", str(wrong), "--source", "clinic").stdout

    alarms = [api.trigger(DAG, {"cause": "a test"}) for _ in range(2)]
    until(lambda: all(state(api, DAG, alarm) in ENDED for alarm in alarms))
    assert [state(api, DAG, alarm) for alarm in alarms] == ["success", "success"]
    found = decisions.of_model(settings.database_address, "digits")
    started = [one for one in found if one.run]
    assert len(started) == 1, [(one.action, one.says, one.notes) for one in found]
    (decision,) = started
    assert (decision.kind, decision.version, decision.because) == ("metric", "1", "a test")
    assert "retrain. accuracy 0.0000" in api.log(DAG, alarms[0], "look", 1)

    until(lambda: state(api, "digits", decision.run) in ENDED)
    starts = [run["dag_run_id"] for run in api.dag_runs("digits") if run["dag_run_id"].startswith("monitor__")]
    assert starts == [decision.run]
    context = api.xcom("digits", decision.run, "resolve")
    assert context["spec"]["gate"]["against_champion"]["superior"] is True
    assert "non_inferior_by" not in context["spec"]["gate"]["against_champion"]
    tags = runs.client(settings).get_run(context["mlflow_run"]).data.tags
    assert tags[Tag.CAUSE].startswith(f"monitor {decision.id}: accuracy 0.0000")
    shown = airloom.run("monitor", "digits").stdout
    assert f"run {decision.run} on {decision.dataset}: {tags[Tag.OUTCOME]}" in shown
