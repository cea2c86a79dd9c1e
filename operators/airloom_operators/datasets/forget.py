"""Forget rows of a dataset."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airloom_operators.base import who
from airloom_operators.datasets.base import DatasetJobOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airloom.jobs.spec import JobSpec
    from airloom.settings import Settings


class ForgetRowsOperator(DatasetJobOperator):
    """Forget all rows with some keys, in every version, as `airloom dataset forget` does. It cannot be undone.

    Airflow keeps what a task was given, so the keys come in a file that you remove afterwards.

    Args:
        dataset: its name.
        keys_file: a text file with a key a line, from the project's root or absolute.
        reason: why; it is recorded, and must not name a key.
        author: who says so; by default the user who triggered the DAG run, else the service.
    """

    function = "airloom.retention.forget:step"
    template_fields: Sequence[str] = ("dataset", "keys_file", "reason", "author")

    def __init__(self, *, dataset: str, keys_file: str, reason: str, author: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.keys_file = keys_file
        self.reason = reason
        self.author = author

    def job_of(self, settings: "Settings", context: "Context") -> "tuple[str, JobSpec]":
        """See `DatasetJobOperator`."""
        self.author = self.author or who(context, settings)
        return super().job_of(settings, context)

    def arguments(self) -> dict[str, Any]:
        """See `DatasetJobOperator`; the job gives what was forgotten, and what else holds the rows."""
        return {
            "dataset": self.dataset,
            "keys_file": self.keys_file,
            "reason": self.reason,
            "author": self.author,
        }
