"""`/airloom/api/v1` under Airflow's own app, with Airflow's own auth manager, tokens and database."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from airloom import audit
from airloom.monitoring import alerts
from airloom.settings import load

PREFIX = "/airloom/api/v1"
USERS = ("viewer", "user", "op", "admin")
TOKEN = "of-alertmanager"
STARTS = "2026-11-30T14:00:00.123Z"


@pytest.fixture(scope="module")
def client(register, tmp_path_factory):
    """Airflow's app as its API server makes it, with the plugin as Airflow finds it."""
    from airflow.api_fastapi.app import create_app, purge_cached_app
    from fastapi.testclient import TestClient

    folder = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", ",".join(f"{name}:{name}" for name in USERS))
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(folder / "passwords.json"))
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "x" * 64)
        (folder / "passwords.json").write_text(json.dumps({name: f"{name}!" for name in USERS}))
        purge_cached_app()
        with TestClient(create_app("core"), raise_server_exceptions=False) as made:
            yield made
        purge_cached_app()


@pytest.fixture(scope="module")
def tokens(client):
    login = {name: client.post("/auth/token", json={"username": name, "password": f"{name}!"}) for name in USERS}
    return {name: answer.json()["access_token"] for name, answer in login.items()}


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(tmp_path))
    settings = load()
    settings.make_home()
    settings.alerts_file.write_text(f"{TOKEN}\n")
    return settings.home


@pytest.fixture
def ask(client, tokens, home):
    def asked(method: str, path: str, who: str = "", **more):
        token = TOKEN if who == "alertmanager" else tokens.get(who, who)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return client.request(method, PREFIX + path, headers=headers | more.pop("headers", {}), **more)

    return asked


@pytest.fixture
def monitor(register):
    """The monitor of a pipeline is a DAG that Airflow knows."""
    from airflow.sdk import DAG

    def make(pipeline: str) -> str:
        dag = DAG(f"{pipeline}_monitor", schedule=None, is_paused_upon_creation=False)
        register(dag)
        return dag.dag_id

    return make


def runs_of(dag: str) -> list[str]:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return list(session.scalars(select(DagRun.run_id).where(DagRun.dag_id == dag)))


def notification(*labels: dict[str, str], status: str = "firing", starts: str = STARTS) -> dict:
    """As Alertmanager 0.25 sends it."""
    each = {"status": status, "annotations": {"summary": "s"}, "startsAt": starts, "endsAt": "0001-01-01T00:00:00Z"}
    each |= {"generatorURL": "http://prometheus/graph", "fingerprint": "9f"}
    one = {"receiver": "airloom", "status": status, "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}}
    one |= {"externalURL": "http://alertmanager", "version": "4", "groupKey": "{}", "truncatedAlerts": 0}
    return one | {"alerts": [each | {"labels": {"alertname": "Outside", **own}} for own in labels]}


def every_route() -> list[tuple[str, str, str]]:
    from airloom_plugins.api.access import DECLARED
    from airloom_plugins.api.app import build

    return [
        (method, route.path.replace("{model}", "digits"), route.openapi_extra[DECLARED])
        for route in build().app.router.routes
        for method in route.methods
    ]


def test_every_route_is_closed_without_a_token_and_open_by_right(ask):
    routes = every_route()
    assert len(routes) >= 7
    assert [path for _, path, right in routes if right == "alerts"] == ["/alerts"]
    least = {"read": "viewer", "operate": "user", "administer": "op"}
    for method, path, right in routes:
        for wrong in ("", "nonsense", f"{TOKEN}x"):
            answer = ask(method, path, wrong)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), (method, path, wrong)
            assert answer.headers["content-type"] == "application/problem+json"
        if right == "alerts":
            assert {ask(method, path, who).status_code for who in USERS} == {401}
            continue
        assert ask(method, path, "alertmanager").status_code == 401, (method, path)
        allowed = USERS.index(least[right])
        seen = [ask(method, path, who).status_code for who in USERS]
        assert [status == 403 for status in seen] == [place < allowed for place in range(len(USERS))], (path, seen)
        assert not set(seen) & {401, 405, 500}


def test_unknown_paths_and_methods_tell_a_stranger_nothing(ask):
    for method, path in (("GET", "/nothing"), ("DELETE", "/labels"), ("GET", "/docs"), ("GET", "/labels/digits/x")):
        assert ask(method, path).status_code == 401
    assert ask("GET", "/nothing", "viewer").status_code == 404
    assert ask("DELETE", "/labels", "admin").status_code == 405


def test_a_route_that_declares_no_right_is_closed(client, tokens, home):
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from airloom_plugins.api.access import Gate

    app = FastAPI()
    app.get("/forgotten")(lambda: "secret")
    app.mount("/mounted", lambda *_: None)
    strange, header = TestClient(Gate(app)), {"Authorization": f"Bearer {tokens['admin']}"}
    for path in ("/forgotten", "/openapi.json", "/docs", "/mounted/x"):
        assert strange.get(path).status_code == 401
        assert strange.get(path, headers=header).status_code == 403, path


