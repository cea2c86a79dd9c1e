"""`DeployOperator` with stages: the task is deferred while the server judges a version on live requests.

After test_loop.py, as it adds runs; before test_mishaps.py, which ends the stack.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from airloom.demo.digits import load_digits
from airloom.demo.traffic import Traffic
from airloom.deployment import record, rollouts
from airloom.stack.airflow_api import AirflowApi
from airloom.tracking import runs
from airloom.tracking.tags import Tag

pytestmark = [pytest.mark.system, pytest.mark.timeout(600, func_only=True)]
DAG = "staged_by_hand"
STEPS = "steps: [{shadow: 100%, requests: 30, within: 4m}, {canary: 50%, requests: 60, within: 4m}, champion]"
LIMITS = "roll_back_when: {error_rate: 10%, slow: 60%, very_slow: 60%, disagreement: LIMIT}"
TEXT = """
from airflow.sdk import Param, dag

from airloom_operators.deploy import DeployOperator
from airloom_operators.resolve import ResolveOperator


@dag(schedule=None, params={"file": Param("good"), "version": Param("1")})
def staged_by_hand():
    context = ResolveOperator(task_id="resolve", pipeline_file="staged/{{ params.file }}.yaml").output
    registered = {"model": "digits", "version": "{{ params.version }}", "mlflow_run": ""}
    DeployOperator(task_id="deploy", context=context, registered=registered)


staged_by_hand()
"""


def until(true: Callable[[], object], seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def api(airloom):
    folder: Path = airloom.project / "staged"  # beside the pipelines that have DAGs of their own
    folder.mkdir()
    digits = (airloom.project / "configs" / "pipelines" / "digits.yaml").read_text()
    for name, limit in (("good", "90%"), ("strict", "0.0001%")):
        stages = f"deploy:\n  {STEPS}\n  {LIMITS.replace('LIMIT', limit)}\n"
        text = digits[: digits.index("deploy:")].replace("pipeline: digits", f"pipeline: staged_{name}") + stages
        (folder / f"{name}.yaml").write_text(text)
    (airloom.project / "dags" / f"{DAG}.py").write_text(TEXT)
    with AirflowApi(airloom.settings) as api:
        until(lambda: any(dag["dag_id"] == DAG for dag in api._all("/api/v2/dags", "dags", "dag_id")))
        yield api


def state(api, run, task):
    return next((t["state"] for t in api.tasks(DAG, run) if t["task_id"] == task), None)


def deployed(airloom, api, traffic, file, version):
    """A run of the DAG under traffic; the state in which its deploy task ended."""
    run = api.trigger(DAG, {"file": file, "version": version})
    until(lambda: state(api, run, "deploy") in {"deferred", "success", "failed", "skipped", "upstream_failed"})
    assert state(api, run, "deploy") == "deferred", api.log(DAG, run, "deploy", 1)
    stands = rollouts.standing(airloom.settings, "digits")
    assert stands.deployment["rollout"]["version"] == version
    number = 0

    def asks() -> bool:
        nonlocal number
        for _ in range(20):
            traffic.ask(number := number + 1)
        return state(api, run, "deploy") in {"success", "failed", "skipped"}

    until(asks)
    mlflow_run = api.xcom(DAG, run, "resolve")["mlflow_run"]
    outcome = runs.client(airloom.settings).get_run(mlflow_run).data.tags.get(Tag.OUTCOME)
    return state(api, run, "deploy"), outcome, run


def test_a_version_comes_to_serve_by_its_stages_and_one_that_answers_otherwise_does_not(airloom, api) -> None:
    settings = airloom.settings
    first = record.current(settings, "digits")
    other = first.previous
    traffic = Traffic(settings, "digits", load_digits().instances)
    assert deployed(airloom, api, traffic, "good", other)[:2] == ("success", "deployed")
    now = record.current(settings, "digits")
    assert (now.champion, now.previous) == (other, first.champion)
    assert set(traffic.versions) == {first.champion, other}
    # Back, and this time no answer may differ.
    ended, outcome, run = deployed(airloom, api, traffic, "strict", first.champion)
    assert (ended, outcome) == ("skipped", "rolled back")
    assert "does not serve: rolled back: other answers: " in api.log(DAG, run, "deploy", 1)
    assert record.current(settings, "digits").champion == other
    assert not traffic.failures
    done = airloom.run("deploy", "show", "digits")
    assert f"version {other} is the champion" in done.stdout
    airloom.run("model", "promote", f"digits/{first.champion}")  # as the others expect it
    until(lambda: traffic.ask()["version"] == first.champion)
