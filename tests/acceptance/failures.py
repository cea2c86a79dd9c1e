"""Things that go wrong on a running stack: `failures.py ACTION`, in the project's folder.

Each must end in a message that says what and what next, and a retry must continue. Candidates are trained on permuted
labels, so that the gate refuses them and what serves stays as it is.
"""

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import yaml

from airloom.demo import rounds
from airloom.demo.view import Lines
from airloom.errors import JobFailed, StackError
from airloom.settings import Settings, load
from airloom.stack import config, control
from airloom.stack.airflow_api import AirflowApi
from airloom.tracking import runs
from airloom.tuning.slots import Slots

LIMIT = 120  # seconds to wait for anything
WORKS = ("running", "deferred")  # states of a task whose job is at work


def missing_dataset(settings: Settings) -> None:
    """A pipeline on a dataset that is not there, and a DAG run on a version that is not there."""
    values = yaml.safe_load((settings.project / "configs" / "pipelines" / "digits.yaml").read_text())
    values["dataset"]["name"] = "digit"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "digit.yaml"
        file.write_text(yaml.safe_dump(values))
        done = _airloom("run", str(file))
    assert done.returncode == 1, done
    print("airloom run:", done.stderr.strip())
    with AirflowApi(settings) as api:
        run = api.trigger("digits", {"dataset_version": 99})
        try:
            rounds.wait(api, "digits", run, "version 99", Lines())
        except JobFailed as error:
            print("Airflow:", error)


def raising(settings: Settings) -> None:
    """A training function that raises fails its task; mended, the retry continues in the same MLflow run."""
    source = settings.project / "examples" / "digits" / "model.py"
    good = source.read_text()
    with AirflowApi(settings) as api:
        try:
            source.write_text(f"{good}\n\ndef train(run):\n    raise ValueError('the learning rate is a teapot')\n")
            run = _trigger(api, epochs=2)
            _until(lambda: _attempts(api, run, "tune") > 1, "the task tune has a second attempt")
        finally:
            source.write_text(good)
        _print_failure(api, run, "tune", "raised ValueError: the learning rate is a teapot")
        _print_end(settings, api, run)


def mlflow_dead(settings: Settings) -> None:
    """MLflow killed once is waited for; kept dead during a training it fails the task, and the retry continues."""
    with AirflowApi(settings) as api:
        run = _trigger(api, epochs=60)
        _until(lambda: _state(api, run, "tune") in WORKS, "the task tune runs")
        _kill_mlflow(settings)
        control.wait_healthy(settings, print, LIMIT)
        _until(lambda: _epochs_logged(settings, api, run) > 3, "the training has logged three epochs")
        end = time.monotonic() + LIMIT
        while _state(api, run, "train") in WORKS:
            assert time.monotonic() < end, f"train still runs after {LIMIT} s without MLflow"
            _kill_mlflow(settings)
            time.sleep(1)
        control.wait_healthy(settings, print, LIMIT)
        _print_failure(api, run, "train", "MLflow did not take")
        tasks = _print_end(settings, api, run)
        print(f"tune tried {tasks['tune[0]']['try_number']}, train tried {tasks['train']['try_number']}")
        print(f"{len(_children(settings, api, run))} training run in MLflow")


def full_pool(settings: Settings) -> None:
    """The DAG written by hand, in a pool of one slot: the second tuning worker waits, and later runs."""
    name, dag = "digits_by_hand.py", "digits_by_hand"
    if not (settings.project / "dags" / name).exists():
        shutil.copy(settings.project / "docs" / "how-to" / name, settings.project / "dags")
    with AirflowApi(settings) as api:
        _until(lambda: _known(api, dag), f"Airflow knows {dag}")
        slots = next(pool["slots"] for pool in api.pools() if pool["name"] == "default_pool")
        api.resize_pool("default_pool", 1)
        file, trials = settings.project / "configs" / "pipelines" / "digits.yaml", 8
        try:
            with _another(file, trials):  # than the demo's, whose study would be taken without waiting for a slot
                run = api.trigger(dag, {})
                _until(lambda: "is full" in _airloom("status").stdout, "`airloom status` says that the pool is full")
                print(_airloom("status").stdout)
                with _another(file, 99, {"accuracy": 1.0}):  # whose gate nothing passes
                    tasks = rounds.wait(api, dag, run, "by hand", Lines())
        finally:
            api.resize_pool("default_pool", slots)
    finished = Slots(settings.database_address).tally(f"{dag}/{run}@digits").trials
    print(
        f"{finished} of the {trials} trials that the file asked for when `resolve` read it; it asked for 99 afterwards"
    )
    print("; ".join(f"{name} {task['state']}" for name, task in tasks.items()))


