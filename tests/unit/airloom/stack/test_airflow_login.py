"""Which Airflow is asked, and what is said where that is no Airflow, or refuses."""

import http.server
import json
import threading
from typing import ClassVar

import pytest

from airloom.errors import ConfigError, StackError
from airloom.stack import airflow_api
from airloom.stack.airflow_api import AirflowApi
from airloom.stack.airflow_login import AirflowLogin, login_of

STACK = {"airflow_url": "http://127.0.0.1:1", "airflow_user": "admin", "airflow_password": "p"}


class Server(http.server.BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, tuple[int, str]]] = {}
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path.partition("?")[0], self.headers["authorization"]))
        self.rfile.read(int(self.headers["content-length"] or 0))
        status, body = self.answers[self.asked[-1][0]]
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(Server, "asked", [])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


def test_the_environment_names_another_airflow_than_the_stacks(make_home, tmp_path, monkeypatch) -> None:
    settings = make_home(tmp_path)
    with pytest.raises(StackError, match="no stack was started here"):
        login_of(settings)
    settings.__dict__["stack"] = STACK
    assert login_of(settings) == AirflowLogin("http://127.0.0.1:1", "admin", "p", of_stack=True)
    settings.airflow_url, settings.airflow_token = "https://airflow.example.org/team", "t"
    assert login_of(settings) == AirflowLogin("https://airflow.example.org/team", token="t")
    assert "'t'" not in repr(login_of(settings))
    settings.airflow_token, settings.airflow_user, settings.airflow_password = "", "u", "q"
    assert login_of(settings) == AirflowLogin("https://airflow.example.org/team", "u", "q")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"url": "airflow.example.org", "token": "t"}, "is no address"),
        ({"url": "ftp://airflow.example.org", "token": "t"}, "is no address"),
        ({"url": "https://a/?x=1", "token": "t"}, "is no address"),
        ({"url": "https://a"}, "has no login"),
        ({"url": "https://a", "user": "u"}, "has no login"),
        ({"url": "https://a", "token": "t", "user": "u"}, "both"),
        ({"token": "t"}, "AIRLOOM_AIRFLOW_URL is not"),
        ({"user": "u", "password": "p"}, "AIRLOOM_AIRFLOW_URL is not"),
    ],
)
def test_a_login_that_is_not_whole_is_refused(make_home, tmp_path, monkeypatch, values, says) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"AIRLOOM_AIRFLOW_{name.upper()}", value)
    with pytest.raises(ConfigError, match=says):
        login_of(make_home(tmp_path))


def test_a_token_is_used_as_it_is_below_the_path_of_the_address(make_home, tmp_path, monkeypatch, server) -> None:
    monkeypatch.setattr(Server, "answers", {"/team/api/v2/pools": (200, '{"pools": [], "total_entries": 0}')})
    settings = make_home(tmp_path)
    settings.airflow_url, settings.airflow_token = f"{server}/team", "secret"
    with AirflowApi(settings) as api:
        assert api.pools() == []
    assert Server.asked == [("/team/api/v2/pools", "Bearer secret")]


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, "Invalid credentials", "answered 401"),
        (200, "<html>welcome</html>", "no JSON"),
        (200, "{}", "no token"),
        (200, "[]", "no token"),
    ],
)
def test_what_is_no_airflow_or_refuses_is_told_with_the_variables(
    make_home, tmp_path, monkeypatch, server, status, body, says
) -> None:
    monkeypatch.setattr(Server, "answers", {"/auth/token": (status, body)})
    settings = make_home(tmp_path)
    settings.airflow_url, settings.airflow_user, settings.airflow_password = server, "u", "p"
    with pytest.raises(StackError, match=says) as refused:
        AirflowApi(settings)
    assert "AIRLOOM_AIRFLOW_URL" in refused.value.hint


def test_of_an_error_of_airflows_database_the_reason_is_told(make_home, tmp_path, monkeypatch, server) -> None:
    detail = {"reason": "Database error", "statement": "UPDATE " * 100, "orig_error": "disk I/O error"}
    monkeypatch.setattr(Server, "answers", {"/api/v2/pools": (500, json.dumps({"detail": detail}))})
    settings = make_home(tmp_path)
    settings.airflow_url, settings.airflow_token = server, "secret"
    with AirflowApi(settings) as api, pytest.raises(StackError, match=r"500 .*: Database error: disk I/O error$"):
        api.pools()


def test_a_locked_database_of_airflows_is_waited_for(make_home, tmp_path, monkeypatch, server) -> None:
    """SQLite has one writer: a change that Airflow refused because of another one is asked again."""
    detail = {"reason": "Database error", "statement": "UPDATE", "orig_error": "(OperationalError) database is locked"}
    locked, free = (500, json.dumps({"detail": detail})), (200, '{"pools": [], "total_entries": 0}')
    queue = [locked, locked, free]

    class Answers(dict):
        def __getitem__(self, path: str) -> tuple[int, str]:
            return queue.pop(0)

    monkeypatch.setattr(Server, "answers", Answers())
    monkeypatch.setattr(airflow_api, "POLL", 0.01)
    settings = make_home(tmp_path)
    settings.airflow_url, settings.airflow_token = server, "secret"
    with AirflowApi(settings) as api:
        assert api.pools() == []
        queue.extend([locked] * 3)
        monkeypatch.setattr(airflow_api, "PATIENCE", -1.0)
        with pytest.raises(StackError, match="database is locked"):
            api.pools()
