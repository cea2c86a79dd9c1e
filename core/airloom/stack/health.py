"""Health checks: what each part of the stack says of itself."""

import httpx

from airloom.settings import Settings

AIRFLOW_PARTS = {
    "metadatabase": "airflow-api",
    "scheduler": "airflow-scheduler",
    "triggerer": "airflow-triggerer",
    "dag_processor": "airflow-dag-processor",
}


def check(settings: Settings) -> dict[str, str]:
    """Problem by process name; an empty text means healthy."""
    stack = settings.stack
    problems = {name: "no address: never started here" for name in ("mlflow", "model-server", *AIRFLOW_PARTS.values())}
    if not stack:
        return problems
    with httpx.Client(timeout=5, trust_env=False) as client:
        problems["mlflow"] = _answers(client, f"{stack['mlflow_url']}/health")
        token = {"Authorization": f"Bearer {stack.get('server_token', '')}"}  # to it the server says what is not ready
        problems["model-server"] = _answers(client, f"{stack['server_url']}/readyz", token)
        problems |= _airflow(client, str(stack["airflow_url"]))
    return problems


def _answers(client: httpx.Client, url: str, headers: dict[str, str] | None = None) -> str:
    try:
        answer = client.get(url, headers=headers)
    except httpx.HTTPError as error:
        return f"{url} does not answer ({type(error).__name__})"
    return "" if answer.status_code == 200 else f"{url} answers {answer.status_code} {answer.text[:200]}".strip()


def _airflow(client: httpx.Client, url: str) -> dict[str, str]:
    try:
        # The execution API is built on first use; asking here keeps that out of the first task.
        client.get(f"{url}/execution/health", timeout=30)
        body = client.get(f"{url}/api/v2/monitor/health").json()
        reported = {part: str((body.get(part) or {}).get("status")) for part in AIRFLOW_PARTS}
    except (httpx.HTTPError, ValueError) as error:
        return dict.fromkeys(AIRFLOW_PARTS.values(), f"{url} does not answer ({type(error).__name__})")
    return {AIRFLOW_PARTS[p]: "" if status == "healthy" else f"reports {status}" for p, status in reported.items()}
