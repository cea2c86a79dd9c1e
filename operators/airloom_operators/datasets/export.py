"""Hand data to others."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airloom_operators.datasets.base import DatasetJobOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ExportDatasetOperator(DatasetJobOperator):
    """Write a version, or a split of a snapshot, as Parquet, as a folder by label, or for Hugging Face datasets.

    Args:
        name: `digits@v2`, or the id of a snapshot with `split`.
        target: file or folder to make, from the project's root or absolute; it must not exist.
        form: "parquet", "folder" or "hf".
        split: a split of the snapshot.
    """

    template_fields: Sequence[str] = ("name", "target", "form", "split")

    def __init__(self, *, name: str, target: str, form: str = "parquet", split: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.target = target
        self.form = form
        self.split = split

    def execute(self, context: "Context") -> dict[str, Any]:
        """Return `{"path", "rows"}`."""
        wanted = {"name": self.name, "target": self.target, "form": self.form, "split": self.split}
        return self.run_step(context, "export", **wanted)
