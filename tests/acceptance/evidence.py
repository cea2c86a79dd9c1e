"""What `evidence.yaml` tries with models: `evidence.py ACTION`, in the project's folder. Each prints what it saw."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import yaml

from airloom.datasets.commit import commit
from airloom.demo.digits import load_digits
from airloom.demo.traffic import Traffic
from airloom.registry import models
from airloom.settings import Settings, load
from airloom.stack.airflow_api import AirflowApi
from airloom.tracking import artifacts, runs

SEEDS = 20
STRANGER = """
import sys
import mlflow, numpy as np
from importlib.metadata import distributions
names = {one.metadata["Name"].lower() for one in distributions()}
assert "airloom" not in names and "apache-airflow" not in names, names
model = mlflow.pyfunc.load_model(sys.argv[1])
for size in (1, 7, 300):
    rows = np.load(f"{sys.argv[2]}/rows-{size}.npy")
    np.save(f"{sys.argv[2]}/answers-{size}.npy", np.asarray(model.predict(rows)))
print(f"{len(names)} packages, no airloom")
"""


def kept(settings: Settings) -> None:
    """What the demo's evaluation and gate left, read by plain MLflow."""
    client = runs.client(settings)
    champion = client.get_model_version_by_alias("digits", "champion")
    run = client.get_run(champion.tags["airloom.run"])
    print("evaluation:", ", ".join(sorted(file.path for file in client.list_artifacts(run.info.run_id, "evaluation"))))
    print("gate:", ", ".join(file.path for file in client.list_artifacts(run.info.run_id, "gate")))
    print("slices:", ", ".join(sorted(name for name in run.data.metrics if "slice" in name and "accuracy" in name)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(client.download_artifacts(run.info.run_id, "gate/evidence.json", folder))
        evidence = json.loads(path.read_text())
        page = Path(client.download_artifacts(run.info.run_id, "gate/evidence.html", folder)).read_text()
    comparison = evidence["comparison"]
    print(f"evidence: alpha {comparison['alpha']:.4f}, power {comparison['power']:.3f}, tries {evidence['tries']}")
    print(f"page: {page.count('data:image/png')} pictures, {len(page)} bytes, nothing from elsewhere")
    assert "://" not in page  # which no base64 can hold
    for one in client.get_run(champion.run_id).inputs.dataset_inputs:
        print(f"trained on {one.dataset.name} ({one.dataset.source_type}): {one.dataset.source}")
    train = [f.path for f in client.list_artifacts(champion.run_id, "source")]
    train += [f.path for f in client.list_artifacts(champion.run_id, "environment")]
    print("of its training:", ", ".join(train))


def tries(settings: Settings) -> None:
    """Twenty candidates that differ by their seed only, each through the whole pipeline in processes of its own."""
    commit(settings, "digits", load_digits().second, message="all digits", source="acceptance")
    values = yaml.safe_load((settings.project / "configs" / "pipelines" / "digits.yaml").read_text())
    for name in list(values["tune"]["space"]):
        del values["tune"]["space"][name]
    values["tune"] |= {"trials": 1, "workers": 1, "epochs": 1, "space": {"lr": {"float": [0.01, 0.0101]}}}
    values["parameters"] |= {"epochs": 3, "width": 16}
    shown = []
    for seed in range(SEEDS):
        file = settings.home / f"seed-{seed}.yaml"
        file.write_text(yaml.safe_dump(values | {"seed": seed}))
        result = json.loads(_airloom("run", str(file), "--json"))
        client = runs.client(settings)
        with tempfile.TemporaryDirectory() as folder:
            path = client.download_artifacts(result["context"]["mlflow_run"], "gate/evidence.json", folder)
            spent = json.loads(Path(path).read_text())["tries"]
        shown.append(spent["first"])
        passed = "promoted" if "registered" in result else "refused"
        print(f"seed {seed}: try {spent['first']}, alpha {spent['alpha']:.5f} of {spent['of']}, {passed}", flush=True)
    assert shown == list(range(1, SEEDS + 1)), shown
    print(f"tries 1 to {SEEDS}: all counted")


def candidates(settings: Settings) -> None:
    """Two training functions in one pipeline: both tuned, trained, ranked; the better one is gated, both are tries."""
    values = yaml.safe_load((settings.project / "configs" / "pipelines" / "digits.yaml").read_text())
    del values["train"], values["parameters"]["permute_labels"]
    values |= {"pipeline": "pair"}
    values["tune"] |= {"trials": 2, "epochs": 2}
    own = {"space": values["tune"].pop("space"), "train": "examples/digits/model.py:train"}
    other = {"space": {"depth": {"int": [1, 2]}}, "train": "examples/digits/mlp.py:train"}
    values["candidates"] = {"cnn": own, "mlp": other}
    file = settings.home / "pair.yaml"
    file.write_text(yaml.safe_dump(values))
    keys = []
    for _ in range(2):
        done = _airloom("run", str(file), "--json", "--no-cache")  # else the second one would be no new try
        result = json.loads(done)
        keys.append(result["context"]["key"])
        print("\n".join(result["gate"]["reasons"]))
    print(_airloom("experiment", "show", keys[0]))
    print(_airloom("experiment", "compare", *keys))


def _airloom(*arguments: str) -> str:
    command = [sys.executable, "-m", "airloom", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def stranger(settings: Settings) -> None:
    """A new environment with mlflow, torch and onnxruntime only: pyfunc gives what the server gives."""
    client = runs.client(settings)
    champion = client.get_model_version_by_alias("digits", "champion")
    with tempfile.TemporaryDirectory(prefix="stranger ") as name:
        folder = Path(name)
        python = folder / "venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        wanted = ["mlflow==3.17.2", "torch==2.13.0", "onnxruntime==1.32.0"]
        constraints = str(settings.project / "constraints.txt")
        install = [str(python), "-m", "pip", "install", "--quiet", "--constraint", constraints, *wanted]
        subprocess.run(install, check=True)
        model = folder / "model"
        import mlflow

        mlflow.artifacts.download_artifacts(artifact_uri=models.uri_of(champion), dst_path=str(model))
        images = np.asarray(load_digits().instances, np.float32)
        for size in (1, 7, 300):
            np.save(folder / f"rows-{size}.npy", np.resize(images, (size, *images.shape[1:])))
        # No network: a namespace of its own where the machine allows it, else a proxy that is not there.
        away = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "HOME": str(folder)}
        environment = {"PATH": os.defpath, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", **away}
        command = [str(python), "-c", STRANGER, str(model), str(folder)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        print(done.stdout.strip())
        _models_serve(python, model, folder, environment)
        served = _served_scores(settings, champion)
        for size in (1, 7, 300):
            rows, answers = np.load(folder / f"rows-{size}.npy"), np.load(folder / f"answers-{size}.npy")
            difference = float(np.abs(answers - served(rows)).max())
            assert difference <= 1e-5, difference
            print(f"batch of {size}: differs by {difference:.1e}")
        _same_classes(settings, images, np.load(folder / "answers-7.npy"))


def _models_serve(python: Path, model: Path, folder: Path, environment: dict[str, str]) -> None:
    """`mlflow models serve` of the same files, in the stranger's environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(python), "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    paths = environment | {"PATH": f"{python.parent}{os.pathsep}{os.defpath}"}
    with (folder / "serve.txt").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=paths, stdout=log, stderr=log, start_new_session=True)
        try:
            rows = np.load(folder / "rows-7.npy")
            answer = _asked(f"http://127.0.0.1:{port}/invocations", {"inputs": rows.tolist()})
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=30)
    difference = float(np.abs(np.asarray(answer["predictions"]) - np.load(folder / "answers-7.npy")).max())
    assert difference <= 1e-5, difference
    print(f"mlflow models serve: differs by {difference:.1e}")


def _asked(address: str, body: dict[str, Any]) -> dict[str, Any]:
    end = time.monotonic() + 120
    while True:
        try:
            answer = httpx.post(address, json=body, timeout=30, trust_env=False)
            assert answer.status_code == 200, answer.text[:500]
            return dict(answer.json())
        except httpx.ConnectError:
            assert time.monotonic() < end, "mlflow models serve does not answer"
            time.sleep(0.5)


def _served_scores(settings: Settings, version: Any) -> Callable[[Any], Any]:
    """What the server's own code answers for the files in the server's cache."""
    from airloom.inference.model import LoadedModel

    uri, digests = models.uri_of(version), models.digests_of(version)
    folder = settings.home / "cache" / "served" / uri.rpartition("/")[2]
    model = LoadedModel.load("digits", str(version.version), folder, digests)
    (taken,), (given,) = model.graph.inputs, model.graph.outputs
    return lambda images: model.outputs({taken.name: images})[given.name]


def _same_classes(settings: Settings, images: Any, answers: Any) -> None:
    headers = {"Authorization": f"Bearer {settings.model_token}"}
    body = {"model": "digits", "instances": images[:7].tolist()}
    reply = httpx.post(f"{settings.model_server}/predict", headers=headers, json=body, timeout=30).json()
    assert reply["predictions"] == answers.argmax(axis=1).tolist()
    print("the running server answers with the same classes")


def flipped(settings: Settings) -> None:
    """A flipped byte in the server's cache, then in the store: refused by name, and the old version goes on serving."""
    client = runs.client(settings)
    champion = str(client.get_model_version_by_alias("digits", "champion").version)
    other = "1" if champion != "1" else "2"
    version = models.get_version(settings, "digits", other)
    store = settings.home / "mlflow"
    (file,) = store.glob(f"**/{models.uri_of(version).rpartition('/')[2]}/artifacts/**/model.onnx")
    whole = file.read_bytes()
    cache = settings.home / "cache" / "served" / models.uri_of(version).rpartition("/")[2] / artifacts.ONNX
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    if cache.exists():
        cache.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    traffic = Traffic(settings, "digits", load_digits().instances)
    try:
        client.set_registered_model_alias("digits", "champion", other)
        end, errors = time.monotonic() + 60, {}
        while "digits" not in errors and time.monotonic() < end:
            time.sleep(0.3)
            errors = _status(settings)["errors"]
        print(f"refused: {errors['digits']}")
        assert traffic.ask()["version"] == champion
        print(f"version {champion} goes on serving")
    finally:
        file.write_bytes(whole)
        client.set_registered_model_alias("digits", "champion", champion)


def _status(settings: Settings) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {settings.model_token}"}
    return dict(httpx.get(f"{settings.model_server}/status", headers=headers, timeout=10).json())


def at_once(settings: Settings) -> None:
    """Promotions of two versions at the same moment: one wins, the other is told or comes after it."""
    for _ in range(5):
        commands = [[sys.executable, "-m", "airloom", "model", "promote", f"digits/{n}"] for n in (1, 2)]
        both = [subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for c in commands]
        ends = [process.communicate(timeout=120) for process in both]
        codes = [process.returncode for process in both]
        assert 0 in codes, ends
        lost = [error for (_, error), code in zip(ends, codes, strict=True) if code]
        assert all("was faster" in error and "Traceback" not in error for error in lost), lost
        model = runs.client(settings).get_registered_model("digits")
        record = json.loads(model.tags["airloom.deployment"])
        assert str(model.aliases["champion"]) == record["champion"], (model.aliases, record)
        print(f"generation {record['generation']}: version {record['champion']}, {len(lost)} told to look again")


def overridden(settings: Settings) -> None:
    """A refused candidate waits in Airflow for a person; who approves needs a reason, and both are recorded."""
    values = yaml.safe_load((settings.project / "configs" / "pipelines" / "digits.yaml").read_text())
    values |= {"pipeline": "asking"}
    values["gate"] |= {"at_least": {"accuracy": 1.0}, "override": "ask"}
    values["tune"] |= {"trials": 1, "workers": 1, "epochs": 1}
    (settings.project / "configs" / "pipelines" / "asking.yaml").write_text(yaml.safe_dump(values))
    with AirflowApi(settings) as api:
        run = _started(api)
        _wait(lambda: _state(api, run, "override") == "awaiting_input", 400)
        print("the refused candidate waits for a person")
        time.sleep(3)  # an answer in the same second meets a known race in Airflow 3.3
        answer = {"chosen_options": ["Approve"], "params_input": {"reason": "the old champion leaks labels"}}
        api._request("PATCH", f"/api/v2/dags/asking/dagRuns/{run}/taskInstances/override/-1/hitlDetails", json=answer)
        _wait(lambda: _state(api, run, "deploy") == "success", 200)
    version = runs.client(settings).get_model_version_by_alias("asking", "champion")
    print(f"version {version.version} is the champion: {version.tags['airloom.override']}")
    print(version.description.splitlines()[-1])


def _started(api: AirflowApi) -> str:
    from airloom.errors import StackError

    end = time.monotonic() + 120
    while True:
        try:
            api._request("PATCH", "/api/v2/dags/asking", json={"is_paused": False})
            return api.trigger("asking", {})
        except StackError:  # the scheduler has not seen the file yet
            if time.monotonic() > end:
                raise
            time.sleep(2)


def _state(api: AirflowApi, run: str, task: str) -> str:
    found = {one["task_id"]: one["state"] for one in api.tasks("asking", run)}
    assert "failed" not in found.values(), found
    return str(found.get(task))


def _wait(done: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(1)


ACTIONS = {f.__name__: f for f in (kept, tries, candidates, stranger, flipped, at_once, overridden)}

if __name__ == "__main__":
    ACTIONS[sys.argv[1]](load())
