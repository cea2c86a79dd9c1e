"""Connections of Airflow: their forms, what *Test* says, and that their settings come before all others."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from airloom.errors import ConfigError
from airloom.settings import load
from airloom_operators.connections import Place

TYPES = ("airloom", "airloom_mlflow", "airloom_server", "airloom_airflow")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "PROJECT", "DATA_REMOTE", "TRACKING_URI", "DATABASE"):
        monkeypatch.delenv(f"AIRLOOM_{name}", raising=False)
    folder = tmp_path / "shop"
    (folder / "configs" / "pipelines").mkdir(parents=True)
    (folder / "airloom.toml").write_text("")
    return folder.resolve()


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make a connection, where Airflow looks for one."""

    def add(name: str, conn_type: str, extra: dict | None = None, **fields: object) -> None:
        text = json.dumps({"conn_type": conn_type, **fields, "extra": extra or {}})
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", text)

    return add


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """What answers as MLflow, model server and Airflow do, behind a login."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.do_GET()

        def do_GET(self) -> None:
            known = self.headers.get("authorization") in ("Bearer s3cret-token", "Basic YWRhOnMzY3JldC1wYXNzd29yZA==")
            body = json.dumps({"experiments": [], "models": {}, "dags": [], "total_entries": 0}).encode()
            self.send_response(200 if known else 401)
            self.end_headers()
            self.wfile.write(body if known else b"{}")

        def log_message(self, *_: object) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


def pressed(conn_type: str, **fields: object) -> tuple[bool, str]:
    """As the button of the form does it: Airflow's own record of a connection, and its hook."""
    import os

    from airflow.models.connection import Connection

    connection = Connection(conn_id="shown", conn_type=conn_type, **fields)
    os.environ["AIRFLOW_CONN_SHOWN"] = connection.get_uri()
    try:
        return connection.test_connection()
    finally:
        del os.environ["AIRFLOW_CONN_SHOWN"]


def test_each_type_has_a_form_and_hides_its_secrets() -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    assert set(TYPES) <= set(manager.hooks)
    for kind in TYPES:
        assert manager.hooks[kind].hook_name.startswith("Airloom")
        assert manager.field_behaviours[kind]["relabeling"]["password"]
    widgets = manager.connection_form_widgets
    assert widgets["extra__airloom__project"].field["schema"]["title"] == "Project"
    assert widgets["extra__airloom_mlflow__store_password"].is_sensitive
    assert manager.field_behaviours["airloom_mlflow"]["placeholders"]["host"] == "https://mlflow.example.org"


def test_a_connection_comes_before_the_file_and_the_environment(
    project: Path, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "airloom.toml").write_text('data_remote = "data.git"\ntracking_uri = "http://file"\nhome = "state"')
    connect("shop", "airloom", {"project": str(project), "mlflow": "ml", "server": "models", "dvc_remote": "rows"})
    connect("ml", "airloom_mlflow", host="https://mlflow.example.org/", login="ada", password="s3cret-password")
    connect("models", "airloom_server", host="http://models.example.org", port=3000, password="s3cret-token")
    monkeypatch.setenv("AIRLOOM_TRACKING_URI", "http://environment")
    monkeypatch.setenv("AIRLOOM_HOME", str(project.parent / "another project's"))
    settings = load(Place("shop").given())
    assert (settings.project, settings.home) == (project, project / "state")
    assert settings.tracking_uri == "https://mlflow.example.org"
    assert (settings.server_url, settings.model_token) == ("http://models.example.org:3000", "s3cret-token")
    assert (settings.data_remote, settings.dvc_remote) == (str(project / "data.git"), str(project / "rows"))
    assert asyncio.run(Place("shop").settings()) == settings
    assert load().tracking_uri == "http://environment"


