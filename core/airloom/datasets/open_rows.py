"""Rows on their way into a dataset: read in its own columns where it exists, found out where it does not."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from airloom.datasets import commit as commits
from airloom.datasets import versions
from airloom.datasets.ingest import Reading, open_source
from airloom.datasets.ingest.type_names import type_name
from airloom.datasets.storage.part_names import names_of
from airloom.errors import ConfigError, DataError
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
    split: str = "",
    parts: Mapping[str, Iterable[Any]] | None = None,
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
        split: the column that tells a published split, for the first commit.
        parts: the values of it that name each part, for the first commit; see `storage.part_names`.
        classes: the labels that these rows may have; none: any.
        reading: how the values are written, where it is not as usual.
        anew: in columns of their own, to replace all rows of the dataset.

    Raises:
        DataError: the dataset exists with another type, label or key, or columns of other types than `reading` names,
            or the source cannot be read.
        ConfigError: `reading` names no type, encoding or delimiter, or `parts` no values of a published split.
    """
    versions.check_name(dataset)
    head = commits.tip(settings, dataset).manifest
    given = {"type": type, "label": label, "key": key, "split": split}
    if parts and not (split or (head and head.layout.split)):
        raise ConfigError("parts are named, but no column that tells the split", "name it: --split-column NAME")
    if head is None or anew:
        return open_source(source, **given, parts=parts, classes=classes, reading=reading)
    own = {role: getattr(head.layout, role) for role in given}
    has = own | {"parts": head.layout.parts}
    named = names_of(parts) if parts else {}
    for role, asked in (given | {"parts": named}).items():
        if asked and asked != has[role]:
            message = f"{dataset} has the {role} {has[role] or 'none'!r}, not {asked!r}"
            raise DataError(message, f"leave the {role} out, or make another dataset")
    for name, asked in reading.types.items() if reading else ():
        kind = head.arrow_schema.field(name).type if name in head.arrow_schema.names else asked
        if kind != asked and not _lists_of(kind, asked):
            message = f"{dataset} has the column {name!r} of type {type_name(kind)}, not {type_name(asked)}"
            raise DataError(message, f"say --column '{name}={type_name(kind)}', or make another dataset")
    return open_source(
        source, **own, parts=head.layout.parts, schema=head.arrow_schema, classes=classes, reading=reading
    )


def _lists_of(kind: pa.DataType, asked: pa.DataType) -> bool:
    """Whether a column of lists of one length is asked for as lists of any."""
    lists = pa.types.is_fixed_size_list(kind) and pa.types.is_large_list(asked)
    return bool(lists and kind.value_type == asked.value_type)
