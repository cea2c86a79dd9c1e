"""The API on a started stack: with Airflow's login, and with the token of alerts that `airloom up` made."""

import httpx
import pytest

from airloom.stack.airflow_api import AirflowApi

pytestmark = [pytest.mark.system, pytest.mark.timeout(300, func_only=True)]
PREFIX = "/airloom/api/v1"
LABEL = {"id": "01a20b76-0146-7c3e-9d2f-5b1c8e4fa0aa", "label": 7}


def test_metrics_labels_and_audit_with_the_stacks_login(airloom) -> None:
    settings = airloom.settings
    url = f"{settings.stack['airflow_url']}{PREFIX}"
    assert httpx.get(f"{url}/metrics/digits").status_code == 401
    with AirflowApi(settings) as api:
        counted = {row["version"] for row in airloom.json("metrics", "digits")}
        assert counted <= {row["version"] for row in api._request("GET", f"{PREFIX}/metrics/digits")["rows"]}
        assert counted
        added = api._request("POST", f"{PREFIX}/labels", json={"labels": [LABEL], "source": "clinic"})
        assert added["unknown_ids"] == [LABEL["id"]]
        assert api._request("GET", f"{PREFIX}/labels/digits")["versions"]
        row = api._request("GET", f"{PREFIX}/audit")["rows"][0]
        assert (row["who"], row["action"], row["outcome"]) == ("admin", "add labels", "done")


def test_an_alert_with_the_token_that_up_made(airloom) -> None:
    settings = airloom.settings
    assert settings.alerts_file.stat().st_mode & 0o777 == 0o600
    alert = {"status": "firing", "labels": {"alertname": "Mine", "pipeline": "nothing"}}
    alert |= {"startsAt": "2026-11-30T14:00:00Z"}
    url = f"{settings.stack['airflow_url']}{PREFIX}/alerts"
    header = {"Authorization": f"Bearer {settings.token_of_alerts}"}
    took = httpx.post(url, json={"version": "4", "alerts": [alert]}, headers=header, timeout=60)
    assert (took.status_code, took.json()["refused"]) == (200, {"Mine": "there is no DAG nothing_monitor"})
    assert httpx.get(url, headers=header).status_code == 401
