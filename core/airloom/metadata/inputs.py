"""What a run read, as MLflow shows it: a dataset input whose source carries the revision of git and DVC."""

import json
from typing import TYPE_CHECKING

from airloom.contracts import Snapshot

if TYPE_CHECKING:
    from mlflow import MlflowClient


def log_input(client: "MlflowClient", run: str, snapshot: Snapshot, split: str) -> None:
    """Log a split of a snapshot as an input of a run; again does no harm."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = {
        "dataset": snapshot.dataset,
        "version": snapshot.version_name,
        "revision": snapshot.commit,
        "snapshot": snapshot.id,
        "split": split,
    }
    made = Dataset(
        name=snapshot.version_name,
        digest=snapshot.version_id[:32] or snapshot.id[:32],  # MLflow keeps 36 characters
        source_type="dvc",
        source=json.dumps(source),
        profile=json.dumps({"rows": snapshot.rows.get(split, 0)}),
    )
    context = "training" if split == "train" else split
    tags = [InputTag("mlflow.data.context", context), InputTag("airloom.snapshot", snapshot.id)]
    client.log_inputs(run, [DatasetInput(made, tags)])
