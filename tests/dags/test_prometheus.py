"""The real Prometheus and Alertmanager: an alert fires, our route starts the monitor's run, the alert resolves."""

import json
import time

import httpx
import pytest
from served.small import listening, served, small
from services.prometheus import MISSING, WHY, watch

from airloom.monitoring import alerts
from airloom.settings import load

pytestmark = [pytest.mark.skipif(bool(MISSING), reason=WHY), pytest.mark.timeout(300)]


def until(true, seconds: float, said) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, said()
        time.sleep(0.3)


def test_an_alert_fires_starts_the_monitor_and_resolves(register, tmp_path, monkeypatch):
    from airflow.api_fastapi.app import create_app, purge_cached_app
    from airflow.models.dagrun import DagRun
    from airflow.sdk import DAG
    from airflow.utils.session import create_session
    from sqlalchemy import select

    for name, value in {"HOME": tmp_path / "home", "PROJECT": tmp_path, "SERVER_TOKEN": "of-the-server"}.items():
        monkeypatch.setenv(f"AIRLOOM_{name}", str(value))
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(tmp_path / "passwords.json"))
    (tmp_path / "passwords.json").write_text(json.dumps({"admin": "admin"}))
    settings = load()
    settings.make_home()
    settings.alerts_file.write_text("of-alertmanager")
    register(DAG("small_monitor", schedule=None, is_paused_upon_creation=False))

    def seen() -> list[tuple[str, str, str]]:
        told = alerts.seen(settings.database_address)
        return [(one.alert.name, one.alert.status, one.outcome) for one in told]

    purge_cached_app()
    with (
        served(small()) as server,
        listening(create_app("core")) as airflow,
        watch(tmp_path / "prometheus", server, "of-the-server", airflow, "of-alertmanager") as prometheus,
        httpx.Client(headers={"Authorization": "Bearer of-the-server"}) as client,
    ):

        def ask(instance: list) -> int:
            body = {"model": "small", "instances": [instance]}
            return client.post(f"{server}/predict", json=body).status_code

        assert ask(["a", 2, 3]) == 422
        firing = ("AirloomModelRefuses", "firing", "started")
        until(lambda: ask(["a", 2, 3]) == 422 and firing in seen(), 90, lambda: (seen(), prometheus.log()))
        with create_session() as session:
            (run,) = session.scalars(select(DagRun).where(DagRun.dag_id == "small_monitor"))
            assert (run.state, run.triggering_user_name) == ("queued", "alertmanager")
            assert run.conf["cause"].startswith("AirloomModelRefuses: small/1 refuses the inputs of ")
            assert run.conf["alerts"][0]["labels"]["model"] == "small"
        until(lambda: ask([1, 2, 3]) == 200 and not prometheus.firing(), 60, lambda: prometheus.firing())
        resolved = ("AirloomModelRefuses", "resolved", "started")
        until(lambda: seen() == [resolved], 60, lambda: (seen(), prometheus.log()))
    purge_cached_app()
    with create_session() as session:
        assert len(session.scalars(select(DagRun).where(DagRun.dag_id == "small_monitor")).all()) == 1
