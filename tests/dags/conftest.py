"""Airflow with a database of its own; set before Airflow is imported for the first time."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

home = Path(tempfile.mkdtemp(prefix="airloom-airflow-test-"))
os.environ.update(
    AIRFLOW_HOME=str(home),
    AIRFLOW__CORE__DAGS_FOLDER=str(Path(__file__).resolve().parents[2] / "dags"),
    AIRFLOW__CORE__PLUGINS_FOLDER=str(home / "plugins"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{home}/airflow.db",
)


def pytest_sessionfinish() -> None:
    """Of each process that collects these tests."""
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(autouse=True)
def no_dag_files_of_other_tests() -> None:
    """Each test is an Airflow of its own: two have DAGs of one name."""
    (home / "airloom_dag_ids.json").unlink(missing_ok=True)


@pytest.fixture(scope="session")
def register() -> Callable[..., None]:
    """Write DAGs that a test built into Airflow's database, as the DAG processor does."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.definitions.dag import SerializedDAG
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session

    initdb()
    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)

    def write(*dags) -> None:
        lazy = [LazyDeserializedDAG.from_dag(dag) for dag in dags]
        with create_session() as session:
            SerializedDAG.bulk_write_to_db("dags-folder", None, lazy, session=session)
            for dag in lazy:
                SerializedDagModel.write_dag(dag, bundle_name="dags-folder", session=session)

    return write
