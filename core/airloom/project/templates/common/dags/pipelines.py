"""The DAGs of this project, for Airflow: one for each file in configs/pipelines, one for each dataset."""

from pathlib import Path

from airloom_operators import build_dags

build_dags(Path(__file__).resolve().parents[1] / "configs" / "pipelines")