def test_the_token_of_alerts_is_compared_in_constant_time_and_nobody_has_none(ask, home, monkeypatch):
    from airloom_plugins.api import access

    asked = []
    monkeypatch.setattr(access.hmac, "compare_digest", lambda a, b: asked.append((a, b)) or a == b)
    assert access.is_alertmanager(load(), f"Bearer {TOKEN}")
    assert not access.is_alertmanager(load(), "Bearer other")
    assert [len(a) for pair in asked for a in pair] == [32] * 4
    load().alerts_file.write_text("")
    assert not access.is_alertmanager(load(), "Bearer ")
    assert ask("POST", "/alerts", json=notification()).status_code == 401
    load().alerts_file.unlink()
    assert ask("POST", "/alerts", "alertmanager", json=notification()).status_code == 401
    monkeypatch.setenv("AIRLOOM_ALERTS_TOKEN", TOKEN)
    assert ask("POST", "/alerts", "alertmanager", json=notification()).status_code == 200


def test_openapi_says_what_each_route_takes(ask):
    said = ask("GET", "/openapi.json", "viewer").json()
    assert said["servers"] == [{"url": PREFIX}]
    found = {(path, method): op["security"] for path, ops in said["paths"].items() for method, op in ops.items()}
    assert found.pop(("/alerts", "post")) == [{"alerts": []}]
    assert {json.dumps(one) for one in found.values()} == {'[{"airflow": []}]'}


def test_labels_are_added_and_audited(ask):
    identity = "01a20b76-0146-7c3e-9d2f-5b1c8e4fa001"
    new = {"labels": [{"id": identity, "label": 7, "time": "2026-11-30T14:00"}], "source": "clinic"}
    assert ask("POST", "/labels", "user", json=new).json()["added"] == 1
    again = ask("POST", "/labels", "user", json=new).json()
    assert (again["added"], again["known"], again["unknown_ids"]) == (0, 1, [identity])
    assert ask("POST", "/labels", "viewer", json=new).status_code == 403
    bad = ask("POST", "/labels", "user", json={"labels": [{"id": identity, "label": 7}, {"id": "x", "label": 1}]})
    assert bad.status_code == 422
    assert "row 1: 'x' is no id of a prediction" in bad.json()["detail"]
    wrong = ask("POST", "/labels", "user", json={"labels": [{"id": identity}]})
    assert (wrong.status_code, wrong.json()["input"]) == (422, "body.labels.0.label")
    assert ask("POST", "/labels", "user", content=b"{", headers={"content-type": "application/json"}).status_code == 422
    rows = ask("GET", "/audit", "op").json()["rows"]
    told = [(row["who"], row["action"], row["object"], row["outcome"]) for row in reversed(rows)]
    done, refused = ("user", "add labels", "predictions", "done"), ("user", "add labels", "predictions", "refused")
    assert told[:3] == [done, done, ("viewer", "add labels", "", "refused")]
    assert [row[3] for row in told[3:]] == [refused[3]] * 3
    assert rows[-1]["detail"] == "1 of 1 labels added, said by clinic"
    assert abs(rows[-1]["at"] - time.time()) < 600


