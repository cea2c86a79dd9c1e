"""What the dataset operators share."""

from typing import TYPE_CHECKING, Any

from airloom_operators.base import AirloomOperator, WaitsForJob, job_name

if TYPE_CHECKING:
    from airflow.sdk import Context


class DatasetJobOperator(WaitsForJob, AirloomOperator):
    """An operation that moves data: it runs in a child process of its own.

    Args:
        timeout: wall time of the operation in seconds.
    """

    def __init__(self, *, timeout: float = 3600, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.timeout = timeout

    def run_step(self, context: "Context", step: str, **arguments: Any) -> dict[str, Any]:
        """The result of a function of `airloom.datasets.steps`; a killed task's retry goes on waiting for it."""
        from airloom.datasets import steps

        ti = context["ti"]
        key = f"{context['dag'].dag_id}/{context['run_id']}/{job_name(ti)}"
        with self.step() as settings:
            return steps.run(
                settings, step, arguments, key=key, attempt=ti.try_number, timeout=self.timeout, say=self.say
            )
