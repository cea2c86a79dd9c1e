"""The source of a dataset in runs of earlier releases, of a type of our own; newer ones have MLflow's (`inputs.py`).

MLflow finds it by the entry point `mlflow.dataset_source`; nothing of Airloom imports this file.
"""

from typing import Any

from mlflow.data.dataset_source import DatasetSource  # noqa: TID253 - MLflow's plugin; MLflow is there when it loads it


class SnapshotSource(DatasetSource):  # type: ignore[misc] # MLflow ships no types
    """A split of a snapshot.

    Args:
        dataset: its name.
        version: the version's name, `digits@v3`.
        revision: the version's commit in the data repository.
        snapshot: id of the snapshot.
        split: its name.
    """

    def __init__(self, dataset: str, version: str, revision: str, snapshot: str, split: str) -> None:
        self.dataset, self.version, self.revision = dataset, version, revision
        self.snapshot, self.split = snapshot, split

    @staticmethod
    def _get_source_type() -> str:
        return "dvc"

    def load(self) -> Any:
        """The split's rows as an Arrow table.

        Raises:
            DataError: this installation does not know the snapshot.
        """
        from airloom.datasets.snapshots import snapshot
        from airloom.settings import load

        settings = load()
        return snapshot.open_snapshot(settings, snapshot.fetch(settings, self.snapshot, timeout=0)).table(self.split)

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:  # noqa: ARG004 - the signature is MLflow's
        return False  # none is made any more

    @classmethod
    def _resolve(cls, raw_source: Any) -> "SnapshotSource":
        raise NotImplementedError(f"a snapshot is not guessed from {raw_source!r}")

    def to_dict(self) -> dict[str, Any]:
        """What stands in the run."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> "SnapshotSource":
        """The inverse of `to_dict`."""
        return cls(**source_dict)
