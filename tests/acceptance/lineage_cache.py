"""What an outsider tries on cache and collection: `lineage_cache.py ACTION`, in the project's folder."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from airloom.datasets.commit import commit
from airloom.demo import rounds
from airloom.demo.digits import load_digits
from airloom.demo.view import Lines
from airloom.jobs.table import Attempts
from airloom.settings import Settings, load
from airloom.stack.airflow_api import AirflowApi
from airloom.tracking import runs

MODEL = """
from airloom.training import fit
import torch
from helpers.outer import lr

def train(run):
    open("undeclared.txt").close()
    images, labels = run.tensors("train")
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, run.params["width"]), torch.nn.ReLU(),
                                torch.nn.Linear(run.params["width"], 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr(run))
    fit(run, model, loss=torch.nn.functional.cross_entropy, optimizer=optimizer, data=(images, labels))
    run.save_model(model)
"""
FILES = {
    "trained.py": MODEL,
    "helpers/__init__.py": "",
    "helpers/outer.py": "from helpers import inner\n\ndef lr(run):\n    return inner.factor() * run.params['lr']\n",
    "helpers/inner.py": "def factor():\n    return 1\n",
    "undeclared.txt": "1",
    "declared.txt": "1",
}


def table(settings: Settings) -> None:
    """Change one thing, run the whole pipeline, print what the cache says of it."""
    os.environ["AIRLOOM_PROJECT"] = str(project := _project(settings))
    shutil.copytree(settings.project / "configs" / "expectations", project / "configs" / "expectations")
    for name in ("README.md", "constraints.txt"):
        shutil.copy(settings.project / name, project)
    for name, text in FILES.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text)
    digits, settings = load_digits(), load()
    commit(settings, "digits", digits.first, message="first", tags=["source=scan"])
    pipeline = _pipeline(settings)
    said = _run("the first run", pipeline, whole=True)
    print("; ".join(line for line in said if "undeclared.txt is read by path" in line)[:200])
    _run("nothing changed", pipeline)
    for name, text in (
        ("helpers/inner.py", "def factor():\n    return 2\n"),
        ("README.md", "anew"),
        ("declared.txt", "2"),
    ):
        kept = (project / name).read_text()
        (project / name).write_text(text)
        _run(name, pipeline)
        (project / name).write_text(kept)
    lock = project / "constraints.txt"
    kept = lock.read_text()
    lock.write_text(kept.replace("numpy==", "numpy==9."))
    _run("the lock", pipeline)
    lock.write_text(kept)
    _run("a parameter", _pipeline(settings, parameters={"epochs": 2, "batch_size": 64, "lr": 0.02}))
    _run("a tag filter", _pipeline(settings, dataset={"name": "digits", "tags": ["source=scan"]}))
    commit(settings, "digits", digits.second.slice(0, 1), message="one row")
    _run("one row", _pipeline(settings))
    _run("--no-cache", pipeline, "--no-cache", "--version", "1")


def collected(settings: Settings) -> None:
    """After the table: the model files of the first run are gone."""
    os.environ["AIRLOOM_PROJECT"] = str(_project(settings))
    pipeline, client = _pipeline(load()), runs.client(settings)
    for version in client.search_model_versions("name = 'cached'"):
        uri = version.tags["airloom.model_uri"].rpartition("/")[2]
        for folder in (settings.home / "mlflow").glob(f"**/models/{uri}"):
            shutil.rmtree(folder)
    shutil.rmtree(settings.home / "cache", ignore_errors=True)
    for alias in ("champion", "previous"):
        client.delete_registered_model_alias("cached", alias)
    _run("the model was collected", pipeline, "--version", "1")


def again(settings: Settings) -> tuple[str, str]:
    """Run version 2 of the demo again in Airflow: its run, and the MLflow run of its training."""
    with AirflowApi(settings) as api:
        run = api.trigger("digits", {"dataset_version": 2})
        tasks = rounds.wait(api, "digits", run, "again", Lines())
        for name in ("tune[0]", "train", "evaluate"):
            index = 0 if name.startswith("tune") else -1
            log = api.log("digits", run, name.partition("[")[0], 1, index).splitlines()
            line = next((line for line in log if "HIT: " in line or "MISS: " in line), "no verdict")
            print(f"{name} {tasks[name]['state']}: {re.sub('^.*?(?=HIT: |MISS: )', '', line)}")
        links = api._request("GET", f"/api/v2/dags/digits/dagRuns/{run}/taskInstances/train/links")["extra_links"]
        model = api.xcom("digits", run, "train")["model"]
        print(f"the link leads to the run that trained: {model['mlflow_run'] in links['MLflow run']}")
        print(f"jobs: {', '.join(_jobs(settings, run))}")
        note = (api.dag_run_or_none("digits", run) or {})["note"]
        rest = ", ".join(f"{name} {tasks[name]['state']}" for name in ("evaluate", "gate", "register", "deploy"))
        print(f"then: {rest}; note: {note}")
    return run, model["mlflow_run"]


def airflow(settings: Settings) -> None:
    """Run version 2 of the demo again in Airflow; then clear its training."""
    run, trained = again(settings)
    with AirflowApi(settings) as api:
        api.clear("digits", run, "train")
        time.sleep(2)
        rounds.wait(api, "digits", run, "cleared", Lines())
        anew = api.xcom("digits", run, "train")["model"]
        jobs = ", ".join(_jobs(settings, run))
        print(f"cleared: trained anew: {anew['mlflow_run'] != trained}, jobs: {jobs}")


def kept(settings: Settings) -> None:
    """After a collection with a retention of a second: the champion serves, every version verifies."""
    from airloom.demo.traffic import Traffic

    traffic = Traffic(settings, "digits", load_digits().instances)
    print(f"serves version {traffic.ask()['version']}, {len(traffic.failures)} failed")
    for name in ("digits@v1", "digits@v2"):
        print(_airloom("dataset", "verify", name).stdout.strip())
    print(_airloom("trace", traffic.last_id).stdout.splitlines()[1])
    left = _airloom("gc", "--dry-run", "--older-than", "1s", "--grace", "1s", "--json")
    items = json.loads(left.stdout)["items"]
    print(f"{sum(item['removed'] for item in items if item['kind'] in ('model', 'shard'))} more would go")


def _project(settings: Settings) -> Path:
    """Beside the state folder: what lies in it is none of a project's files."""
    return settings.home.with_name(f"{settings.home.name}-project")


