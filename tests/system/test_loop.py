"""The whole loop on a started stack: what the demo promises, and what an outsider tries."""

import hashlib
import json
import stat
import subprocess
import sys
import time
import uuid
from pathlib import Path

import httpx
import psutil
import pytest

from airloom.demo import rounds
from airloom.demo.traffic import Traffic
from airloom.demo.view import Lines
from airloom.stack import control
from airloom.stack.airflow_api import AirflowApi
from airloom.tracking import runs as mlflow_runs

pytestmark = [pytest.mark.system, pytest.mark.timeout(900, func_only=True)]


def served(airloom) -> dict:
    settings = airloom.settings
    headers = {"Authorization": f"Bearer {settings.model_token}"}
    return httpx.get(f"{settings.model_server}/status", headers=headers).json()


def test_the_second_version_was_promoted_under_traffic_on_evidence(airloom) -> None:
    second = airloom.demo["rounds"]["second"]
    assert second["passed"]
    assert second["accuracy"] > second["champion_accuracy"]
    assert second["traffic"]["failed"] == 0
    assert second["traffic"]["answered"] >= 500
    assert set(second["traffic"]["by_version"]) == {"1", "2"}


def test_permuted_labels_were_refused_and_the_champion_stayed(airloom) -> None:
    refused = airloom.demo["rounds"]["permuted labels"]
    assert not refused["passed"]
    assert refused["model_version"] is None
    assert airloom.demo["served"] == "2"
    with AirflowApi(airloom.settings) as api:
        note = api.dag_run_or_none("digits", refused["run"])["note"]
        promoted = api.dag_run_or_none("digits", airloom.demo["rounds"]["second"]["run"])
        assert promoted["note"] == "digits@v2: version 2 is the champion"
        assert "the gate refused the candidate" in api.log("digits", refused["run"], "gate", 1)
    assert note.startswith("The gate refused the candidate:\n- ")
    assert "accuracy" in note


def test_the_summary_says_live_accuracy_and_drift_of_what_serves(airloom) -> None:
    health = airloom.demo["health"]
    assert health["version"] == airloom.demo["served"] and health["labelled"] >= 200
    assert health["accuracy"] > 0.9 and health["interval"][0] <= health["accuracy"] <= health["interval"][1]
    assert health["drift"].startswith(("no drift", "DRIFT", "nothing to say"))


def test_a_spoiled_batch_left_a_report_and_no_version(airloom) -> None:
    assert "expect" in Path(airloom.demo["spoiled_batch_report"]).read_text()
    names = [version["name"] for version in airloom.json("dataset", "log", "digits")]
    assert names == ["digits@v2", "digits@v1"]


