"""The login of the stack's MLflow: no route but its health without it, everything with it, by MLflow's own clients."""

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airloom.errors import MlflowRefused, StackError
from airloom.settings import Settings
from airloom.stack import config, control, mlflow_app
from airloom.stack.mlflow_app import Login
from airloom.stack.ports import Ports
from airloom.tracking import runs

PASSWORD = "a secret of the test"
BASIC = f"Basic {base64.b64encode(f'airloom:{PASSWORD}'.encode()).decode()}"


async def reached(scope, receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"reached"})


def ask(app, path: str, method: str = "GET", header: str | None = None) -> httpx.Response:
    async def asked() -> httpx.Response:
        headers = {} if header is None else {"Authorization": header}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(asked())


@pytest.fixture(scope="module")
def routes() -> list[tuple[str, str]]:
    """Every method and path of the MLflow that is installed: of FastAPI's routers and of Flask below them."""
    from mlflow.server import app as flask
    from mlflow.server.fastapi_app import app as fastapi

    def flat(router) -> list:
        return [leaf for route in router.routes for leaf in (flat(route) if hasattr(route, "routes") else [route])]

    found = {(m, route.path) for route in flat(fastapi) for m in getattr(route, "methods", None) or ["GET"]}
    found |= {
        (method, re.sub(r"<[^>]*>", "x", rule.rule)) for rule in flask.url_map.iter_rules() for method in rule.methods
    }
    return sorted((method, re.sub(r"{[^}]*}", "x", path) or "/") for method, path in found)


def test_no_route_of_mlflow_answers_without_the_login_but_its_health(routes) -> None:
    from mlflow.server.fastapi_app import app

    assert len(routes) > 200
    guarded = Login(app, PASSWORD)
    answers = {(method, path): ask(guarded, path, method).status_code for method, path in routes}
    assert {place for place, status in answers.items() if status != 401} == {
        (method, path) for method, path in answers if path == "/health"
    }
    assert ask(guarded, "/health").status_code == 200


@pytest.mark.parametrize("path", ["/", "/version", "/health/", "//health", "/HEALTH", "/health/x", "/graphql"])
def test_what_only_looks_like_the_health_check_is_guarded(path) -> None:
    assert ask(Login(reached, PASSWORD), path).status_code == 401


@pytest.mark.parametrize("header", [BASIC, BASIC.replace("Basic", "basic"), f"Bearer {PASSWORD}"])
def test_the_password_opens_as_basic_and_as_bearer(header) -> None:
    assert ask(Login(reached, PASSWORD), "/x", header=header).text == "reached"


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_no_other_header_opens(text) -> None:
    for header in (text, f"Basic {text}", f"Bearer {text}", f"Basic {base64.b64encode(text.encode()).decode()}"):
        assert ask(Login(reached, PASSWORD), "/x", header=header).status_code == 401


@pytest.mark.parametrize("header", [None, "Bearer ", "Bearer", "Basic YWlybG9vbTo=", "Basic"])
def test_an_empty_password_lets_nobody_in(header) -> None:
    answer = ask(Login(reached, ""), "/x", header=header)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic realm=")  # a browser asks
    assert "airloom up" in answer.json()["message"]


