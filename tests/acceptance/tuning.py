"""What `tuning.yaml` tries: `tuning.py ACTION`, in the project's folder, on the demo's digits; prints what it saw."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

from airloom.settings import Settings, load
from airloom.tracking import runs

FOLDER = Path("data/tuning")
BASE: dict[str, Any] = {
    "dataset": {"name": "digits"},
    "train": "tests/acceptance/tuning_model.py:curve",
    "rehearse": False,  # they save no model
    "resources": {"time": "2m"},
    "gate": {"at_least": {"accuracy": 0.5}, "against_champion": {"non_inferior_by": 0.1}},
}
SPACE = {"x": {"float": [0, 1]}, "y": {"float": [0, 1]}}
TUNE: dict[str, Any] = {"trials": 6, "objective": {"metric": "score"}, "space": SPACE, "pruner": "none"}


def write(name: str, function: str = "curve", parameters: dict[str, Any] | None = None, **tune: Any) -> Path:
    """A pipeline file `data/tuning/<name>.yaml`; None takes a key out."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    section = {key: value for key, value in (TUNE | tune).items() if value is not None}
    pipeline = section.pop("pipeline", name)
    values = {**BASE, "pipeline": pipeline, "train": f"tests/acceptance/tuning_model.py:{function}", "tune": section}
    values["parameters"] = parameters or {}
    path = FOLDER / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def files(_: Settings) -> None:
    """The pipeline files that the rows of tuning.yaml name."""
    two = {"objective": None, "objectives": [{"metric": "accuracy"}, {"metric": "latency_ms", "direction": "minimize"}]}
    within = {"pick": {"best": "accuracy", "where": {"latency_ms": {"at_most": 5}}}}
    conditional = {"x": {"float": [0, 1]}, "y": {"value": 0.6}, "z": {"int": [0, 9], "when": {"w": "on"}}}
    made = [
        write("small"),
        write("grown", trials=10, pipeline="small"),
        write("two", "two", trials=12, **two, **within),
        write("conditional", space={**conditional, "w": {"choice": ["on", "off"]}}),
        write("function", space=None, space_function="tests/acceptance/tuning_model.py:space"),
        write("warm", warm_start=True),
        write("short", parameters={"sleep": 0.3}, trials=40, budget={"device_seconds": 12}),
        write("crashes", "crashes", trials=9, failures=20),
        write("nan", "nan", failures=2),
        write("nothing", "nothing"),
        write("other", "other"),
        write("empty", space={}),
        write("upside", space={"x": {"float": [1, 0]}}),
        write("magic", sampler="magic"),
        write("option", sampler={"name": "tpe", "startup": 3}),
        write("turned", pipeline="small", objective={"metric": "score", "direction": "minimize"}),
        write("all_pruned", pruner={"name": "threshold", "lower": 5.0}),
    ]
    print(f"{len(made)} pipeline files")


def kills(settings: Settings) -> None:
    """40 trials, 3 workers, at least 10 kills of processes whose trial is past its first step."""
    import optuna

    path = write("kills", trials=40, workers=3, parameters={"sleep": 0.25})
    calm = write("calm", trials=40, workers=3, parameters={"sleep": 0.0})
    best = json.loads(_airloom("tune", str(calm), "--key", "calm/undisturbed", "--json"))["best_value"]
    running = _start("tune", str(path), "--key", "kills/disturbed", "--json")
    storage = f"sqlite:///{settings.home / 'optuna.db'}"
    study = _when(lambda: _load(optuna, "kills/disturbed", storage))
    killed = _kill_some(running, study, 12)
    output = running.communicate()[0]
    assert running.returncode == 0, output
    states = Counter(trial.state.name for trial in study.trials)
    done, value = states["COMPLETE"] + states["PRUNED"], study.best_value
    resumed = [t for t in study.trials if t.user_attrs.get("resumed_at", 0) > 0 and t.state.is_finished()]
    print(
        f"{len(killed)} kills, {done} complete or pruned, {states['RUNNING']} running, {states['FAIL']} failed on top"
    )
    reasons = [t.user_attrs.get("reason") for t in study.trials if t.state.name == "FAIL"]
    print(f"{sum(not reason for reason in reasons)} failed without a reason")
    _children(settings, json.loads(output)["study"], study)
    print(f"at least 5 resumed past step 0: {len(resumed) >= 5} ({len(resumed)})")
    print(f"best {value:.4f}, undisturbed {best:.4f}, no worse within noise: {value >= best - 0.05}")


