"""What somebody tries who reaches MLflow on a running stack: `trust_registry.py ACTION`, in the project's folder."""

import json
import os
import subprocess
import sys
import time

import httpx

from airloom.demo.digits import load_digits
from airloom.settings import Settings, load
from airloom.tracking import runs
from airloom.tracking.tags import Tag

ROUTES = ("/", "/version", "/api/2.0/mlflow/experiments/search", "/ajax-api/2.0/mlflow/runs/search", "/graphql")


def stranger(settings: Settings) -> None:
    """Without the login nothing of MLflow answers; with what `airloom env` prints, MLflow's own command does."""
    url = settings.stack["mlflow_url"]
    print("without:", {httpx.get(f"{url}{route}", trust_env=False).status_code for route in ROUTES})
    print("health:", httpx.get(f"{url}/health", trust_env=False).status_code)
    command = [sys.executable, "-m", "mlflow", "experiments", "search"]
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    refused = subprocess.run(
        command, env=bare | {"MLFLOW_TRACKING_URI": url}, capture_output=True, text=True, check=False
    )
    print("plain command:", "MLflow wants a login" in refused.stderr, refused.returncode)
    exports = json.loads(_airloom("env", "--json").stdout)
    done = subprocess.run(command, env=bare | exports, capture_output=True, text=True, check=True)
    print("with airloom env:", "airloom/digits" in done.stdout)


def forger(settings: Settings) -> None:
    """Who has the login registers a version with digests that fit its files, and moves the alias to it by hand."""
    client = runs.client(settings)
    serving = client.get_model_version_by_alias("digits", "champion")
    # The files of the champion's stay; what is forged is what the version says of itself.
    tags, uri = dict(serving.tags) | {Tag.DATASET: "digits@v99"}, serving.tags[Tag.MODEL_URI]
    model = uri.rpartition("/")[2]
    forged = client.create_model_version("digits", uri, serving.run_id, tags, model_id=model)
    try:
        for command in ("show", "promote"):
            done = _airloom("model", command, f"digits/{forged.version}")
            print(f"{command}:", done.returncode, done.stderr.strip().splitlines()[0])
        client.set_registered_model_alias("digits", "champion", forged.version)
        until = time.monotonic() + 60
        while "changed" not in (error := _server(settings).get("/status").json()["errors"].get("digits", "")):
            assert time.monotonic() < until, "the server says nothing of it"
            time.sleep(0.3)
        print("server:", error.splitlines()[0])
        body = {"model": "digits", "instances": load_digits().instances[:1]}
        answer = _server(settings).post("/predict", json=body).json()
        print("it answers with the version before:", answer["version"] == str(serving.version))
    finally:
        client.set_registered_model_alias("digits", "champion", serving.version)
        client.delete_model_version("digits", forged.version)


def _airloom(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "airloom", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _server(settings: Settings) -> httpx.Client:
    headers = {"Authorization": f"Bearer {settings.model_token}"}
    return httpx.Client(base_url=settings.model_server, headers=headers, trust_env=False, timeout=20)


if __name__ == "__main__":
    {"stranger": stranger, "forger": forger}[sys.argv[1]](load())
