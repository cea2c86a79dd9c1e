"""A DAG of your own that runs once for each version of a dataset, in order; `tests/` parses and runs it."""

from airflow.sdk import dag

from airloom_operators.assets import each_version
from airloom_operators.datasets.export import ExportDatasetOperator
from airloom_operators.datasets.prepare import PrepareSnapshotOperator


@dag(
    schedule=each_version("digits"),
    max_active_runs=1,
    tags=["airloom"],
    default_args={"owner": "airloom", "retries": 2, "retry_delay": 5},
    doc_md="Hands the test split of each version of the digits to others, as Parquet.",
)
def digits_for_others():
    made = PrepareSnapshotOperator(task_id="prepare", version="digits@{{ partition_key }}")
    ExportDatasetOperator(
        task_id="export",
        name="{{ ti.xcom_pull('prepare')['id'] }}",
        split="test",
        target="exports/digits-{{ partition_key }}-{{ run_id }}.parquet",
    ).set_upstream(made)


made = digits_for_others()
