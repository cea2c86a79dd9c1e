"""The DAG that watches a champion: built from `monitor` of a pipeline file; what its tasks do with each decision."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, DagRunTriggerException

from airloom.monitoring.decisions import RecordedDecision
from airloom.quality import monitor
from airloom_operators import build_dags
from airloom_operators.factory import build_dag
from airloom_operators.monitor import MonitorOperator, RetrainOperator, monitor_id

PROJECT = Path(__file__).resolve().parents[2]
FILE = PROJECT / "configs" / "pipelines" / "digits.yaml"
SECTION = {"every": "6h", "window": 500, "retrain": {"on": ["metric", "drift"], "budget_per_week": 3}}
AT = datetime(2026, 11, 30, 12, tzinfo=UTC)


def write(folder: Path, name: str = "digits", **changes: object) -> Path:
    made = folder / f"{name}.yaml"
    made.write_text(yaml.safe_dump(yaml.safe_load(FILE.read_text()) | {"pipeline": name} | changes))
    return made


def decided(action: str, cause: str = "") -> RecordedDecision:
    return RecordedDecision(
        "d1", "digits", "2", "digits@v3", 0.0, 60.0, 60.0, "Ada", "schedule", action, "metric", "accuracy fell", cause,
        [], ["a note"], {},
    )  # fmt: skip


def test_a_pipeline_that_is_watched_has_a_dag_beside_it(tmp_path) -> None:
    write(tmp_path)
    write(tmp_path, "watched", monitor=SECTION)
    dags = build_dags(tmp_path)
    assert {"digits", "watched", "watched_monitor"} <= set(dags)
    assert "digits_monitor" not in dags
    dag = dags[monitor_id("watched")]
    assert [task.task_id for task in dag.topological_sort()] == ["look", "retrain"]
    assert dag.schedule == timedelta(hours=6)
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    assert dag.params.get_param("cause").value == ""
    assert "starts a run on metric, drift, at most 3 a week" in dag.doc_md
    assert {task.owner for task in dag.tasks} == {"airloom"}
    assert "- monitor: `watched_monitor` watches the champion" in dags["watched"].doc_md
    assert dags["watched"].get_task("resolve").cause == "{{ params.cause }}"


def test_a_task_of_it_builds_it_alone(tmp_path, monkeypatch) -> None:
    write(tmp_path, monitor=SECTION)
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "digits_monitor")
    assert list(build_dags(tmp_path)) == ["digits_monitor"]


def test_two_of_one_id_are_told(tmp_path) -> None:
    write(tmp_path, "a", monitor=SECTION)
    write(tmp_path, "a_monitor")
    dags = build_dags(tmp_path)
    assert dags["a_monitor"].get_task("resolve")
    (wrong,) = [dag for dag in dags.values() if "pipeline:wrong" in dag.tags]
    assert "are both of pipeline 'a_monitor'" in wrong.doc_md


def test_any_run_may_be_given_the_cause_that_it_has(tmp_path) -> None:
    param = build_dag(write(tmp_path)).params.get_param("cause")
    assert (param.value, param.schema["type"]) == ("", "string")


@pytest.fixture
def looked(tmp_path, monkeypatch):
    """Run the first task on a decision that was made; returns what it returned, and how it asked."""
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    file, asked, notes = write(tmp_path, monitor=SECTION), {}, []
    monkeypatch.setattr(MonitorOperator, "note", lambda _, __, text: notes.append(text))

    def look(decision, cause="", kind="scheduled"):
        monkeypatch.setattr(monitor, "look", lambda *given, **named: asked.update(named, given=given) or decision)
        operator = MonitorOperator(task_id="look", pipeline_file=str(file), cause=cause)
        run = SimpleNamespace(run_type=kind, run_after=AT, triggering_user_name="ada")
        return operator.execute({"dag_run": run, "ti": SimpleNamespace()}), asked, notes

    return look


def test_the_decision_is_returned_with_what_the_run_is_started_with(looked) -> None:
    value, asked, notes = looked(decided("retrain", "c1"))
    assert json.loads(json.dumps(value))["run"] == "monitor__c1"
    assert value["conf"] == {"cause": "monitor d1: accuracy fell", "dataset_version": 3}
    assert asked["given"][1:] == ("digits", asked["given"][2], "digits")
    assert (asked["by"], asked["because"], asked["until"]) == ("ada", "schedule", AT)
    assert not notes


@pytest.mark.parametrize(("kind", "cause", "because"), [("manual", "", "by hand"), ("manual", " Slow ", "Slow")])
def test_what_made_it_look_is_kept(looked, kind, cause, because) -> None:
    assert looked(decided("explain"), cause, kind)[1]["because"] == because


def test_a_person_is_asked_on_the_run_and_a_data_fault_fails_it(looked) -> None:
    value, _, notes = looked(decided("ask a person"))
    assert value["run"] == ""
    assert notes == ["A person is asked. digits/2: ask a person. accuracy fell"]
    with pytest.raises(AirflowFailException, match=r"digits/2: quarantine\. accuracy fell.*airloom drift digits"):
        looked(decided("quarantine"))


def start(decision, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    value = decision.to_dict() | {"run": decision.run, "conf": decision.conf}
    RetrainOperator(task_id="retrain", pipeline="digits", decision=value).execute({})


def test_a_run_that_was_decided_is_started_once_under_the_name_of_its_cause(monkeypatch, tmp_path) -> None:
    with pytest.raises(DagRunTriggerException) as caught:
        start(decided("retrain", "c1"), monkeypatch, tmp_path)
    asked = caught.value
    assert (asked.trigger_dag_id, asked.dag_run_id) == ("digits", "monitor__c1")
    assert (asked.logical_date, asked.reset_dag_run, asked.skip_when_already_exists) == (None, False, True)
    assert asked.conf == {"cause": "monitor d1: accuracy fell", "dataset_version": 3}


@pytest.mark.parametrize("action", ["ask a person", "explain", "nothing"])
def test_any_other_decision_starts_none(action, monkeypatch, tmp_path) -> None:
    with pytest.raises(AirflowSkipException, match=f"{action}: no run is started"):
        start(decided(action), monkeypatch, tmp_path)


def test_airflow_has_the_run_of_a_cause_once(tmp_path, monkeypatch, register) -> None:
    """The whole DAG, twice, as Airflow runs it: the first run of it starts one, the second one finds it there."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(monitor, "look", lambda *_, **__: decided("retrain", "c1"))
    dags = build_dags(write(tmp_path, monitor=SECTION).parent)
    register(dags["digits"], dags["digits_monitor"])
    states = []
    for _ in range(2):
        run = dags["digits_monitor"].test(run_conf={"cause": "Slow"}, use_executor=False)
        states.append({name: str(run.get_task_instance(name).state) for name in ("look", "retrain")})
    assert states == [{"look": "success", "retrain": "success"}, {"look": "success", "retrain": "skipped"}]
    with create_session() as session:
        (started,) = session.query(DagRun).filter(DagRun.dag_id == "digits").all()
        assert started.run_id == "monitor__c1"
        assert started.conf == {"cause": "monitor d1: accuracy fell", "dataset_version": 3}
