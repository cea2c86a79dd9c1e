"""Waiting for a pipeline run in Airflow, and reading what it did."""

import time
from datetime import datetime
from typing import Any

from airloom.datasets.announcements import partition_key
from airloom.demo.view import DemoView
from airloom.errors import JobFailed
from airloom.stack.airflow_api import AirflowApi

FINISHED = {"success", "failed"}  # of a run
ENDED = FINISHED | {"skipped", "upstream_failed", "removed"}  # of a task


def find_run(api: AirflowApi, dag: str, version: int, *, timeout: float = 120) -> str:
    """The asset-triggered run that works on a dataset version.

    Args:
        api: of Airflow.
        dag: its id.
        version: the number of the dataset version.
        timeout: seconds to wait for the run.

    Raises:
        JobFailed: none was started in time.
    """
    began = time.monotonic()
    while time.monotonic() - began < timeout:
        for run in api.dag_runs(dag):
            if run["run_type"] == "asset_triggered" and run["partition_key"] == partition_key(version):
                return str(run["dag_run_id"])
        time.sleep(0.5)
    raise JobFailed(
        f"no run of {dag} was started by version {version} within {timeout:.0f} s",
        "`airloom doctor`; see the triggerer's and the scheduler's log",
    )


def revive(api: AirflowApi, dag: str, run: str, view: DemoView) -> None:
    """Clear what failed in an earlier demo, which may have been interrupted more often than a task has retries.

    Args:
        api: of Airflow.
        dag: its id.
        run: of the DAG.
        view: gets a line where something is cleared.
    """
    if next(r["state"] for r in api.dag_runs(dag) if r["dag_run_id"] == run) == "failed":
        view.log_line(f"{dag}/{run} failed in an earlier demo; its failed tasks run again")
        api.clear_failed(dag, run)
        time.sleep(1)  # until the run is no longer listed as failed


def wait(
    api: AirflowApi, dag: str, run: str, label: str, view: DemoView, *, timeout: float = 600
) -> dict[str, dict[str, Any]]:
    """Show the tasks' states until the run ends; returns the task instances by name.

    Args:
        api: of Airflow.
        dag: its id.
        run: of the DAG.
        label: what the view calls the run.
        view: gets each change of a task's state.
        timeout: seconds to wait for the run's end.

    Raises:
        JobFailed: a task failed (with the last lines of its log), or the time is over.
    """
    began, shown, waiting = time.monotonic(), dict[str, str](), list[str]()
    while time.monotonic() - began < timeout:
        tasks = {_name(task): task for task in api.tasks(dag, run)}
        for name, task in tasks.items():
            state = task["state"] or "waiting"
            if shown.get(name) != state and state not in {"waiting", "scheduled", "queued"}:
                shown[name] = state
                view.task(label, name, state, task["duration"])
        waiting = api.full_pools() if any(task["state"] == "scheduled" for task in tasks.values()) else []
        for line in waiting:
            if line not in shown:
                shown[line] = line
                view.log_line(line)
        ended = tasks and all(task["state"] in ENDED for task in tasks.values())
        # The run itself is only asked for then: each question costs Airflow's API CPU that the trainings need.
        state = next(r["state"] for r in api.dag_runs(dag) if r["dag_run_id"] == run) if ended else ""
        if state in FINISHED:
            failed = [name for name, task in tasks.items() if task["state"] == "failed"]
            if state == "failed":
                raise JobFailed(
                    _why(api, dag, run, failed, tasks), f"clear the task in Airflow to try again: {dag}/{run}"
                )
            return tasks
        time.sleep(1)
    why = "".join(f"; {line}" for line in waiting)
    raise JobFailed(f"{dag}/{run} did not end within {timeout:.0f} s{why}", "look at its tasks in Airflow")


def _why(api: AirflowApi, dag: str, run: str, failed: list[str], tasks: dict[str, dict[str, Any]]) -> str:
    if not failed:
        return f"{dag}/{run} failed"
    task = tasks[failed[0]]
    log = api.log(dag, run, task["task_id"], task["try_number"], task["map_index"])
    lines = [line for line in log.splitlines() if not line.startswith("::")]  # Airflow's folding marks
    return f"task {failed[0]} of {dag}/{run} failed:\n" + "\n".join(lines[-12:])


def _name(task: dict[str, Any]) -> str:
    mapped = task["map_index"] is not None and task["map_index"] >= 0
    return f"{task['task_id']}[{task['map_index']}]" if mapped else str(task["task_id"])


def facts(api: AirflowApi, dag: str, run: str, tasks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What a finished run found out, from the results of its tasks.

    Args:
        api: of Airflow.
        dag: its id.
        run: of the DAG.
        tasks: its task instances by name, as `wait` returns them.
    """
    trained, evaluation = api.xcom(dag, run, "train"), api.xcom(dag, run, "evaluate")
    decision = api.xcom(dag, run, "gate")
    registered = api.xcom(dag, run, "register") if tasks["register"]["state"] == "success" else None
    return {
        "run": run,
        "dataset_version": api.xcom(dag, run, "resolve")["snapshot"]["version"],
        "mlflow_run": api.xcom(dag, run, "resolve")["mlflow_run"],
        "trials": trained["study"]["trials"],
        "pruned": trained["study"]["pruned"],
        "best_parameters": trained["study"]["best_parameters"],
        "accuracy": evaluation["metrics"]["accuracy"],
        "champion_accuracy": evaluation["champion_metrics"].get("accuracy"),
        "test_rows": evaluation["rows"],
        "passed": decision["passed"],
        "power": decision["power"],
        "reasons": decision["reasons"],
        "model_version": registered["version"] if registered else None,
        "seconds": {name: task["duration"] for name, task in tasks.items()},
        "from_commit_to_end_s": _span(tasks),
    }


def _span(tasks: dict[str, dict[str, Any]]) -> float:
    moments = [datetime.fromisoformat(t[k]) for t in tasks.values() for k in ("start_date", "end_date") if t[k]]
    return round((max(moments) - min(moments)).total_seconds(), 1)
