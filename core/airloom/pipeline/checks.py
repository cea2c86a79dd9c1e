"""What is known to be wrong with a pipeline before anything runs: of its dataset, its metrics, and its functions."""

import difflib
from collections.abc import Collection
from typing import TYPE_CHECKING

from airloom.errors import ConfigError
from airloom.project.functions import check_function
from airloom.settings import Settings
from airloom.spec.pipeline import Pipeline
from airloom.spec.tasks import has, known

if TYPE_CHECKING:
    from airloom.datasets.storage.manifest import VersionManifest

COSTS = ("latency_ms", "size_mb")


def check_functions(settings: Settings, pipeline: Pipeline) -> None:
    """Refuse functions that are not in the files that the pipeline file names; nothing is imported.

    Raises:
        ConfigError: names the key, and what there is.
    """
    named = {"train": pipeline.train, "tune.space_function": pipeline.tune.space_function if pipeline.tune else ""}
    for key, reference in named.items():
        if reference:
            check_function(settings.project, reference, key)


def check_slices(pipeline: Pipeline, manifest: "VersionManifest") -> None:
    """Refuse a slice by a column that the dataset's profile does not have: the evaluation would, after all the work.

    Raises:
        ConfigError: names the slice, and the columns.
    """
    from airloom.datasets.types import get_type

    columns = {name: None for shard in manifest.shards for name in shard.statistics}
    if not columns:  # of a release that kept none
        return
    measures = getattr(get_type(manifest.layout.type), "limits", {})  # of an old shard not all of them may be kept
    for name, part in pipeline.evaluate.slices.items():
        column = manifest.layout.label if part.label is not None else part.column
        if part.tag is None and column not in {*columns, *measures}:
            message = f"evaluate.slices.{name}: the dataset has no column {column!a}{_near(str(column), columns)}"
            raise ConfigError(message, f"a slice can be by {', '.join(map(ascii, columns))}")


def check_log(pipeline: Pipeline, manifest: "VersionManifest") -> None:
    """Refuse a column of `log` that is no input of the dataset: the server would keep nothing of any row.

    Raises:
        ConfigError: names the key, and the columns.
    """
    if pipeline.log is None:
        return
    there = manifest.layout.inputs(manifest.arrow_schema)
    for key, names in {"drop": pipeline.log.drop, "hash": pipeline.log.hash}.items():
        for name in names:
            if name not in there:
                message = f"log.{key}: the dataset has no input {name!a}{_near(name, there)}"
                raise ConfigError(message, f"its inputs are {', '.join(map(ascii, there))}")


def check_metrics(pipeline: Pipeline) -> None:
    """Refuse a rule of the gate for a metric that the task does not have; a task of one's own knows its own.

    Raises:
        ConfigError: names the key, and the metrics.
    """
    gate = pipeline.gate
    if gate is None or pipeline.own_task:
        return
    there = [*known(pipeline.task), *pipeline.evaluate.own, *COSTS]
    rules = {"gate.at_least": gate.at_least, "gate.at_most": gate.at_most}
    rules |= {f"gate.slices.{name}.at_least": rule.at_least for name, rule in gate.slices.items()}
    for key, metrics in rules.items():
        for metric in metrics:
            by_class = metric.startswith(("recall_", "iou_"))  # of a class: which ones, only a version tells
            if metric not in there and not by_class and not has(pipeline.task, metric):
                message = f"{key}: no evaluation measures {metric!r}{_near(metric, there)}"
                raise ConfigError(message, f"it measures {', '.join(there)}, recall_<class>")


def missing_datasets(pipeline: Pipeline, there: Collection[str]) -> list[str]:
    """A line for each dataset that the pipeline reads and that is not here yet."""
    named = {"dataset": pipeline.dataset.name}
    named |= {f"predict.{place}": one.dataset.partition("@")[0] for place, one in enumerate(pipeline.predict)}
    missing = {key: name for key, name in named.items() if name not in there}
    return [
        f"  {key}: there is no dataset {name} yet{_near(name, there)}; `airloom dataset create` makes it"
        for key, name in missing.items()
    ]


def _near(name: str, there: Collection[str]) -> str:
    close = difflib.get_close_matches(name, list(there), 1)
    return f" (did you mean {close[0]}?)" if close else ""
