"""Store a dataset in fewer shards."""

from collections.abc import Sequence
from typing import Any

from airloom_operators.datasets.base import DatasetJobOperator


class CompactDatasetOperator(DatasetJobOperator):
    """Cut the shards of the newest version anew, without its deleted rows. Its number and id stay; it raises no event.

    Args:
        dataset: its name.
    """

    function = "compact"
    template_fields: Sequence[str] = ("dataset",)

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset

    def arguments(self) -> dict[str, Any]:
        """See `DatasetJobOperator`; the job gives `{"version", "revision", "shards", "changed"}`."""
        return {"dataset": self.dataset}
