"""What Airflow costs: the digits pipeline from the commit's return to the end of its deployment, against `airloom run`.

Both sides work on the same dataset version, on the same started stack, one after the other, three times. In this
benchmark's copy of the pipeline file the sampler is random and nothing is pruned, so that both sides try the very same
parameters and must find the very same accuracy; and the gate's margins are wide, so that both always go through to the
deployment. `demo_s` is the whole `airloom demo`, installed, from nothing to its summary, also three times.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from airloom.datasets.commit import commit
from airloom.datasets.ingest.images import image_table
from airloom.demo import rounds
from airloom.demo.view import Lines
from airloom.settings import Settings, load
from airloom.stack import control
from airloom.stack.airflow_api import AirflowApi
from benchmarks._report import PROJECT, Report

BOUNDS = [(0, 400), (400, 1000), (1000, 1797)]  # rows of the digits that each round commits


def main() -> int:
    """Measure and report; 1 when a target is missed."""
    report = Report("pipeline", {"airflow_overhead_s": ("<=", 15), "demo_s": ("<=", 180)})
    with tempfile.TemporaryDirectory(prefix="airloom-bench-") as folder:
        demos = [_demo(Path(folder) / f"demo-{number}") for number in range(3)]
        found = _rounds(Path(folder) / "rounds")
    report.add("airflow_overhead_s", [r["airflow_s"] - r["run_s"] for r in found])
    report.add("demo_s", demos)
    report.note(rounds=found)
    _print_rounds(found)
    return report.finish()


def _print_rounds(found: list[dict[str, Any]]) -> None:
    print(f"{'round':8}{'Airflow s':>12}{'airloom run s':>16}{'overhead s':>12}{'accuracy':>12}")
    for number, r in enumerate(found, 1):
        overhead = r["airflow_s"] - r["run_s"]
        print(f"{number:<8}{r['airflow_s']:>12.1f}{r['run_s']:>16.1f}{overhead:>12.1f}{r['accuracy']:>12.4f}")
    print()


def _demo(home: Path) -> float:
    """Seconds until `airloom demo` returns after its summary; the stack is stopped outside the measurement."""
    environment = os.environ | {"AIRLOOM_HOME": str(home)}
    command = [sys.executable, "-m", "airloom"]
    began = time.monotonic()
    try:
        done = subprocess.run(
            [*command, "demo", "--json"], cwd=PROJECT, env=environment, check=True, stdout=subprocess.PIPE
        )
        took = time.monotonic() - began
    finally:
        subprocess.run([*command, "down"], cwd=PROJECT, env=environment, check=True)
    assert json.loads(done.stdout)["served"] == "2"
    return round(took, 2)


def _rounds(folder: Path) -> list[dict[str, Any]]:
    project = folder / "project"
    for name in ("configs", "examples", "dags"):
        shutil.copytree(PROJECT / name, project / name)
    values = _same_work(project / "configs" / "pipelines" / "digits.yaml")
    local = project / "local.yaml"  # not in configs/pipelines: Airflow must not start it as well
    local.write_text(yaml.safe_dump(values | {"pipeline": "digits_local"}))
    os.environ |= {"AIRLOOM_HOME": str(folder / "home"), "AIRLOOM_PROJECT": str(project)}
    os.chdir(project)
    settings = load()
    control.up(settings, lambda line: print(line, file=sys.stderr))
    try:
        return [_round(settings, local, number) for number in range(1, len(BOUNDS) + 1)]
    finally:
        control.down(settings, lambda _: None)


def _same_work(file: Path) -> dict[str, Any]:
    values = dict(yaml.safe_load(file.read_text()))
    values["tune"] |= {"sampler": "random", "pruner": "none"}
    values["gate"]["at_least"] = {"accuracy": 0.1}
    values["gate"]["against_champion"]["non_inferior_by"] = 0.9
    file.write_text(yaml.safe_dump(values))
    return values


def _round(settings: Settings, local: Path, number: int) -> dict[str, Any]:
    airflow_s, airflow = _with_airflow(settings, number)
    run_s, run = _without(local, number)
    assert run["registered"], "the gate refused the candidate of `airloom run`"
    assert airflow == run["evaluation"]["metrics"], "both sides must find the same accuracy"
    return {"airflow_s": round(airflow_s, 2), "run_s": round(run_s, 2), "accuracy": airflow["accuracy"]}


def _with_airflow(settings: Settings, number: int) -> tuple[float, dict[str, float]]:
    """Seconds from the commit's return to the end of `deploy`, and what the evaluation found."""
    commit(settings, "digits", _part(number), message=f"part {number}")
    committed = time.time()
    with AirflowApi(settings) as api:
        run = rounds.find_run(api, "digits", number)
        tasks = rounds.wait(api, "digits", run, f"round {number}", Lines())
        assert tasks["deploy"]["state"] == "success"
        metrics = api.xcom("digits", run, "evaluate")["metrics"]
    return datetime.fromisoformat(tasks["deploy"]["end_date"]).timestamp() - committed, metrics


def _without(local: Path, number: int) -> tuple[float, dict[str, Any]]:
    """Seconds of a fresh `airloom run`, interpreter start included, and its result."""
    command = [sys.executable, "-m", "airloom", "run", str(local), "--version", str(number), "--json"]
    began = time.monotonic()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.monotonic() - began, json.loads(done.stdout)


def _part(number: int) -> Any:
    from sklearn.datasets import load_digits

    bunch, rows = load_digits(), slice(*BOUNDS[number - 1])
    return image_table((bunch.images[rows, None] / 16).astype("float32"), bunch.target[rows].astype("int64"))


if __name__ == "__main__":
    sys.exit(main())
