"""The two DAGs that are compared: workers of a study, and one mapped task for each trial. Copied into the project."""

import os
import sys
from pathlib import Path

from airflow.sdk import DAG, task

from airloom_operators.resolve import ResolveOperator
from airloom_operators.tune import TuneOperator

PROJECT = Path(__file__).resolve().parent.parent
POOL, WORKERS = "bench", 2

with DAG("bench_workers", schedule=None, catchup=False):
    resolve = ResolveOperator(task_id="resolve", pipeline_file="bench.yaml")
    workers = [{"worker": number} for number in range(WORKERS)]
    TuneOperator.partial(task_id="tune", context=resolve.output, pool=POOL).expand(arguments=workers)

with DAG("bench_tasks", schedule=None, catchup=False, render_template_as_native_obj=True, params={"count": 32}):

    @task
    def create(count: int, run_id: str | None = None) -> list[dict]:
        """A study of this run, and its trials."""
        import mlflow
        import optuna

        from airloom.settings import load

        optuna.create_study(study_name=run_id, storage=f"sqlite:///{load().home}/optuna.db", direction="maximize")
        mlflow.set_tracking_uri(load().mlflow_uri)
        client = mlflow.MlflowClient()
        found = client.get_experiment_by_name("bench_tasks")
        experiment = found.experiment_id if found else client.create_experiment("bench_tasks")
        parent = client.create_run(experiment, run_name=run_id).info
        return [{"study": run_id, "experiment": experiment, "parent": parent.run_id} for _ in range(count)]

    @task(pool=POOL)
    def trial(what: dict) -> float:
        """One trial of the study, with its MLflow run."""
        import mlflow
        import optuna

        from airloom.settings import load

        sys.path.insert(0, str(PROJECT))
        from model import burn, height

        study = optuna.load_study(study_name=what["study"], storage=f"sqlite:///{load().home}/optuna.db")
        one = study.ask()
        x, y = one.suggest_float("x", 0, 1), one.suggest_float("y", 0, 1)
        mlflow.set_tracking_uri(load().mlflow_uri)
        client = mlflow.MlflowClient()
        run = client.create_run(what["experiment"], tags={"mlflow.parentRunId": what["parent"]}).info.run_id
        burn(float(os.environ.get("BENCH_SECONDS", "1.0")))
        value = height(x, y)
        for name, parameter in {"x": x, "y": y}.items():
            client.log_param(run, name, parameter)
        client.log_metric(run, "score", value)
        client.set_terminated(run)
        study.tell(one, value)
        return value

    trial.expand(what=create("{{ params.count }}"))