def _kill_some(running: "subprocess.Popen[str]", study: Any, wanted: int) -> list[int]:
    """SIGKILL one after another; each had gone beyond its own first step; every fourth time a worker goes too."""
    killed: list[int] = []
    generator = random.Random(5)
    while running.poll() is None and len(killed) < wanted:
        going = [t for t in study.trials if t.state.name == "RUNNING" and (t.last_step or 0) >= _first(t) + 1]
        going = [t for t in going if t.user_attrs["pid"] not in killed and psutil.pid_exists(t.user_attrs["pid"])]
        if not going:
            time.sleep(0.05)
            continue
        trial = generator.choice(going)
        pid = trial.user_attrs["pid"]
        worker = psutil.Process(pid).ppid()
        print(f"SIGKILL process {pid}: trial {trial.number} at step {trial.last_step}", flush=True)
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)
        if len(killed) % 4 == 0:
            print(f"SIGKILL worker {worker} too", flush=True)
            os.kill(worker, signal.SIGKILL)
        time.sleep(generator.uniform(0.3, 1.2))
    return killed


def _first(trial: Any) -> float:
    """The first step that a trial does itself; a retry has the reports of the attempt before from its beginning."""
    again = "retry_of" in trial.user_attrs
    return float(trial.user_attrs.get("resumed_at", math.inf if again else 0))


def _children(settings: Settings, key: str, study: Any) -> None:
    api = runs.client(settings)
    parent = study.user_attrs["airloom.mlflow_run"]
    experiment = api.get_run(parent).info.experiment_id
    query = f"tags.`mlflow.parentRunId` = '{parent}' and tags.`airloom.kind` = 'trial'"
    found = api.search_runs([experiment], query, max_results=1000)
    states = Counter(run.info.status for run in found)
    slots = {run.data.tags["airloom.slot"] for run in found}
    rows = {t.number for t in study.trials if t.state.name in ("COMPLETE", "PRUNED")}
    same = {int(run.data.tags["airloom.trial"]) for run in found} == rows
    print(
        f"{key}: {states['FINISHED']} finished child runs of {len(found)}, {len(slots)} slots, the same trials: {same}"
    )
    pictures = [path.path for path in api.list_artifacts(parent, "study")]
    print("pictures: " + ", ".join(sorted(path.rpartition("/")[2] for path in pictures)))


def interrupted(settings: Settings) -> None:
    """Ctrl-C at about 10 of 30, then the same key again."""
    import optuna

    path = write("interrupted", trials=30, workers=2, parameters={"sleep": 0.05})
    storage, key = f"sqlite:///{settings.home / 'optuna.db'}", "interrupted/one"
    running = _start("tune", str(path), "--key", key)
    study = _when(lambda: _load(optuna, key, storage))
    _when(lambda: sum(t.state.name == "COMPLETE" for t in study.trials) >= 10)
    running.send_signal(signal.SIGINT)
    running.communicate()
    before = Counter(t.state.name for t in study.trials)
    print(f"interrupted at {before['COMPLETE']} of 30, exit code {running.returncode}")
    time.sleep(1)
    left = [
        p.pid for p in psutil.process_iter(["cmdline"]) if "airloom.tuning.worker.trial" in (p.info["cmdline"] or [])
    ]
    print(f"{len(left)} trial processes left")
    result = json.loads(_airloom("tune", str(path), "--key", key, "--json"))
    after = Counter(t.state.name for t in study.trials)
    print(f"gone on to {result['trials']} of 30, {after['RUNNING']} running")


