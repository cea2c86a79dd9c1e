"""Store a dataset in fewer shards."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airloom_operators.datasets.base import DatasetJobOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class CompactDatasetOperator(DatasetJobOperator):
    """Cut the shards of the newest version anew, without its deleted rows. Its number and id stay; it raises no event.

    Args:
        dataset: its name.
    """

    template_fields: Sequence[str] = ("dataset",)

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset

    def execute(self, context: "Context") -> dict[str, Any]:
        """Return `{"version", "revision", "shards", "changed"}`."""
        return self.run_step(context, "compact", dataset=self.dataset)