def _jobs(settings: Settings, run: str) -> list[str]:
    keys = {attempt.key for attempt in Attempts(settings.database_address).recent() if run in attempt.key}
    return sorted(key.rpartition("/")[2] for key in keys)


def _pipeline(settings: Settings, **changes: object) -> Path:
    values = {
        "pipeline": "cached",
        "dataset": {"name": "digits"},
        "train": "trained.py:train",
        "inputs": ["declared.txt"],
        "parameters": {"epochs": 2, "batch_size": 64, "lr": 0.01},
        "tune": {"trials": 1, "objective": {"metric": "validation_accuracy"}, "space": {"width": {"int": [16, 16]}}},
        "gate": {
            "at_least": {"accuracy": 0.05},
            "first_model": "minimums",
            "against_champion": {"non_inferior_by": 0.9},
        },
        "deploy": {"steps": ["champion"]},
    }
    file = settings.home / "cached.yaml"
    file.write_text(yaml.safe_dump(values | changes))
    return file


def _run(what: str, file: Path, *options: str, whole: bool = False) -> list[str]:
    """Print what the cache says; the run goes on to its end only where it is to be taken from later."""
    command, lines, said = [sys.executable, "-m", "airloom", "run", str(file), *options], list[str](), set[str]()
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as run:
        for line in run.stderr or ():
            lines.append(line.rstrip())
            verdict = re.match(r"(tune|train): (HIT|MISS): ", line)
            if verdict and verdict[1] not in said:
                said.add(verdict[1])
                print(f"{what}: {lines[-1]}", flush=True)
                if not whole and (verdict[2] == "MISS" or verdict[1] == "train"):
                    run.send_signal(signal.SIGINT)
    assert run.returncode == 0 or not whole, lines[-20:]
    return lines


def _airloom(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "airloom", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    steps: tuple[Callable[[Settings], object], ...] = (table, collected, again, airflow, kept)
    actions = {step.__name__: step for step in steps}
    actions[sys.argv[1]](load())