def test_every_study_has_exactly_its_trials_in_plain_optuna_and_mlflow(airloom) -> None:
    import optuna

    client = mlflow_runs.client(airloom.settings)
    url = f"sqlite:///{airloom.home / 'optuna.db'}"
    for found in airloom.demo["rounds"].values():
        study = optuna.load_study(study_name=f"digits/{found['run']}", storage=url)
        states = [trial.state.name for trial in study.trials]
        assert states.count("COMPLETE") + states.count("PRUNED") == 6
        assert "RUNNING" not in states
        parent = client.get_run(found["mlflow_run"])
        assert parent.info.status == "FINISHED"
        children = client.search_runs([parent.info.experiment_id], f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
        kinds = [child.data.tags["airloom.kind"] for child in children]
        assert (kinds.count("trial"), kinds.count("train")) == (6, 1)
        assert {child.info.status for child in children} == {"FINISHED"}


def test_runs_were_started_by_the_dataset_and_link_to_mlflow(airloom) -> None:
    with AirflowApi(airloom.settings) as api:
        kinds = {run["dag_run_id"]: run["run_type"] for run in api.dag_runs("digits")}
        assert api.import_errors() == []
        run = airloom.demo["rounds"]["first"]["run"]
        links = api._request("GET", f"/api/v2/dags/digits/dagRuns/{run}/taskInstances/train/links")
    assert kinds[run] == "asset_triggered"
    assert kinds[airloom.demo["rounds"]["second"]["run"]] == "asset_triggered"
    assert airloom.demo["rounds"]["first"]["mlflow_run"] in links["extra_links"]["MLflow run"]


def test_the_gate_links_to_a_page_with_pictures_and_the_version_carries_its_digest(airloom, tmp_path) -> None:
    second, client = airloom.demo["rounds"]["second"], mlflow_runs.client(airloom.settings)
    with AirflowApi(airloom.settings) as api:
        links = api._request("GET", f"/api/v2/dags/digits/dagRuns/{second['run']}/taskInstances/gate/links")
    assert links["extra_links"]["Gate evidence"].endswith(f"{second['mlflow_run']}/artifacts/gate/evidence.html")
    page = Path(client.download_artifacts(second["mlflow_run"], "gate/evidence.html", str(tmp_path))).read_text()
    assert page.count("data:image/png;base64") == 3
    evidence = Path(client.download_artifacts(second["mlflow_run"], "gate/evidence.json", str(tmp_path))).read_bytes()
    shown = airloom.json("model", "show", "digits/2")
    assert shown["evidence.sha256"] == hashlib.sha256(evidence).hexdigest()
    assert len(shown["packages"]) > 100
    assert shown["signature"]["inputs"]


def test_a_prediction_is_traced_to_its_commits(airloom) -> None:
    chain = airloom.json("trace", airloom.demo["trace"])
    assert (chain["model"]["name"], chain["model"]["version"]) == ("digits", "1")
    assert chain["model"]["predictions"] > 0
    assert chain["logged"]["id"] == airloom.demo["trace"]
    assert chain["dataset"]["version"] == "digits@v1"
    assert chain["parameters"]["epochs"] == "12"
    assert len(chain["code"]["code.sha256"]) == 64
    command = ["git", "-C", str(airloom.settings.data_repo), "cat-file", "-t", chain["commits"][0]["commit"]]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "commit"
    assert "digits@v1" in airloom.run("trace", airloom.demo["trace"]).stdout


def test_what_was_answered_is_told_by_model_answer_and_id(airloom) -> None:
    row = airloom.json("predictions", "--id", airloom.demo["trace"])
    assert (row["model"], row["version"], row["role"], row["inputs_by"]) == ("digits", "1", "champion", "drop")
    assert 0 < row["score"] <= 1
    assert row["top"][0]["class"] == row["prediction"]
    rows = airloom.json("predictions", "digits/1", "--answer", row["prediction"], "--last", "5")
    assert {(other["version"], other["prediction"]) for other in rows} == {("1", row["prediction"])}
    assert [other["time"] for other in rows] == sorted(other["time"] for other in rows)


def test_a_foreign_prediction_id_is_an_error_without_a_traceback(airloom) -> None:
    for text in (str(uuid.uuid4()), "nonsense", "../../etc/passwd"):
        done = airloom.run("trace", text)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "prediction" in done.stderr


def test_nothing_listens_beyond_loopback_and_secrets_are_private(airloom) -> None:
    pids = {process.pid for process in control.strays(airloom.settings)}
    sockets = [c for c in psutil.net_connections("inet") if c.pid in pids and c.status == psutil.CONN_LISTEN]
    assert len(sockets) >= 3
    assert {socket.laddr.ip for socket in sockets} == {"127.0.0.1"}
    for name in (
        "stack.json",
        "airflow/passwords.json",
        "airflow/airflow.db",
        "mlflow/mlflow.db",
        "run/supervisord.conf",
    ):
        assert not stat.S_IMODE((airloom.home / name).stat().st_mode) & 0o077, name


def test_the_server_wants_its_token(airloom) -> None:
    url = airloom.settings.model_server
    assert httpx.get(f"{url}/status").status_code == 401
    assert httpx.post(f"{url}/predict", headers={"Authorization": "Bearer wrong"}, content=b"{}").status_code == 401
    assert httpx.get(f"{url}/readyz").status_code == 200


def test_an_application_asks_with_the_client_of_the_docs(airloom) -> None:
    settings, client = airloom.settings, Path(__file__).resolve().parents[2] / "docs" / "how-to" / "client.py"
    access = {"AIRLOOM_SERVER_URL": settings.model_server, "AIRLOOM_SERVER_TOKEN": settings.model_token}

    def ask(instances: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, str(client), "digits", json.dumps(instances)]
        return subprocess.run(command, env=access, capture_output=True, text=True, check=False)

    answer = json.loads(ask([[[[0.5] * 8] * 8]]).stdout)
    assert len(answer["predictions"]) == len(answer["top"]) == len(answer["prediction_ids"]) == 1
    refused = ask([[1, 2, 3]])
    assert refused.returncode
    assert (
        "RuntimeError: digits takes instances of shape (n, 1, 8, 8) of numbers; instance 0 has shape (3,)"
        in refused.stderr
    )


def test_a_second_up_says_that_it_runs(airloom) -> None:
    done = airloom.run("up")
    assert done.returncode == 0
    assert "runs already" in done.stderr


def test_status_and_doctor_find_everything_well(airloom) -> None:
    found = airloom.json("status")
    assert found["healthy"]
    assert found["served"]["digits"]["version"] == "2"
    assert len({process["pid"] for process in found["processes"]} - {None}) == 7
    assert all(finding["ok"] for finding in json.loads(airloom.run("doctor", "--json").stdout))


def test_mlflow_answers_nobody_without_its_login(airloom) -> None:
    said = airloom.outsider("trust_registry.py", "stranger").stdout.splitlines()
    assert {"without: {401}", "health: 200", "plain command: True 1", "with airloom env: True"} <= set(said)


def test_an_alias_moved_by_plain_mlflow_is_followed_in_the_same_process(airloom) -> None:
    client, pid = mlflow_runs.client(airloom.settings), served(airloom)["pid"]
    for version in ("1", "2"):
        client.set_registered_model_alias("digits", "champion", version)
        end = time.monotonic() + 60
        while served(airloom)["models"]["digits"]["version"] != version and time.monotonic() < end:
            time.sleep(0.1)
        assert airloom.json("status")["served"]["digits"]["version"] == version
    assert served(airloom)["pid"] == pid


def test_the_server_answers_while_mlflow_is_dead_and_mlflow_comes_back(airloom) -> None:
    from airloom.demo.digits import load_digits

    states = {state.name: state for state in control.states(airloom.settings)}
    for process in [
        *psutil.Process(states["mlflow"].pid).children(recursive=True),
        psutil.Process(states["mlflow"].pid),
    ]:
        process.kill()
    traffic = Traffic(airloom.settings, "digits", load_digits().instances)
    for number in range(50):
        traffic.ask(number)
    assert traffic.failures == []
    control.wait_healthy(airloom.settings, print, 200)


def test_clearing_evaluate_runs_it_and_what_follows_in_the_same_mlflow_run(airloom) -> None:
    second = airloom.demo["rounds"]["second"]
    with AirflowApi(airloom.settings) as api:
        before = {task["task_id"]: task for task in api.tasks("digits", second["run"])}
        api.clear("digits", second["run"], "evaluate")
        time.sleep(2)
        tasks = rounds.wait(api, "digits", second["run"], "cleared", Lines())
        assert tasks["train"]["try_number"] == before["train"]["try_number"]
        assert tasks["evaluate"]["try_number"] == before["evaluate"]["try_number"] + 1
        assert api.xcom("digits", second["run"], "evaluate")["champion_version"] == "2"
    client = mlflow_runs.client(airloom.settings)
    query = f"tags.`airloom.key` = 'digits/{second['run']}'"
    runs = client.search_runs([client.get_run(second["mlflow_run"]).info.experiment_id], query)
    assert [run.info.run_id for run in runs] == [second["mlflow_run"]]


@pytest.mark.long  # `make test` has cache/test_table.py, whose first run is one, and the next test on this stack
def test_the_same_steps_run_without_airflow(airloom) -> None:
    done = airloom.run("run", "digits", "-p", "permute_labels=true", "-p", "epochs=2", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert not result["gate"]["passed"]
    assert "registered" not in result


def test_a_raising_training_function_ends_airloom_run_with_its_message(airloom) -> None:
    (airloom.project / "examples" / "digits" / "broken.py").write_text(
        "def train(run):\n    raise ValueError('the learning rate is a teapot')\n"
    )
    text = (airloom.project / "configs" / "pipelines" / "digits.yaml").read_text()
    file = airloom.project / "broken.yaml"
    file.write_text(text.replace("model.py:train", "broken.py:train"))
    done = airloom.run("run", str(file))
    assert done.returncode == 1
    assert "the learning rate is a teapot" in done.stderr[done.stderr.index("error: ") :]
