"""What a run read, as MLflow's own dataset: any client of MLflow gets a source that it can load.

The source is MLflow's type `local`: a folder of links to the version's Arrow files and to the split's row numbers. The
keys beside its `uri` lead there from any machine: repository, commit and path of DVC, snapshot and split. Where this
home does not have the snapshot, the type is `code`, with repository and commit as MLflow's tags.
"""

import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from airloom.contracts import Snapshot
from airloom.errors import AirloomError
from airloom.project.git import without_password
from airloom.settings import Settings
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Dataset
    from mlflow.types import DataType
    from mlflow.types.schema import AnyType, Array

log = logging.getLogger(__name__)
MOST_SCHEMA = 1_000_000  # characters of a schema that MLflow takes


def log_input(api: "MlflowClient", settings: Settings, run: str, snapshot: Snapshot, split: str) -> None:
    """Log a split of a snapshot as an input of a run; again does no harm.

    Args:
        api: of MLflow.
        settings: of this installation.
        run: id of the run.
        snapshot: what is read.
        split: its name.
    """
    from mlflow.entities import DatasetInput, InputTag

    context = "training" if split == "train" else split
    tags = [InputTag(Tag.CONTEXT, context), InputTag(Tag.SNAPSHOT, snapshot.id)]
    tags.append(InputTag(Tag.DATASET_ID, snapshot.version_id))
    api.log_inputs(run, [DatasetInput(_dataset(settings, snapshot, split), tags)])


def _dataset(settings: Settings, snapshot: Snapshot, split: str) -> "Dataset":
    from mlflow.entities import Dataset

    from airloom.datasets.snapshots.plain_folder import lay_out
    from airloom.datasets.snapshots.snapshot import open_snapshot

    repository = without_password(settings.data_remote) or str(settings.data_repo)
    source: dict[str, Any] = {
        "repository": repository,
        "revision": snapshot.commit,
        "path": f"{snapshot.dataset}/shards",
        "dataset": snapshot.dataset,
        "version": snapshot.version_name,
        "snapshot": snapshot.id,
        "split": split,
    }
    where: dict[str, Any]
    try:
        schema = _schema(open_snapshot(settings, snapshot).schema)
        kind, where = "local", {"uri": str(lay_out(settings, snapshot, split))}
    except AirloomError as error:  # the run has read its rows otherwise: no reason to end it
        log.warning("MLflow gets no folder of %s, split %s: %s", snapshot.version_name, split, error.message)
        schema, kind = None, "code"
        where = {"tags": {Tag.SOURCE_REPOSITORY: repository, Tag.SOURCE_COMMIT: snapshot.commit}}
    return Dataset(
        name=snapshot.version_name,
        # MLflow keeps one dataset of a name and a digest in an experiment: splits of a version must differ in it.
        digest=hashlib.sha256(f"{snapshot.id}/{split}".encode()).hexdigest()[:32],
        source_type=kind,
        source=json.dumps(where | source),
        schema=schema,
        profile=json.dumps({"num_rows": snapshot.rows.get(split, 0)}),
    )


def _schema(schema: pa.Schema) -> str | None:
    """Columns and their types in MLflow's terms; None where they are more than it takes."""
    from mlflow.types.schema import ColSpec, Schema

    columns = [ColSpec(_kind(field.type), field.name, required=not field.nullable) for field in schema]
    text = json.dumps({"mlflow_colspec": Schema(columns).to_dict()})
    return text if len(text) <= MOST_SCHEMA else None


def _kind(kind: pa.DataType) -> "DataType | Array | AnyType":
    """The narrowest of MLflow's types that holds every value; `any` where it has none."""
    from mlflow.types import DataType
    from mlflow.types.schema import AnyType, Array

    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return Array(_kind(kind.value_type))
    known: dict[Any, list[pa.DataType]] = {
        DataType.boolean: [pa.bool_()],
        DataType.integer: [pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16()],
        DataType.long: [pa.int64(), pa.uint32()],
        DataType.float: [pa.float16(), pa.float32()],
        DataType.double: [pa.float64()],
        DataType.string: [pa.string(), pa.large_string()],
        DataType.binary: [pa.binary(), pa.large_binary()],
    }
    if pa.types.is_timestamp(kind):
        return DataType.datetime
    return next((name for name, kinds in known.items() if kind in kinds), AnyType())