def test_a_connection_without_a_project_leaves_the_environments(
    project: Path, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRLOOM_PROJECT", str(project))
    monkeypatch.setenv("AIRLOOM_DATA_REMOTE", "https://git.example.org/data")
    connect("shop", "airloom", {"mlflow": "ml"})
    connect("ml", "airloom_mlflow", host="https://mlflow.example.org", password="s3cret-token")
    settings = load(Place("shop").given())
    assert (settings.project, settings.data_remote) == (project, "https://git.example.org/data")
    assert settings.mlflow_access["MLFLOW_TRACKING_TOKEN"] == "s3cret-token"


def test_the_login_reaches_jobs_by_their_environment_alone_and_takes_the_place_of_anothers(
    project: Path, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow.sdk._shared.secrets_masker import redact

    from airloom.jobs.spec import JobSpec
    from airloom.jobs.submit import submit
    from airloom.jobs.wait import value, wait

    connect("shop", "airloom", {"project": str(project), "mlflow": "ml"})
    connect("ml", "airloom_mlflow", host="http://127.0.0.1:9", password="s3cret-token")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "of-another-mlflow")
    monkeypatch.setenv("AIRLOOM_DVC_REMOTE", "of-another-project")
    settings = load(Place("shop").given())
    (project / "shown.py").write_text(
        "import os\n\n\ndef show():\n    names = ('MLFLOW_TRACKING_TOKEN', 'MLFLOW_TRACKING_PASSWORD',"
        " 'AIRLOOM_DVC_REMOTE', 'AIRLOOM_TRACKING_URI')\n    return {name: os.environ.get(name) for name in names}\n"
    )
    spec = JobSpec(step="shown:show", variables={"PYTHONPATH": str(project)})
    attempt = wait(settings, submit(settings, "shown", spec), print)
    assert value(attempt) == {
        "MLFLOW_TRACKING_TOKEN": "s3cret-token",
        "MLFLOW_TRACKING_PASSWORD": "",
        "AIRLOOM_DVC_REMOTE": None,
        "AIRLOOM_TRACKING_URI": "http://127.0.0.1:9",
    }
    files = [file for file in attempt.path.rglob("*") if file.is_file() and file.name != "result.json"]
    assert files
    assert not [file for file in files if b"s3cret-token" in file.read_bytes()]
    assert "s3cret-token" not in f"{settings!r} {redact('the token is s3cret-token')}"


def test_the_databases_password_stands_in_a_field_that_airflow_hides(
    project: Path, connect: Callable[..., None]
) -> None:
    from airflow.sdk._shared.secrets_masker import redact

    address = "postgresql://airloom@db.example.org/airloom"
    connect("shop", "airloom", {"project": str(project), "database": address}, password="a/s3cret@word")
    settings = load(Place("shop").given())
    assert settings.database_address == "postgresql+psycopg2://airloom:a%2Fs3cret%40word@db.example.org/airloom"
    assert "s3cret" not in redact(f"at {settings.database_address}")
    connect("shop", "airloom", {"project": str(project), "database": "postgresql://me:pw@db.example.org/airloom"})
    with pytest.raises(ConfigError, match="database holds a password, which would be shown"):
        Place("shop").given()


@pytest.mark.parametrize(
    ("conn_type", "fields", "told"),
    [
        ("http", {}, "is of type 'http', not 'airloom'"),
        ("airloom", {"extra": {"projekt": "/x"}}, "unknown field 'projekt'; did you mean 'project'"),
        ("airloom", {"extra": {"project": 3}}, "project is 3"),
        ("airloom", {"extra": {"namespace": "Not A Name"}}, "connection shop: namespace = Not A Name: must be"),
        ("airloom", {"extra": {"mlflow": "wrong"}}, "connection wrong: 'mlflow.example.org' is no address"),
        ("airloom", {"extra": {"mlflow": "login"}}, "connection login: its address holds a login"),
        ("airloom", {"extra": {"database": "postgresql://db/x"}, "password": "pw"}, "database has no user"),
    ],
)
def test_what_a_connection_cannot_say_is_refused_by_name(
    connect: Callable[..., None], conn_type: str, fields: dict, told: str
) -> None:
    connect("shop", conn_type, **fields)
    connect("wrong", "airloom_mlflow", host="mlflow.example.org")
    connect("login", "airloom_mlflow", host="https://me:pw@mlflow.example.org")
    with pytest.raises(ConfigError, match=told):
        load(Place("shop").given())


def test_a_connection_that_is_not_there_is_no_reason_to_take_another_server() -> None:
    from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

    from airloom_operators.base import AirloomOperator

    with (
        pytest.raises(AirflowNotFoundException, match="no_such_connection") as told,
        AirloomOperator(task_id="one", connection_id="no_such_connection").step(),
    ):
        pass
    assert not isinstance(told.value, AirflowFailException)  # Airflow's server may be away: it is tried again


def test_the_button_tells_what_answers(server: str, project: Path, connect: Callable[..., None]) -> None:
    good = {"host": server, "password": "s3cret-token"}
    for kind in ("airloom_mlflow", "airloom_server", "airloom_airflow"):
        assert pressed(kind, **good) == (True, pressed(kind, **good)[1])
        assert server in pressed(kind, **good)[1]
        well, told = pressed(kind, host=server, password="another")
        assert not well and "401" in told and "another" not in told
        well, told = pressed(kind, host="http://127.0.0.1:9", password="s3cret-token")
        assert not well and "not answer" in told
    assert pressed("airloom_mlflow", host=server, login="ada", password="s3cret-password")[0]
    connect("ml", "airloom_mlflow", **good)
    extra = {"project": str(project), "mlflow": "ml", "home": "", "namespace": None}
    well, told = pressed("airloom", extra=json.dumps(extra))
    assert well, told
    assert all(part in told for part in (f"project {project}", "is not there yet", f"MLflow at {server} answers"))
    assert not (project / ".airloom").exists()  # to look makes nothing
    well, told = pressed("airloom", extra=json.dumps({"project": str(project.parent)}))
    assert not well and "there is no airloom.toml" in told


def test_build_dags_hands_its_connection_to_each_task_and_trigger(project: Path) -> None:
    from airloom_operators import build_dags

    text = (Path(__file__).resolve().parents[2] / "configs" / "pipelines" / "digits.yaml").read_text()
    folder = project / "configs" / "pipelines"
    (folder / "digits.yaml").write_text(text)
    made = build_dags(folder, connection_id="shop")
    for dag in made.values():
        tasks = [task.unmap({"arguments": {"worker": 0}}) if task.is_mapped else task for task in dag.tasks]
        assert {task.connection_id for task in tasks} == {"shop"}, dag.dag_id
    (watcher,) = made["announce-digits"].timetable.asset_condition.objects[0].watchers
    assert watcher.trigger.serialize()[1] == {"dataset": "digits", "connection_id": "shop"}


def test_without_one_the_project_is_found_upward_from_the_folder_of_its_pipelines(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from airloom_operators import build_dags

    monkeypatch.chdir(tmp_path)
    folder = project / "configs" / "pipelines"
    text = (Path(__file__).resolve().parents[2] / "configs" / "pipelines" / "digits.yaml").read_text()
    (folder / "digits.yaml").write_text(text)
    resolve = build_dags(folder)["digits"].get_task("resolve")
    assert (resolve.settings().project, resolve.settings().home) == (project, project / ".airloom")
    monkeypatch.setenv("AIRLOOM_PROJECT", str(tmp_path))
    assert build_dags(folder)["digits"].get_task("resolve").settings().project == tmp_path.resolve()


def test_beside_a_plugins_folder_of_theirs_with_operators_of_its_own(project: Path, tmp_path: Path) -> None:
    """As Airflow's own command finds DAGs; tests/system/test_own_airflow.py starts all of such an Airflow."""
    import os
    import subprocess
    import sys

    from services.platform import DAG, OPERATOR, PLUGIN

    home = tmp_path / "theirs"
    (home / "plugins" / "operators").mkdir(parents=True)
    (home / "dags").mkdir()
    (home / "plugins" / "operators" / "__init__.py").write_text("")
    (home / "plugins" / "operators" / "hello.py").write_text(OPERATOR)
    (home / "plugins" / "their_plugin.py").write_text(PLUGIN)
    (home / "dags" / "theirs.py").write_text(DAG)
    text = (Path(__file__).resolve().parents[2] / "configs" / "pipelines" / "digits.yaml").read_text()
    (project / "configs" / "pipelines" / "digits.yaml").write_text(text)
    call = f'build_dags("{project}/configs/pipelines", connection_id="shop")'
    (home / "dags" / "ours.py").write_text(f'"""airflow"""\nfrom airloom_operators import build_dags\n\n{call}\n')
    look = (
        "from airflow.dag_processing.dagbag import DagBag\nfrom airflow import plugins_manager\n"
        f"bag = DagBag(dag_folder={str(home / 'dags')!r})\n"
        "print(sorted(bag.dags), bag.import_errors, sorted(p.name for p in plugins_manager._get_plugins()[0]))"
    )
    places = {"HOME": str(home), "FOLDER": str(home / "dags"), "PLUGINS": str(home / "plugins")}
    environment = os.environ | {
        "AIRFLOW_HOME": places["HOME"],
        "AIRFLOW__CORE__DAGS_FOLDER": places["FOLDER"],
        "AIRFLOW__CORE__PLUGINS_FOLDER": places["PLUGINS"],
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
    }
    done = subprocess.run([sys.executable, "-c", look], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "['announce-digits', 'digits', 'theirs'] {}" in done.stdout
    assert "'airloom'" in done.stdout and "'theirs'" in done.stdout.rpartition("{}")[2]
