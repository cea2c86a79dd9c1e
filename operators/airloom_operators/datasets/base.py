"""What the dataset operators share."""

from typing import TYPE_CHECKING, Any

from airloom.names import JobKey, RunKey
from airloom_operators.base import map_index
from airloom_operators.job import WaitsForJob

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airloom.jobs.spec import JobSpec
    from airloom.settings import Settings


class DatasetJobOperator(WaitsForJob):
    """An operation that moves data: it runs as a job.

    Args:
        timeout: wall time of the operation in seconds.
    """

    function = ""  # of `airloom.datasets.job_steps`, or `package.module:function`; set by each subclass

    def __init__(self, *, timeout: float = 3600, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.timeout = timeout

    def arguments(self) -> dict[str, Any]:
        """Of the function."""
        raise NotImplementedError

    def job_of(self, settings: "Settings", context: "Context") -> "tuple[str, JobSpec]":
        """See `WaitsForJob`."""
        from airloom.datasets.job_steps import job_of

        run = str(RunKey(context["dag"].dag_id, context["run_id"], installation=settings.installation))
        key = str(JobKey(run, context["ti"].task_id, map_index(context["ti"])))
        return key, job_of(settings, self.function, self.arguments(), timeout=self.timeout)