def test_a_web_socket_without_the_login_is_closed() -> None:
    sent: list[dict] = []

    async def send(message) -> None:
        sent.append(message)

    asyncio.run(Login(reached, PASSWORD)({"type": "websocket", "path": "/health", "headers": []}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home whose MLflow runs as the stack starts it, alone."""
    settings = Settings(home=tmp_path_factory.mktemp("login") / "home", tracking_uri="")
    with Ports() as ports:
        config.prepare(settings, ports)
        environment = config.environment(settings) | {"MLFLOW_DISABLE_TELEMETRY": "true"}
        database = f"sqlite:///{settings.home / 'mlflow' / 'mlflow.db'}"
        subprocess.run([sys.executable, "-m", "airloom.tracking.store", database, "mlflow-artifacts:/"], check=True)
        (mlflow,) = [process for process in config.processes(settings) if process.name == "mlflow"]
        with (settings.home / "log").open("wb") as log:
            process = subprocess.Popen(mlflow.command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            until = time.monotonic() + 200
            while not _healthy(settings) and process.poll() is None and time.monotonic() < until:
                time.sleep(0.3)
            assert _healthy(settings), (settings.home / "log").read_text()[-3000:]
            yield settings
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)


def _healthy(settings: Settings) -> bool:
    try:
        return httpx.get(f"{settings.stack['mlflow_url']}/health", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without any login of MLflow's; what the test leaves there is taken back."""
    for name in (*runs.LOGIN, "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def test_our_client_logs_in_by_itself_and_takes_artifacts_both_ways(stack, environment, tmp_path: Path) -> None:
    client = runs.client(stack)
    run = client.create_run("0").info.run_id
    client.log_text(run, "text", "a/b.txt")
    assert Path(client.download_artifacts(run, "a/b.txt", str(tmp_path))).read_text() == "text"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == stack.stack["mlflow_password"]


def test_a_plain_client_needs_the_variables_that_airloom_env_prints(stack, environment, capsys) -> None:
    import mlflow

    from airloom.cli.main import env

    address = stack.stack["mlflow_url"]
    with pytest.raises(mlflow.MlflowException, match="MLflow wants a login"):
        mlflow.MlflowClient(address).search_experiments()
    environment.setenv("AIRLOOM_HOME", str(stack.home))
    env()
    exports = dict(line.removeprefix("export ").split("=", 1) for line in capsys.readouterr().out.splitlines())
    assert exports == dict(zip(("MLFLOW_TRACKING_URI", *runs.LOGIN), (address, *stack.mlflow_credentials), strict=True))
    for name, value in exports.items():
        environment.setenv(name, value)
    assert mlflow.MlflowClient(address).search_experiments()
    for name in runs.LOGIN:
        environment.delenv(name)
    environment.setenv("MLFLOW_TRACKING_TOKEN", stack.stack["mlflow_password"])
    assert mlflow.MlflowClient(address).search_experiments()


def test_a_wrong_login_is_told_and_is_not_taken_for_mlflow_being_away(stack, environment, tmp_path: Path) -> None:
    other = Settings(home=tmp_path, tracking_uri=f"{stack.stack['mlflow_url']}")
    environment.setenv("MLFLOW_TRACKING_USERNAME", "somebody")
    environment.setenv("MLFLOW_TRACKING_PASSWORD", "guessed")
    with pytest.raises(MlflowRefused, match="refuses the login") as caught, runs.connection_errors(other):
        runs.client(other).search_experiments()
    assert "MLFLOW_TRACKING_USERNAME" in caught.value.hint
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "guessed"  # a login of somebody's own stays as it is


def test_another_mlflow_never_gets_the_login_of_the_stack(stack, environment, tmp_path: Path) -> None:
    runs.client(stack)
    runs.client(Settings(home=stack.home, tracking_uri=f"sqlite:///{tmp_path / 'other.db'}"))
    assert not set(runs.LOGIN) & set(os.environ)


def test_the_login_can_be_switched_off(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", mlflow_login=False, tracking_uri="")
    with Ports() as ports:
        config.prepare(settings, ports)
    assert settings.mlflow_credentials is None
    assert "--app-name" not in config.processes(settings)[0].command
    assert not set(runs.LOGIN) & set(config.environment(settings))


def test_a_home_from_before_the_login_gets_one_at_the_next_start(stack, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", tracking_uri="")
    old = {name: value for name, value in stack.stack.items() if not name.startswith("mlflow_") or name == "mlflow_url"}
    settings.make_home()
    (settings.home / "stack.json").write_text(json.dumps(old))
    assert settings.mlflow_credentials is None
    with Ports() as ports:
        config.prepare(settings, ports)
    user, password = settings.mlflow_credentials or ("", "")
    assert (user, len(password) >= 24) == ("airloom", True)


def test_an_environment_without_the_plugin_is_told_before_anything_starts(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(mlflow_app, "NAME", "not there")
    with Ports() as ports, pytest.raises(StackError, match=r"no plugin `mlflow\.app`"):
        control._start(Settings(home=tmp_path / "home"), ports, print)
    assert not (tmp_path / "home").exists()


def test_without_a_stack_the_password_is_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container of its own, whose clients have the same variable."""
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD", raising=False)
    with pytest.raises(StackError, match="has no password for MLflow"):
        mlflow_app.create()
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    app = mlflow_app.create()
    assert ask(app, "/version").status_code == 401
    assert ask(app, "/version", header=BASIC).status_code == 200
    assert not (tmp_path / "none").exists()
