"""Rows on their way into a dataset: read in its own columns where it exists, found out where it does not."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from airloom.datasets import commit as commits
from airloom.datasets import versions
from airloom.datasets.ingest import Reading, open_source
from airloom.datasets.ingest.type_names import type_name
from airloom.errors import DataError
from airloom.settings import Settings

if TYPE_CHECKING:
    from airloom.datasets.ingest import Batches


def open_rows(
    settings: Settings,
    dataset: str,
    source: Path,
    *,
    type: str = "",
    label: str = "",
    key: str = "",
    classes: Sequence[str] = (),
    reading: Reading | None = None,
    anew: bool = False,
) -> "Batches":
    """Rows of a file or folder for `dataset`.

    Args:
        settings: of this installation.
        dataset: where they go.
        source: what `ingest.open_source` reads.
        type: dataset type; "" finds it out.
        label: label column.
        key: the column that decides the split.
        classes: the labels that these rows may have; none: any.
        reading: how the values are written, where it is not as usual.
        anew: in columns of their own, to replace all rows of the dataset.

    Raises:
        DataError: the dataset exists with another type, label or key, or columns of other types than `reading` names,
            or the source cannot be read.
        ConfigError: `reading` names no type, encoding or delimiter.
    """
    versions.check_name(dataset)
    head, given = commits.tip(settings, dataset).manifest, {"type": type, "label": label, "key": key}
    if head is None or anew:
        return open_source(source, **given, classes=classes, reading=reading)
    own = {role: getattr(head.layout, role) for role in given}
    for role, asked in given.items():
        if asked and asked != own[role]:
            message = f"{dataset} has the {role} {own[role] or 'none'!r}, not {asked!r}"
            raise DataError(message, f"leave the {role} out, or make another dataset")
    for name, asked in reading.types.items() if reading else ():
        kind = head.arrow_schema.field(name).type if name in head.arrow_schema.names else asked
        if kind != asked and not _lists_of(kind, asked):
            message = f"{dataset} has the column {name!r} of type {type_name(kind)}, not {type_name(asked)}"
            raise DataError(message, f"say --column '{name}={type_name(kind)}', or make another dataset")
    return open_source(source, **own, schema=head.arrow_schema, classes=classes, reading=reading)


def _lists_of(kind: pa.DataType, asked: pa.DataType) -> bool:
    """Whether a column of lists of one length is asked for as lists of any."""
    lists = pa.types.is_fixed_size_list(kind) and pa.types.is_large_list(asked)
    return bool(lists and kind.value_type == asked.value_type)
