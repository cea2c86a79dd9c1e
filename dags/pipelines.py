"""One DAG for each file in configs/pipelines. A task's process builds only the DAG that it runs."""

from pathlib import Path

from airflow.sdk import get_parsing_context

from airloom.pipeline.load import find_pipelines, load_pipeline
from airloom_operators.factory import build_dag

wanted = get_parsing_context().dag_id

for file in find_pipelines(Path(__file__).resolve().parent.parent):
    if wanted in (None, load_pipeline(file).pipeline):
        globals()[f"pipeline_{file.stem}"] = build_dag(file)
