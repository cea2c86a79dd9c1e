"""Hand data to others."""

from collections.abc import Sequence
from typing import Any

from airloom_operators.datasets.base import DatasetJobOperator


class ExportDatasetOperator(DatasetJobOperator):
    """Write a version, or a split of a snapshot, as Parquet, as a folder by label, or for Hugging Face datasets.

    Args:
        name: `digits@v2`, or the id of a snapshot with `split`.
        target: file or folder to make, from the project's root or absolute; it must not exist.
        form: "parquet", "folder" or "hf".
        split: a split of the snapshot.
    """

    function = "export"
    template_fields: Sequence[str] = ("name", "target", "form", "split")

    def __init__(self, *, name: str, target: str, form: str = "parquet", split: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.target = target
        self.form = form
        self.split = split

    def arguments(self) -> dict[str, Any]:
        """See `DatasetJobOperator`; the job gives `{"path", "rows"}`."""
        return {"name": self.name, "target": self.target, "form": self.form, "split": self.split}
