"""docs/how-to/own-airflow.md, walked: a platform's own Airflow, MLflow and model server, and one DAG file of ours."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from services.platform import Platform, has_fab

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(2400)]
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "own-airflow.md"
AUTH = [
    "simple",
    pytest.param(
        "fab", marks=pytest.mark.skipif(not has_fab(), reason="apache-airflow-providers-fab is not installed")
    ),
]


@pytest.fixture
def platform(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Platform]:
    with Platform(tmp_path, request.param) as made:
        made.make()
        made.template()
        yield made


def connection(name: str, kind: str, extra: dict | None = None, **fields: str) -> dict:
    return {"connection_id": name, "conn_type": kind, "extra": json.dumps(extra or {}), **fields}


def connections(platform: Platform) -> list[dict]:
    """As the how-to has them."""
    login = {"login": platform.mlflow_user, "password": platform.mlflow_password}
    names = {"mlflow": "shop_mlflow", "server": "shop_server", "airflow": "shop_airflow"}
    places = {"project": str(platform.project), "job_python": platform.job_python, "database": platform.database}
    return [
        connection("shop_mlflow", "airloom_mlflow", host=platform.mlflow_url, **login),
        connection("shop_server", "airloom_server", host=platform.server_url, password=platform.server_token),
        connection(
            *("shop_airflow", "airloom_airflow"),
            **{"host": platform.airflow_url, "login": "ada", "password": platform.passwords["ada"]},
        ),
        connection("shop", "airloom", names | places, password=platform.database_password),
    ]


@pytest.mark.parametrize("platform", AUTH, indirect=True)
def test_a_commit_starts_a_run_in_their_airflow_and_the_answer_is_served(platform: Platform, record_property) -> None:
    began = time.monotonic()
    platform.start_mlflow()
    platform.start_airflow()
    migrated = platform.airloom("db", "migrate", **platform.ours)
    assert "of this release's version" in migrated
    platform.until(platform.healthy, 600)
    platform.start_ours()

    def served() -> bool:
        try:
            return httpx.get(f"{platform.server_url}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    platform.until(served, 300)
    for body in connections(platform):
        told = platform.ask("ada", "POST", "connections/test", json=body).json()
        assert body["connection_id"] == "shop" or told["status"], told
        assert platform.ask("ada", "POST", "connections", json=body).status_code == 201
    told = platform.ask("ada", "POST", "connections/test", json=connections(platform)[-1]).json()
    assert told["status"], told
    assert all(word in told["message"] for word in (str(platform.project), "MLflow", "model server", "Airflow"))
    shown = platform.ask("ada", "GET", "connections").text
    assert "not-to-be-shown" not in shown

    text = GUIDE.read_text().partition("```python\n")[2].partition("```")[0]
    (platform.home / "dags" / "shop.py").write_text(text.replace("/srv/shop", str(platform.project)))

    def dags() -> dict[str, bool]:
        listed = platform.ask("ada", "GET", "dags").json()["dags"]
        return {dag["dag_id"]: dag["is_paused"] for dag in listed}

    platform.until(lambda: {"theirs", "shop", "announce-shop"} <= set(dags()), 300)
    assert platform.ask("ada", "GET", "importErrors").json()["total_entries"] == 0
    assert dags() == {"theirs": True, "shop": True, "announce-shop": False}  # as their Airflow makes new ones
    for dag in ("theirs", "shop"):
        assert platform.ask("ada", "PATCH", f"dags/{dag}", json={"is_paused": False}).is_success

    platform.airloom("dataset", "create", "shop", "data/rows.csv", "--label", "target", "-m", "first rows")
    path = "dags/shop/dagRuns"

    def over() -> bool:
        runs = platform.ask("ada", "GET", path).json()["dag_runs"]
        assert not [run for run in runs if run["state"] == "failed"], states()
        return bool(runs) and all(run["state"] == "success" for run in runs)

    def states() -> list:
        (run,) = platform.ask("ada", "GET", path).json()["dag_runs"]
        tasks = platform.ask("ada", "GET", f"{path}/{run['dag_run_id']}/taskInstances").json()["task_instances"]
        logs = [file.read_text()[-3000:] for file in (platform.home / "logs").rglob("*.log") if "shop" in str(file)]
        return [[(task["task_id"], task["state"]) for task in tasks], *logs]

    platform.until(over, 1200)
    states_of_tasks = {state for _, state in states()[0]}
    assert states_of_tasks == {"success"}
    answer = httpx.post(
        f"{platform.server_url}/predict",
        headers={"Authorization": f"Bearer {platform.server_token}"},
        json={"model": "shop", "instances": [[0.5, 0.5]]},
    )
    assert answer.status_code == 200, answer.text
    record_property("a served answer after", f"{time.monotonic() - began:.0f} s")

    (run,) = platform.ask("ada", "GET", path).json()["dag_runs"]
    entries = platform.ask("ada", "GET", f"{path}/{run['dag_run_id']}/taskInstances/~/xcomEntries").text
    assert "not-to-be-shown" not in entries
    assert not platform.shown()
    assert platform.ask("ada", "POST", "dags/theirs/dagRuns", json={"logical_date": None}).is_success

    def theirs_ran() -> bool:
        runs = platform.ask("ada", "GET", "dags/theirs/dagRuns").json()["dag_runs"]
        return {one["state"] for one in runs} == {"success"}

    platform.until(theirs_ran, 300)
    plugins = platform.ask("ada", "GET", "plugins").json()["plugins"]
    assert {"airloom", "theirs"} <= {plugin["name"] for plugin in plugins}

    seen = platform.ask("vera", "GET", path)
    assert seen.status_code == 200
    assert platform.ask("vera", "GET", "connections").status_code == 403
    if platform.auth == "fab":
        assert platform.ask("vera", "GET", "plugins").status_code == 403
        platform.command("roles", "add-perms", "Viewer", "--action", "can_read", "--resource", "Plugins")
        platform.until(lambda: platform.ask("vera", "GET", "plugins").status_code == 200, 120)
    else:
        assert platform.ask("vera", "GET", "plugins").status_code == 200
