"""A DAG of your own that has the champion answer each version of a dataset, in order; `tests/` parses it."""

from airflow.sdk import dag

from airloom_operators.announce import build_announcer
from airloom_operators.assets import each_version
from airloom_operators.predict import BatchPredictOperator


@dag(
    schedule=each_version("incoming"),
    max_active_runs=1,
    tags=["airloom"],
    default_args={"owner": "airloom", "retries": 2, "retry_delay": 5},
    doc_md="Adds the champion's answers to each version of `incoming` to the dataset `answers`.",
)
def answer_incoming():
    BatchPredictOperator(
        task_id="predict",
        model="digits@champion",
        dataset="incoming@{{ partition_key }}",
        commit="answers",
        scores=True,
    )


made = answer_incoming()
announcer = build_announcer("incoming")  # where a pipeline file has the dataset, there is one already
