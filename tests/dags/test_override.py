"""The task that asks a person about a refused candidate."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from airflow.sdk.exceptions import AirflowException

from airloom.contracts import Decision, RunContext, Snapshot

PROJECT = Path(__file__).resolve().parents[2]
REFUSED = Decision(False, ["REFUSED: accuracy 0.1, at least 0.85"], "gate/evidence.json", None).to_dict()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's pipeline, whose policy asks, in a home of its own."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    values = yaml.safe_load((PROJECT / "configs" / "pipelines" / "digits.yaml").read_text())
    values["gate"] |= {"override": "ask", "override_within": "2h"}
    made = tmp_path / "digits.yaml"
    made.write_text(yaml.safe_dump(values))
    return made


def task(file: Path, run: str = "0" * 32, experiment: str = "1"):
    from airloom_operators.gate import OverrideOperator

    snapshot = Snapshot("s", "digits", 1, "v", "c", {}, {})
    context = RunContext(
        "digits", yaml.safe_load(file.read_text()), "digits/manual", run, experiment, snapshot
    ).to_dict()
    return OverrideOperator(task_id="override", context=context, decision=REFUSED, within=7200)


def answer(*options: str, reason: str = "") -> dict:
    return {
        "chosen_options": list(options),
        "params_input": {"reason": reason},
        "responded_at": datetime(2026, 1, 2, tzinfo=UTC),
        "responded_by_user": {"id": "7", "name": "Ada"},
    }


def test_a_policy_that_asks_puts_a_person_between_gate_and_registry(file: Path) -> None:
    from airloom_operators.factory import build_dag

    dag = build_dag(file)
    assert [task.task_id for task in dag.topological_sort()][-4:] == ["gate", "override", "register", "deploy"]
    asked = dag.get_task("override")
    assert asked.response_timeout.total_seconds() == 7200
    assert asked.defaults == ["Reject"]  # nobody's answer is a no


def test_a_passed_candidate_goes_through_without_being_asked_about(file: Path) -> None:
    one = task(file)
    one.decision = {**REFUSED, "passed": True}
    assert one.execute({}) == one.decision


def test_a_rejection_leaves_the_refusal(file: Path) -> None:
    assert task(file).execute_complete({}, answer("Reject", reason="no")) == REFUSED


def test_an_approval_without_a_reason_is_none(file: Path) -> None:
    for reason in ("", "  "):
        with pytest.raises(AirflowException, match="a name and a reason"):
            task(file).execute_complete({}, answer("Approve", reason=reason))


def test_an_approval_is_recorded_with_name_and_reason(file: Path, tmp_path: Path) -> None:
    from airloom.settings import load
    from airloom.tracking import runs

    settings = load()
    experiment, run = runs.ensure_parent(settings, "digits", "digits/manual", {})
    decided = Decision.from_dict(
        task(file, run, experiment).execute_complete({}, answer("Approve", reason="a leak in the champion"))
    )
    assert (decided.passed, decided.promotes) == (False, True)
    kept = runs.client(settings).download_artifacts(run, "gate/override.json", str(tmp_path))
    assert json.loads(Path(kept).read_text())["by"] == "Ada"


def test_the_gate_links_to_its_evidence() -> None:
    from airloom_operators.links import EvidenceLink

    class Ended:
        mlflow_link = "http://127.0.0.1:5000/#/experiments/1/runs/2"

    assert EvidenceLink().get_link(Ended(), ti_key=None).endswith("/runs/2/artifacts/gate/evidence.html")
    assert EvidenceLink().get_link(object(), ti_key=None) == ""


def test_a_refusal_without_an_airflow_to_note_it_in_stands_in_the_log_and_is_no_failure(file: Path, capsys) -> None:
    from airloom_operators.gate import GateOperator

    gate = GateOperator(task_id="gate", context={})
    assert gate.finished({}, REFUSED) == REFUSED
    said = capsys.readouterr().out
    assert "accuracy 0.1, at least 0.85" in said
    assert "the run got no note: no stack was started here" in said
    passed = REFUSED | {"passed": True}
    assert gate.finished({}, passed) == passed
    assert not capsys.readouterr().out
