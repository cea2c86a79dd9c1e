"""Forget rows of a dataset."""

from collections.abc import Sequence
from typing import Any

from airloom_operators.datasets.base import DatasetJobOperator


class ForgetRowsOperator(DatasetJobOperator):
    """Forget all rows with some keys, in every version, as `airloom dataset forget` does. It cannot be undone.

    Airflow keeps what a task was given, so the keys come in a file that you remove afterwards.

    Args:
        dataset: its name.
        keys_file: a text file with a key a line, from the project's root or absolute.
        reason: why; it is recorded, and must not name a key.
        author: who says so.
    """

    function = "airloom.retention.forget:step"
    template_fields: Sequence[str] = ("dataset", "keys_file", "reason", "author")

    def __init__(self, *, dataset: str, keys_file: str, reason: str, author: str = "airflow", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.keys_file = keys_file
        self.reason = reason
        self.author = author

    def arguments(self) -> dict[str, Any]:
        """See `DatasetJobOperator`; the job gives what was forgotten, and what else holds the rows."""
        return {
            "dataset": self.dataset,
            "keys_file": self.keys_file,
            "reason": self.reason,
            "author": self.author,
        }