@contextlib.contextmanager
def _another(file: Path, trials: int, at_least: dict[str, float] | None = None) -> Iterator[None]:
    """Another definition in the pipeline file."""
    text = file.read_text()
    values = yaml.safe_load(text)
    values["tune"]["trials"], values["gate"]["at_least"] = trials, at_least or values["gate"]["at_least"]
    file.write_text(yaml.safe_dump(values))
    try:
        yield
    finally:
        file.write_text(text)


def interrupted(settings: Settings) -> None:
    """Ctrl-C, twice, while the demo trains: a process group as a terminal has it."""
    command = [sys.executable, "-m", "airloom", "demo"]
    demo = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert demo.stderr
    assert any("train running" in line for line in demo.stderr), "the demo ended before it trained"
    for _ in range(2):
        demo.send_signal(signal.SIGINT)
        time.sleep(0.5)
    print(demo.stderr.read())
    assert demo.wait(LIMIT) == 1, f"the demo ended with {demo.returncode}"
    print(f"{len(control.strays(settings))} processes left")


def _trigger(api: AirflowApi, **parameters: Any) -> str:
    return api.trigger("digits", {"parameters": {"permute_labels": True, **parameters}})


def _attempts(api: AirflowApi, run: str, task: str) -> int:
    return max(t["try_number"] for t in api.tasks("digits", run) if t["task_id"] == task)


def _state(api: AirflowApi, run: str, task: str) -> str:
    return next((t["state"] or "" for t in api.tasks("digits", run) if t["task_id"] == task), "")


def _known(api: AirflowApi, dag: str) -> bool:
    with contextlib.suppress(StackError):
        return bool(api._request("GET", f"/api/v2/dags/{dag}"))
    return False


def _print_failure(api: AirflowApi, run: str, task: str, text: str) -> None:
    """Of a mapped task the one that is tried again; another may still be at its first attempt."""
    tried = (t for t in api.tasks("digits", run) if t["task_id"] == task)
    index = max(tried, key=lambda t: t["try_number"])["map_index"]
    lines = api.log("digits", run, task, 1, index).splitlines()
    print(f"log of {task}:", next((line for line in lines if text in line), f"nothing about {text!r}: {lines[-20:]}"))


def _print_end(settings: Settings, api: AirflowApi, run: str) -> dict[str, dict[str, Any]]:
    tasks = rounds.wait(api, "digits", run, "retried", Lines())
    client, parent = runs.client(settings), api.xcom("digits", run, "resolve")["mlflow_run"]
    experiment = client.get_run(parent).info.experiment_id
    same = client.search_runs([experiment], f"tags.`airloom.key` = 'digits/{run}'")
    assert [found.info.run_id for found in same] == [parent]
    print(f"the retry continued: gate {tasks['gate']['state']}, in the same MLflow run")
    return tasks


def _children(settings: Settings, api: AirflowApi, run: str) -> list[Any]:
    with contextlib.suppress(StackError):  # resolve has not ended yet
        parent = api.xcom("digits", run, "resolve")["mlflow_run"]
        client = runs.client(settings)
        query = f"tags.`mlflow.parentRunId` = '{parent}' and tags.`airloom.kind` = 'train'"
        return list(client.search_runs([client.get_run(parent).info.experiment_id], query))
    return []


def _epochs_logged(settings: Settings, api: AirflowApi, run: str) -> int:
    client = runs.client(settings)
    counts = [len(client.get_metric_history(c.info.run_id, "train_loss")) for c in _children(settings, api, run)]
    return max(counts, default=0)


def _kill_mlflow(settings: Settings) -> None:
    for process in control.strays(settings):
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            if process.environ().get(config.NAME) == "mlflow":
                process.kill()


def _airloom(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "airloom", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)


def _until(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LIMIT
    while not done():
        assert time.monotonic() < end, f"not so after {LIMIT} s: {what}"
        time.sleep(0.3)


if __name__ == "__main__":
    actions = {f.__name__.replace("_", "-"): f for f in (missing_dataset, raising, mlflow_dead, full_pool, interrupted)}
    actions[sys.argv[1]](load())