def devices(settings: Settings) -> None:
    """Two pretended devices, three workers, two trials share a device: never more than four run."""
    import optuna

    path = write("shared", trials=12, workers=3, share=0.5, parameters={"sleep": 0.2})
    values = yaml.safe_load(path.read_text())
    values["resources"] |= {"devices": 1}
    path.write_text(yaml.safe_dump(values))
    os.environ["AIRLOOM_DEVICES"] = "2"
    storage, key = f"sqlite:///{settings.home / 'optuna.db'}", "shared/one"
    running = _start("tune", str(path), "--key", key)
    study = _when(lambda: _load(optuna, key, storage))
    most = 0
    while running.poll() is None:
        most = max(most, sum(t.state.name == "RUNNING" for t in study.trials))
        time.sleep(0.1)
    done = sum(t.state.name == "COMPLETE" for t in study.trials)
    print(f"{done} complete; at most {most} at once on 2 devices shared by 2: {most <= 4}")


def database(settings: Settings) -> None:
    """PostgreSQL: kills, and the server away for 30 s in mid-study."""
    sys.path.insert(0, "tests")
    import optuna
    from services.postgres import server

    path = write("elsewhere", trials=12, workers=2, parameters={"sleep": 0.3})
    with server() as there:
        os.environ["AIRLOOM_DATABASE"] = there.address
        running = _start("tune", str(path), "--key", "elsewhere/one", "--json")
        study = _when(lambda: _load(optuna, "elsewhere/one", there.address))
        killed = _kill_some(running, study, 3)
        there.stop()
        time.sleep(30)
        there.start()
        output = running.communicate()[0]
        assert running.returncode == 0, output
        study = _load(optuna, "elsewhere/one", there.address)  # our own connection was to the server before
        states = Counter(trial.state.name for trial in study.trials)
        print(f"{len(killed)} kills, 30 s away: {states['COMPLETE']} of 12 complete, {states['RUNNING']} running")
        _children(settings, "elsewhere/one", study)


def locked(settings: Settings) -> None:
    """SQLite: the file of the studies is locked for 30 s in mid-study."""
    import sqlite3

    import optuna

    path = write("locked", trials=8, workers=2, parameters={"sleep": 0.2})
    running = _start("tune", str(path), "--key", "locked/one", "--json")
    study = _when(lambda: _load(optuna, "locked/one", f"sqlite:///{settings.home / 'optuna.db'}"))
    _when(lambda: any(t.state.name == "COMPLETE" for t in study.trials))
    holder = sqlite3.connect(settings.home / "optuna.db", isolation_level=None, timeout=60)
    holder.execute("BEGIN IMMEDIATE")
    time.sleep(30)
    holder.execute("ROLLBACK")
    output = running.communicate()[0]
    assert running.returncode == 0, output
    states = Counter(trial.state.name for trial in study.trials)
    print(f"30 s locked: {states['COMPLETE']} of 8 complete, {states['RUNNING']} running, {states['FAIL']} failed")


def stranger(settings: Settings) -> None:
    """Plain Optuna, without Airloom in the process."""
    code = (
        "import optuna, sys; s = optuna.load_study(study_name='small/one', storage=sys.argv[1]); "
        "print(len(s.trials), 'rows', s.best_trial.params); assert 'airloom' not in sys.modules"
    )
    address = f"sqlite:///{settings.home / 'optuna.db'}"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", code, address], cwd=folder, check=True)


def _start(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "airloom", *arguments]
    said = (FOLDER / "said.txt").open("w")
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)


def _airloom(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "airloom", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _load(optuna: Any, name: str, storage: str) -> Any:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except Exception:  # not there yet
        return None


def _when(look: Callable[[], Any], seconds: float = 120) -> Any:
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, "it never came"
        time.sleep(0.1)
    return found


if __name__ == "__main__":
    globals()[sys.argv[1]](load())
