"""An Airloom home for a benchmark, with the expectation suites that a commit cannot do without."""

import json
from pathlib import Path
from typing import Any

from airloom.contracts import DatasetVersion, Snapshot
from airloom.datasets.commit import commit
from airloom.datasets.ingest import Batches
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage import repository
from airloom.settings import Settings
from benchmarks._datasets.data import CLASSES

ROWS = ("expect_table_row_count_to_be_between", {"min_value": 1})
LABELS = ("expect_column_values_to_be_between", {"column": "label", "min_value": 0, "max_value": CLASSES - 1})


def _whole(column: str, low: float, high: float) -> list[tuple[str, dict[str, Any]]]:
    """A measure must be there, and in its range."""
    return [
        ("expect_column_values_to_not_be_null", {"column": column}),
        ("expect_column_values_to_be_between", {"column": column, "min_value": low, "max_value": high}),
    ]


SUITES = {
    "images": [*_whole("mean_intensity", 0, 1), *_whole("lowest", 0, 1), *_whole("highest", 0, 1)],
    "texts": _whole("characters", 1, 1000),
    "blobs": _whole("blob.bytes", 1, 100_000),
    "warm": _whole("blob.bytes", 1, 100_000),
    "million": _whole("number", 0, 10_000_000),
}


def make(folder: Path, data_remote: str = "", dvc_remote: str = "") -> Settings:
    """A home in a new folder, its repository made already."""
    suites = folder / "project" / "configs" / "expectations"
    suites.mkdir(parents=True)
    for dataset, measures in SUITES.items():
        expectations = [{"type": type_, "kwargs": kwargs} for type_, kwargs in [ROWS, LABELS, *measures]]
        (suites / f"{dataset}.json").write_text(json.dumps({"name": dataset, "expectations": expectations}))
    settings = Settings(
        home=folder / "home", project=folder / "project", data_remote=data_remote, dvc_remote=dvc_remote
    )
    repository.ensure(settings)
    return settings


def whole(settings: Settings, dataset: str, data: Batches) -> Snapshot:
    """Commit the rows, and ask for all of them as one split, `train`."""
    version: DatasetVersion = commit(settings, dataset, data, message="made up")
    return snapshot.prepare(settings, version, {"train": 1.0})
