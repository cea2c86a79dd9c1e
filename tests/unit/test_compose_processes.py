"""The compose file's services as plain processes with PostgreSQL: each one's own health check, and who may log in."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from images import files
from images.processes import Suite, suite
from services import postgres
from sqlalchemy import create_engine, text

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
SECONDS = 600  # of one service, on a busy machine


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """All of them, in the order in which compose would start them."""
    if importlib.util.find_spec("asyncpg") is None:
        pytest.skip("asyncpg is not installed: `make install` of this release brings it")
    folder = tmp_path_factory.mktemp("suite")
    made = shutil.copytree(files.FOLDER, folder / "docker", ignore=shutil.ignore_patterns(".env"))
    subprocess.run([str(made / "secrets.sh")], check=True, capture_output=True)
    values = dict(line.partition("=")[::2] for line in (made / ".env").read_text().splitlines())
    project = folder / "project"
    for part in ("configs", "dags", "examples"):
        shutil.copytree(files.PROJECT / part, project / part, ignore=shutil.ignore_patterns("__pycache__"))
    (project / "airloom.toml").touch()
    with postgres.postgres() as address:
        _databases(address)
        with suite(folder, project, int(address.rpartition(":")[2].partition("/")[0]), values) as services:
            for name in services.services:
                services.start(name, SECONDS)
            yield services


def _databases(address: str) -> None:
    """As PostgreSQL's image makes them: that of the user's name, then what stands in our file."""
    own = [line for line in (files.FOLDER / "postgres" / "databases.sql").read_text().splitlines() if line[:2] != "--"]
    engine = create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in ("CREATE DATABASE airloom ENCODING 'UTF8' TEMPLATE template0;", *own):
            connection.execute(text(statement))
    engine.dispose()


def test_every_service_is_well_by_its_own_check(started: Suite) -> None:
    names = [name for name, service in started.services.items() if service.health]
    assert {name: started.checked(name) for name in names} == dict.fromkeys(names, "")
    assert len(names) == len(started.services) - 1


def test_mlflow_answers_by_its_name_in_the_network_and_wants_its_login(started: Suite) -> None:
    url, login = (
        f"{started.url('5000')}/api/2.0/mlflow/experiments/get?experiment_id=0",
        started.values["MLFLOW_PASSWORD"],
    )
    for host in ("mlflow:5000", "localhost:5000"):
        with httpx.Client(trust_env=False, headers={"Host": host}) as client:
            assert client.get(url).status_code == 401
            assert client.get(url, auth=("airloom", login)).status_code == 200
    refused = httpx.get(url, auth=("airloom", login), headers={"Host": "elsewhere.example.org"}, trust_env=False)
    assert refused.status_code == 403


def test_the_model_server_wants_its_token(started: Suite) -> None:
    url = f"{started.url('3000')}/status"
    assert httpx.get(url, trust_env=False).status_code == 401
    headers = {"Authorization": f"Bearer {started.values['SERVER_TOKEN']}"}
    assert httpx.get(url, headers=headers, trust_env=False).status_code == 200


def test_airflow_has_the_projects_dags_and_its_user_logs_in(started: Suite) -> None:
    with httpx.Client(base_url=started.url("8080"), trust_env=False, timeout=60) as client:
        login = {"username": "admin", "password": started.values["AIRFLOW_PASSWORD"]}
        assert client.post("/auth/token", json=login | {"password": "another"}).status_code == 401
        token = client.post("/auth/token", json=login).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        assert client.get("/api/v2/importErrors").json()["import_errors"] == []
        assert {dag["dag_id"] for dag in client.get("/api/v2/dags").json()["dags"]} >= {"digits", "announce-digits"}


def test_commands_find_everything_in_the_workers_environment(started: Suite) -> None:
    """As `docker compose exec worker airloom …`: MLflow with its login, our tables in PostgreSQL, the model server."""

    def airloom(*words: str) -> Any:
        command = [sys.executable, "-m", "airloom", *words, "--json"]
        done = subprocess.run(
            command, env=started.environment("worker"), cwd=started.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert airloom("model", "list") == []
    stores = {store["name"]: store for store in airloom("db", "check")}
    assert stores["tables"]["state"] == "current" and stores["tables"]["place"].startswith("postgresql")


def test_no_secret_is_in_a_log(started: Suite) -> None:
    for name in started.services:
        log = started.log(name)
        assert [key for key, value in started.values.items() if value in log] == [], name