def test_nothing_is_changed_where_the_audit_cannot_be_written(ask, monkeypatch):
    def away(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(audit, "begin", away)
    new = {"labels": [{"id": "01a20b76-0146-7c3e-9d2f-5b1c8e4fa002", "label": 7}]}
    assert ask("POST", "/labels", "user", json=new).status_code == 503
    monkeypatch.undo()


def test_metrics_of_a_model(ask):
    from airloom.monitoring.metric_counts import Batch, Cell, Place
    from airloom.monitoring.metric_store import give

    nothing = ask("GET", "/metrics/digits", "viewer")
    assert (nothing.status_code, "no prediction of digits was ever counted" in nothing.json()["detail"]) == (404, True)
    cell = Cell(requests=5, errors={"busy": 2})
    minute = int(time.time()) // 60 * 60
    give(load().database_address, Batch("b", "s", {Place("digits", "3", "champion", minute): cell}))
    (row,) = ask("GET", "/metrics/digits?since=1h", "viewer").json()["rows"]
    assert (row["version"], row["role"], row["requests"], row["errors"]) == ("3", "champion", 5, {"busy": 2})
    bad = ask("GET", "/metrics/digits?since=noon", "viewer")
    assert (bad.status_code, "since 'noon' is no time" in bad.json()["detail"]) == (400, True)


def test_an_alert_starts_its_monitor_once_and_resolves(ask, monitor):
    dag = monitor("flights")
    one = notification({"model": "flights", "version": "1"})
    first = ask("POST", "/alerts", "alertmanager", json=one).json()
    again = ask("POST", "/alerts", "alertmanager", json=one).json()
    (run,) = runs_of(dag)
    assert (first["started"], again["started"]) == ([f"{dag}/{run}"], [])
    (seen,) = ask("GET", "/alerts", "viewer").json()["alerts"]
    assert (seen["outcome"], seen["run"], seen["times"], seen["alert"]["status"]) == ("started", run, 2, "firing")
    over = notification({"model": "flights", "version": "1"}, status="resolved")
    assert ask("POST", "/alerts", "alertmanager", json=over).status_code == 200
    (seen,) = ask("GET", "/alerts", "viewer").json()["alerts"]
    assert (seen["outcome"], seen["alert"]["status"], len(runs_of(dag))) == ("started", "resolved", 1)
    assert ask("GET", "/audit", "op").json()["rows"][0]["who"] == "alertmanager"


def test_a_run_is_told_its_cause_in_words():
    from airloom_plugins.api.alerts import LONGEST_CAUSE, said

    one = alerts.Alert({"alertname": "Outside"}, 1.0, annotations={"summary": "12 % of digits/3 are new"})
    assert said([one, one]) == "Outside: 12 % of digits/3 are new"
    assert said([one.with_(annotations={}), alerts.Alert({}, 1.0)]) == "Outside"
    assert said([alerts.Alert({}, 1.0)]) == "an alert without a name"
    assert len(said([one.with_(annotations={"summary": str(number)}) for number in range(200)])) == LONGEST_CAUSE


def test_a_thousand_alarms_start_the_budget_and_no_more(ask, monitor, monkeypatch):
    monkeypatch.setenv("AIRLOOM_ALERT_RUNS_PER_HOUR", "3")
    dag = monitor("storm")
    for number in range(20):
        assert ask(
            "POST", "/alerts", "alertmanager", json=notification({"pipeline": "storm", "n": f"{number}"})
        ).is_success
    many = notification(*({"pipeline": "storm", "n": f"more {number}"} for number in range(980)))
    began = time.monotonic()
    assert ask("POST", "/alerts", "alertmanager", json=many).is_success
    assert time.monotonic() - began < 20
    assert len(runs_of(dag)) == 3
    told = ask("GET", "/alerts?limit=1000", "viewer").json()["alerts"]
    outcomes = [one["outcome"] for one in told]
    assert (outcomes.count("started"), outcomes.count("over budget")) == (3, 997)
    assert "3 are allowed" in next(one["reason"] for one in told if one["outcome"] == "over budget")


def test_what_starts_nothing_says_why(ask, monitor, register):
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    dag = monitor("asleep")
    with create_session() as session:
        session.get(DagModel, dag).is_paused = True
    names = [{"model": "nobody"}, {"model": "prod.digits"}, {}, {"pipeline": "../x"}, {"pipeline": "asleep"}]
    took = ask("POST", "/alerts", "alertmanager", json=notification(*names)).json()
    assert took["started"] == []
    reasons = [one["reason"] for one in ask("GET", "/alerts", "viewer").json()["alerts"]]
    for part in ("no DAG nobody_monitor", "'prod.digits'", "''", "'../x'", "asleep_monitor is paused"):
        assert any(part in reason for reason in reasons), part


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"[]", 422),
        (b'{"version": "3", "alerts": []}', 422),
        (
            b'{"version": "4", "alerts": [{"status": "firing", "labels": {"a": "\\u0000"}, "startsAt": "2026-11-30"}]}',
            422,
        ),
        (b'{"version": "4", "alerts": [{"status": "odd", "labels": {}, "startsAt": "2026-11-30T00:00:00Z"}]}', 422),
        (b" " * (8 * 2**20 + 1), 413),
    ],
)
def test_nonsense_is_refused(ask, body, status):
    headers = {"content-type": "application/json"}
    answer = ask("POST", "/alerts", "alertmanager", content=body, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert alerts.seen(load().database_address) == []


def test_airflow_that_refuses_is_told_and_asked_again(ask, monitor, monkeypatch):
    from airflow.api.common import trigger_dag

    dag, one = monitor("later"), notification({"pipeline": "later"})

    def away(*_, **__):
        raise OSError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(trigger_dag, "trigger_dag", away)
        answer = ask("POST", "/alerts", "alertmanager", json=one)
    assert (answer.status_code, "database is locked" in answer.json()["detail"]) == (503, True)
    assert ask("POST", "/alerts", "alertmanager", json=one).is_success
    assert len(runs_of(dag)) == 1


def test_the_plugin_imports_nothing_heavy():
    code = (
        "import sys; before = set(sys.modules); import airloom_plugins.plugin; "
        "new = set(sys.modules) - before; "
        "print([name for name in ('airloom_plugins.api', 'mlflow', 'pyarrow', 'torch', 'airflow.api_fastapi.core_api')"
        " if name in new])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
