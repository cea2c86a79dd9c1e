"""Labelled predictions as new rows of the dataset that their model learned from, with a tag that leads back to them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airloom.contracts import Record
from airloom.errors import DataError
from airloom.monitoring import decisions, label_batches
from airloom.monitoring.decision import QUARANTINE
from airloom.monitoring.prediction_id import milliseconds
from airloom.names import DatasetName, shown_model
from airloom.quality.by_label import labelled_rows, versions_of
from airloom.quality.window import milliseconds as span
from airloom.settings import Settings
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    import pyarrow as pa

    from airloom.datasets.storage.manifest import VersionManifest

TAG = "labels="  # of the commit; behind it the name of the batch
FULL = "full"  # what `inputs_by` says where the whole row was kept


@dataclass(frozen=True)
class CommittedLabels(Record):
    """What became of labelled predictions.

    Attributes:
        dataset: the new version, `digits@v4`; empty where there was nothing new.
        tag: of the commit, which leads to the predictions.
        rows: that are new.
        known: labelled predictions that an earlier commit brought.
        not_kept: of which the log has no whole row.
        quarantined: from windows with faulty data.
    """

    dataset: str
    tag: str
    rows: int
    known: int
    not_kept: int
    quarantined: int


def commit_labels(
    settings: Settings,
    model: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    author: str | None = None,
) -> CommittedLabels:
    """Append labelled predictions to the dataset of their model; those that were brought before are left out.

    Args:
        settings: of this installation.
        model: `digits` for all its versions, or `digits/3`.
        since: of the predictions.
        until: the same.
        author: who says so; None for who calls.

    Raises:
        DataError: the log keeps no whole rows, or they are not those of the dataset.
        ValidationFailed: the rows are in quarantine, nothing else happened.
    """
    from airloom.datasets import versions
    from airloom.datasets.commit import commit
    from airloom.datasets.ingest import from_table

    first, last = span(since, until)
    chosen = versions_of(settings, model)
    name = DatasetName.parse(chosen[0].tags[Tag.DATASET]).dataset
    there = versions.list_versions(settings, name)
    manifest = versions.manifest_of(settings, there[-1])
    brought = {tag.removeprefix(TAG) for version in there for tag in version.tags if tag.startswith(TAG)}
    before = label_batches.predictions_of(settings.database_address, brought)
    faulty = [
        (one.since, one.until)
        for one in decisions.of_model(settings.database_address, chosen[0].name)
        if one.action == QUARANTINE
    ]
    new, labels, counts = list[dict[str, Any]](), list[tuple[str, str]](), {"known": 0, "not_kept": 0, "quarantined": 0}
    for version in chosen:
        table, found = labelled_rows(settings, version, ("inputs", "inputs_by"), first, last)
        for row, label in zip(table.to_pylist(), found, strict=True):
            moment = milliseconds(row["id"]) / 1000
            if row["id"] in before:
                counts["known"] += 1
            elif any(start <= moment < end for start, end in faulty):
                counts["quarantined"] += 1
            elif row.get("inputs_by") != FULL or not row.get("inputs"):
                counts["not_kept"] += 1
            else:
                new.append(json.loads(row["inputs"]))
                labels.append((row["id"], label.text))
    if not new:
        if counts["not_kept"]:
            hint = "`log: {inputs: full}` in the pipeline file keeps them, for versions that are trained from then on"
            raise DataError(f"of {counts['not_kept']} labelled predictions the log has no whole row", hint)
        return CommittedLabels("", "", 0, **counts)
    batch = label_batches.batch_of(labels)
    rows = _table(manifest, name, new, [text for _, text in labels])
    label_batches.note(settings.database_address, batch, [identity for identity, _ in labels])
    shown = shown_model(chosen[0].name, settings.installation)
    version = commit(
        settings,
        name,
        from_table(rows, manifest.layout, manifest.arrow_schema),
        message=f"{len(new)} labelled predictions of {shown}",
        author=author,
        tags=[f"{TAG}{batch}"],
        source=f"predictions of {shown}",
    )
    return CommittedLabels(version.name, f"{TAG}{batch}", len(new), **counts)


def _table(
    manifest: "VersionManifest", dataset: str, new: Sequence[dict[str, Any]], labels: Sequence[str]
) -> "pa.Table":
    """Rows of the log as the dataset has them.

    Raises:
        DataError: it has no label, or a column is missing, of another kind, or an array.
    """
    import pyarrow as pa

    schema, layout = manifest.arrow_schema, manifest.layout
    if not layout.label:
        raise DataError(f"{dataset} has no label column", "late labels go to datasets that have one")
    columns, inputs = dict[str, Any](), layout.inputs(schema)
    for name in (name for name in schema.names if name != layout.label):
        field = schema.field(name)
        if pa.types.is_nested(field.type) or isinstance(field.type, pa.BaseExtensionType):
            hint = "commit the rows from where they come from: `airloom dataset commit`"
            raise DataError(f"{dataset} has arrays in {name!a}, and rows with arrays are not made from the log", hint)
        if missing := [row for row in new if name not in row and not (len(row) == 1 and inputs == [name])]:
            there = ", ".join(map(ascii, missing[0])) or "nothing"
            raise DataError(f"{dataset} needs a column {name!a}, the log has {there}", "no row was committed")
        columns[name] = _column([row[name] if name in row else next(iter(row.values())) for row in new], field, dataset)
    columns[layout.label] = _column(list(labels), schema.field(layout.label), dataset)
    return pa.table({name: columns[name] for name in schema.names})


def _column(cells: list[Any], field: "pa.Field", dataset: str) -> "pa.Array":
    import pyarrow as pa

    try:
        return pa.array(cells).cast(field.type)
    except (pa.ArrowException, ValueError, TypeError) as error:
        message = f"{field.name} of {dataset} is {field.type}, the log has something else: {str(error)[:200]}"
        raise DataError(message, "no row was committed") from None
