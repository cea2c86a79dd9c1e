"""Airflow with a database of its own; set before Airflow is imported for the first time."""

import os
import tempfile
from pathlib import Path

home = Path(tempfile.mkdtemp(prefix="airloom-airflow-test-"))
os.environ.update(
    AIRFLOW_HOME=str(home),
    AIRFLOW__CORE__DAGS_FOLDER=str(Path(__file__).resolve().parents[2] / "dags"),
    AIRFLOW__CORE__PLUGINS_FOLDER=str(home / "plugins"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{home}/airflow.db",
)
