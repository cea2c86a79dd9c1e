"""The training step alone, in place and deferred, for a context that is handed in."""

from airflow.sdk import DAG, Param

from airloom_operators.train import TrainOperator

MODES = {"in_place": {"deferrable": False}, "deferred": {"patience": 0}, "deferred_late": {"patience": 20}}
for mode, options in MODES.items():
    with DAG(
        f"crash_{mode}",
        schedule=None,
        tags=["crash"],
        default_args={"owner": "airloom", "retries": 3, "retry_delay": 1},
        params={"context": Param({}, type="object")},
        render_template_as_native_obj=True,
    ) as dag:
        TrainOperator(task_id="train", context="{{ params.context }}", multiple_outputs=True, **options)
    globals()[dag.dag_id] = dag
