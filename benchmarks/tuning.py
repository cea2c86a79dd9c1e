"""What a study costs, beside Optuna alone, beside itself with one worker, without pruning, and as one task a trial.

- `trial_overhead_vs_optuna`: wall time from the first trial's start to the last one's end, ours by bare
  `study.optimize` in one process, with the same objective (a second of one thread's time, one report), the same storage
  and sampler. Ours is the path of pipelines: a worker job, its trial process, MLflow runs on a server. In turn.
- `two_workers_speedup`: the same with one worker by the same with two.
- `pruning_epochs_ratio`: epochs of a study of the digits with pruning by those without, the median of five seeds; the
  best accuracies must differ by no more than their interval.
- `overhead_vs_task_per_trial`: what a trial costs beyond its second on the started stack, our operator by a DAG that
  maps one task over each trial, in the same pool of two slots, from the first trial's start to the last one's end. How
  long the tasks took from their start to their end, the workers' start included, is kept beside it.

`python -m benchmarks.tuning PART…` measures only these: overhead, workers, pruning, airflow.
"""

import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from airloom.contracts import RunContext
from airloom.datasets.commit import commit
from airloom.datasets.ingest.images import image_table
from airloom.pipeline.steps.resolve import resolve
from airloom.pipeline.workers import run_workers
from airloom.settings import Settings, load
from airloom.stack import control
from airloom.stack.airflow_api import AirflowApi
from airloom.tuning.slots import Slots
from airloom.tuning.storage import new_storage
from airloom.tuning.study import open_study
from benchmarks import _mlflow
from benchmarks._report import PROJECT, Report

HERE = PROJECT / "benchmarks" / "_tuning"
SECONDS, TRIALS, ROUNDS, SEEDS = 1.0, 16, 3, 5
EPOCHS, PRUNER = 27, {"name": "successive_halving", "min_resource": 3}
TARGETS: dict[str, Any] = {
    "trial_overhead_vs_optuna": ("<=", 1.10),
    "two_workers_speedup": (">=", 1.8),
    "pruning_epochs_ratio": ("<=", 0.5),
    "overhead_vs_task_per_trial": ("<=", 0.2),
}
PIPELINE: dict[str, Any] = {
    "dataset": {"name": "digits"},
    "rehearse": False,  # most of them save no model
    "gate": {"at_least": {"accuracy": 0.1}, "against_champion": {"non_inferior_by": 0.5}},
}
SECOND = {
    "objective": {"metric": "score"},
    "space": {"x": {"float": [0, 1]}, "y": {"float": [0, 1]}},
    "sampler": "random",
}


def main(parts: list[str]) -> int:
    """Measure and report; 1 when a target is missed."""
    wanted = parts or ["overhead", "workers", "pruning", "airflow"]
    report = Report("tuning", TARGETS)
    with tempfile.TemporaryDirectory(prefix="airloom-bench-") as folder:
        settings = _project(Path(folder))
        with _mlflow.server(Path(folder)) as address:
            os.environ["AIRLOOM_TRACKING_URI"] = address
            settings = load()
            if {"overhead", "workers"} & set(wanted):
                _overhead(report, settings)
            if "pruning" in wanted:
                _pruning(report, settings)
        del os.environ["AIRLOOM_TRACKING_URI"]
        if "airflow" in wanted:
            _airflow(report)
    return report.finish()


def _project(folder: Path) -> Settings:
    """A project with the digits committed, so that everything goes the way of pipelines."""
    from sklearn.datasets import load_digits

    project = folder / "project"
    for name in ("configs", "examples"):
        shutil.copytree(PROJECT / name, project / name)
    shutil.rmtree(project / "configs" / "pipelines")
    (project / "configs" / "pipelines").mkdir()
    (project / "dags").mkdir()
    for name in ("model.py", "dags.py"):
        shutil.copy(HERE / name, project / ("dags" if name == "dags.py" else "") / name)
    os.environ |= {"AIRLOOM_HOME": str(folder / "home"), "AIRLOOM_PROJECT": str(project)}
    os.chdir(project)
    bunch = load_digits()
    table = image_table((bunch.images[:, None] / 16).astype("float32"), bunch.target.astype("int64"))
    commit(load(), "digits", table, message="all digits")
    return load()


# -- (a) and (b)


def _overhead(report: Report, settings: Settings) -> None:
    bare, one, two = [], [], []
    for number in range(ROUNDS):
        bare.append(_bare(settings, f"bare-{number}"))
        one.append(_span(_study(settings, f"one-{number}", workers=1)))
        two.append(_span(_study(settings, f"two-{number}", workers=2)))
        print(
            f"round {number}: bare {bare[-1]:.2f} s, one worker {one[-1]:.2f} s, two {two[-1]:.2f} s", file=sys.stderr
        )
    report.add("trial_overhead_vs_optuna", [a / b for a, b in zip(one, bare, strict=True)])
    report.add("two_workers_speedup", [a / b for a, b in zip(one, two, strict=True)])
    report.note(spans_s={"bare": bare, "one worker": one, "two workers": two}, trials=TRIALS, trial_s=SECONDS)


def _bare(settings: Settings, name: str) -> float:
    import optuna

    sys.path.insert(0, str(HERE))
    from model import burn, height

    def objective(trial: Any) -> float:
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        burn(SECONDS)
        value = height(x, y)
        trial.report(value, 0)
        return value

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(storage=new_storage(settings), study_name=name, sampler=sampler, direction="maximize")
    study.optimize(objective, n_trials=TRIALS)
    return _span(study)


def _study(settings: Settings, name: str, workers: int) -> Any:
    tune = {**SECOND, "trials": TRIALS, "workers": workers, "pruner": "none"}
    return _run(settings, name, {"train": "model.py:second", "parameters": {"seconds": SECONDS}, "tune": tune})


