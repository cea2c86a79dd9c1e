"""A DAG for each file in configs/pipelines, and one that announces each dataset. A task builds only the DAG it runs."""

from pathlib import Path

from airflow.sdk import get_parsing_context

from airloom.spec.load import find_pipelines, load_pipeline
from airloom_operators.announce import announcer_id, build_announcer
from airloom_operators.factory import build_dag

wanted = get_parsing_context().dag_id
pipelines = {file: load_pipeline(file) for file in find_pipelines(Path(__file__).resolve().parent.parent)}

for file, pipeline in pipelines.items():
    if wanted in (None, pipeline.pipeline):
        globals()[f"pipeline_{file.stem}"] = build_dag(file)

for dataset in sorted({pipeline.dataset.name for pipeline in pipelines.values()}):
    if wanted in (None, announcer_id(dataset)):
        globals()[f"announce_{dataset}"] = build_announcer(dataset)
