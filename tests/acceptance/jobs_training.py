"""What `jobs.yaml` tries with trainings: `jobs_training.py ACTION`. Each prints what it saw."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from jobs import act, running, until

from airloom.datasets import versions
from airloom.datasets.commit import commit
from airloom.datasets.snapshots import snapshot
from airloom.demo.digits import load_digits
from airloom.jobs import control, files, processes
from airloom.jobs.spec import JobSpec, Resources
from airloom.jobs.submit import end, submit
from airloom.jobs.table import Attempts
from airloom.jobs.wait import wait
from airloom.settings import Settings
from airloom.tracking import runs

FUNCTIONS = "tests/acceptance/jobs_functions.py"
SPLIT = {"train": 0.6, "validation": 0.15, "test": 0.25}
PIPELINES: dict[str, dict[str, Any]] = {
    "good": {"train": f"{FUNCTIONS}:good"},
    "ranks": {"train": f"{FUNCTIONS}:good", "resources": {"processes": 2}},
    "budget": {"train": f"{FUNCTIONS}:good", "parameters": {"epochs": 500, "batch_size": 16}, "stop": {"steps": 40}},
    "chance": {"train": f"{FUNCTIONS}:chance"},
    "raises": {"train": f"{FUNCTIONS}:raises"},
    "plain": {
        "command": "python tests/acceptance/plain_script.py",
        "parameters": {"lr": 0.1},
        "tune": {"trials": 1, "objective": {"metric": "loss", "direction": "minimize"}},
    },
}
BAD = {  # function: (resources, how it ends)
    "nothing": ({}, "FAILED .*has no function 'nothing'|FAILED .*nothing"),
    "raises": ({}, "FAILED .*raised ValueError: the learning rate is a teapot"),
    "nan": ({}, "FAILED training diverged: loss is nan in step 1"),
    "memory": ({"memory": 900 * 2**20}, "FAILED memory: it used"),
    "gigabyte": ({}, "SUCCEEDED"),
    "deaf": ({}, "CANCELLED enough"),
    "children": ({}, "SUCCEEDED"),
    "outside": ({}, "FAILED .*PermissionError"),
}


def prepare(settings: Settings) -> None:
    """A dataset, and a pipeline file for each of PIPELINES, whose gate nothing passes: nothing here shall be served."""
    made = commit(settings, "digits", load_digits().first, message="the first digits")
    for name, own in PIPELINES.items():
        values: dict[str, Any] = {
            "pipeline": name,
            "dataset": {"name": "digits", "split": SPLIT},
            "parameters": {"epochs": 3, "batch_size": 16},
            "gate": {"at_least": {"accuracy": 1.0}, "against_champion": {"non_inferior_by": 0.1}},
        } | own
        tune = {"trials": 1, "objective": {"metric": "validation_accuracy"}} | own.get("tune", {})
        values["tune"] = tune | {"pruner": "none", "space": {"unused": {"int": [1, 2]}}}
        Path(f"{name}.yaml").write_text(yaml.safe_dump(values))
    print(f"{made.name}: {made.rows} rows; {len(PIPELINES)} pipeline files")


def recorded(settings: Settings) -> None:
    """What MLflow has of a pipeline's newest training."""
    api = runs.client(settings)
    experiment = api.get_experiment_by_name(f"airloom/{sys.argv[2]}")
    assert experiment, sys.argv[2]
    found = api.search_runs([experiment.experiment_id], "tags.`airloom.kind` = 'train'")
    run = found[0]
    print(
        f"{len(found)} training runs, {run.info.status}, ended: {run.data.tags['airloom.ended']}; run {run.info.run_id}"
    )
    for name in sorted(run.data.metrics):
        steps = [point.step for point in api.get_metric_history(run.info.run_id, name)]
        print(f"{name} = {run.data.metrics[name]:.4g} at step {steps[-1]}, {len(steps)} points")


def bad(settings: Settings) -> None:
    """Each bad training function as a job with a device: a clear reason, the device free again, nothing left."""
    os.environ["AIRLOOM_DEVICES"] = "1"
    os.environ["TMPDIR"] = str(settings.home / "tmp")  # else this clone, itself a temporary one, may be written to
    (settings.home / "tmp").mkdir(exist_ok=True)
    settings = replace(settings, devices=1)
    made = snapshot.prepare(settings, versions.latest(settings, "digits"), SPLIT)
    for name, (resources, said) in BAD.items():
        arguments = {"function": f"{FUNCTIONS}:{name}", "parameters": {"epochs": 2, "batch_size": 16}, "seed": 0}
        spec = JobSpec(
            step="airloom.training.reproducibility.reproduce:once",
            arguments=arguments | {"snapshot": made.to_dict()},
            resources=Resources(**{"devices": 1, "time": 200, **resources}),
        )
        attempt = submit(settings, f"bad/{name}", spec)
        took = _cancel_when_deaf(settings, attempt) if name == "deaf" else 0
        ended = wait(settings, attempt)
        _check(settings, ended, said)
        log = sum(path.stat().st_size for path in ended.path.glob("*.txt")) >> 20
        more = f"; ended {took:.1f} s after the wish" if took else ""
        print(f"{name}: {ended.state} {' '.join(ended.reason.split())[:200]} (log {log} MiB{more})")
    print(f"{len(BAD)} functions, devices free after each: nothing left of any")


def _cancel_when_deaf(settings: Settings, attempt: Any) -> float:
    running(settings, attempt)
    until(lambda: "deaf" in (attempt.path / files.LOG).read_text().splitlines(), 60)
    began = time.monotonic()
    end(Attempts(settings.database_address), attempt, "enough")
    return time.monotonic() - began


def _check(settings: Settings, ended: Any, said: str) -> None:
    import re

    assert re.match(said, f"{ended.state} {ended.reason}", re.DOTALL), (said, ended)
    assert not processes.marked(ended.path)
    free = [control.DeviceUse("pretended:0")]
    until(lambda: control.list_devices(settings) == free, 10)  # the supervisor holds it until it ends itself
    assert not Path(FUNCTIONS).with_name("stray.txt").exists()


def kept(settings: Settings) -> None:
    """The kept results of the benchmarks of jobs and training against their targets."""
    import json

    for name in ("jobs", "training"):
        found = json.loads((settings.project / "benchmarks" / "results" / f"{name}.json").read_text())
        missed = ", ".join(found["missed"]) or "none"
        print(f"{name}: {len(found['figures'])} figures at commit {found['commit'][:12]}; missed: {missed}")


if __name__ == "__main__":
    act([prepare, recorded, bad, kept])