def _run(settings: Settings, name: str, values: dict[str, Any]) -> Any:
    """Run a study to its end; Optuna's own view of it."""
    file = settings.project / f"{name}.yaml"
    file.write_text(yaml.safe_dump({**PIPELINE, **values, "pipeline": name.replace("-", "_")}))
    context: RunContext = resolve(settings, file, f"{name}/{time.time_ns()}")
    run_workers(settings, context, lambda _: None)
    study = open_study(settings, context.key).study
    states = [trial.state.name for trial in study.get_trials(deepcopy=False)]
    assert sum(state in ("COMPLETE", "PRUNED") for state in states) == values["tune"]["trials"], states
    return study


def _span(study: Any) -> float:
    """Seconds from the first trial's start to the last one's end."""
    trials = study.get_trials(deepcopy=False)
    return float((max(t.datetime_complete for t in trials) - min(t.datetime_start for t in trials)).total_seconds())


# -- (c)


def _pruning(report: Report, settings: Settings) -> None:
    ratios, gains = [], []
    for seed in range(SEEDS):
        on, off = (_digits(settings, seed, pruner) for pruner in (PRUNER, "none"))
        ratios.append(on["epochs"] / off["epochs"])
        gains.append(on["best"] - off["best"])
        print(f"seed {seed}: epochs {on['epochs']} and {off['epochs']}, best {on['best']:.4f} and {off['best']:.4f}")
    # t of 4 degrees of freedom; quality is kept where the interval of the paired differences does not lie below 0.
    half = 2.776 * statistics.stdev(gains) / len(gains) ** 0.5
    mean = statistics.mean(gains)
    report.note(pruning={"accuracy_gain": gains, "mean": mean, "half_interval": half, "kept": mean + half >= 0})
    report.add("pruning_epochs_ratio", ratios if mean + half >= 0 else [math.nan])  # else it has no figure


def _digits(settings: Settings, seed: int, pruner: Any) -> dict[str, float]:
    space = {
        "lr": {"float": [1e-4, 3.0], "log": True},
        "momentum": {"float": [0, 0.99]},
        "width": {"int": [4, 64], "log": True},
    }
    tune = {
        "trials": 24,
        "workers": 2,
        "objective": {"metric": "validation_accuracy"},
        "space": space,
        "pruner": pruner,
    }
    name = f"digits-{seed}-{'off' if pruner == 'none' else 'on'}"
    parameters = {"epochs": EPOCHS, "batch_size": 64}
    values = {"train": "model.py:digits", "parameters": parameters, "tune": tune, "seed": seed}
    study = _run(settings, name, values)
    epochs = sum(len(trial.intermediate_values) for trial in study.get_trials(deepcopy=False))
    return {"epochs": epochs, "best": study.best_value}


# -- (d)


def _airflow(report: Report) -> None:
    settings = load()
    tune = {**SECOND, "trials": 2 * TRIALS, "workers": 2, "pruner": "none"}
    values = {"train": "model.py:second", "parameters": {"seconds": SECONDS}, "tune": tune, "pipeline": "bench"}
    (settings.project / "bench.yaml").write_text(yaml.safe_dump({**PIPELINE, **values}))
    control.up(settings, lambda line: print(line, file=sys.stderr))
    try:
        with AirflowApi(load()) as api:
            api._request("POST", "/api/v2/pools", json={"name": "bench", "slots": 2, "include_deferred": True})
            walls: dict[str, list[float]] = {"bench_workers": [], "bench_tasks": []}
            spans: list[float] = []
            _wait_for(api, walls)
            for number in range(ROUNDS + 1):
                for dag in walls:
                    took = _dag(api, dag)
                    if number:  # the first round warms both
                        walls[dag].append(took)
                    print(f"{dag}: {took:.1f} s", file=sys.stderr)
                    if dag == "bench_workers" and number:
                        name = Slots(load().database_address).names()[-1]
                        spans.append(_span(open_study(load(), name).study))
                        print(f"of it from the first trial to the last: {spans[-1]:.1f} s", file=sys.stderr)
    finally:
        control.down(settings, lambda _: None)
    ours, theirs = ([span / TRIALS - SECONDS for span in found] for found in (spans, walls["bench_tasks"]))
    report.add("overhead_vs_task_per_trial", [a / b for a, b in zip(ours, theirs, strict=True)])
    report.note(airflow={"walls_s": walls, "spans_s": spans, "trials": 2 * TRIALS, "slots": 2})


def _wait_for(api: AirflowApi, dags: Iterable[str]) -> None:
    """Until Airflow has read the DAGs."""
    until = time.monotonic() + 120
    while missing := set(dags) - {known["dag_id"] for known in api._all("/api/v2/dags", "dags", "dag_id")}:
        assert time.monotonic() < until, f"Airflow does not know {missing}: {api.import_errors()}"
        time.sleep(1)


def _dag(api: AirflowApi, dag: str) -> float:
    """Seconds from the first start of a task that runs trials to the last end."""
    run = api.trigger(dag, {"count": 2 * TRIALS} if dag == "bench_tasks" else {})
    while api._request("GET", f"/api/v2/dags/{dag}/dagRuns/{run}")["state"] not in ("success", "failed"):
        time.sleep(2)  # the times are Airflow's own; to ask more often would take it from the trials
    task = "tune" if dag == "bench_workers" else "trial"
    path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/listMapped?limit=200"
    found = api._request("GET", path)["task_instances"]
    assert {one["state"] for one in found} == {"success"}, json.dumps(found)[:2000]
    stamps = [[datetime.fromisoformat(one[key]) for one in found] for key in ("start_date", "end_date")]
    return (max(stamps[1]) - min(stamps[0])).total_seconds()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
