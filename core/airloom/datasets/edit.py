"""Change single rows of a dataset: delete them, or put corrected ones in their place."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airloom.contracts import DatasetVersion
from airloom.datasets import commit as commits
from airloom.datasets import versions
from airloom.datasets.ingest import Batches
from airloom.datasets.ingest.text_values import Misfit, as_written
from airloom.datasets.ingest.type_names import type_name
from airloom.datasets.operations import Edit, Target
from airloom.datasets.storage.manifest import VersionManifest
from airloom.datasets.storage.rows import VersionRows
from airloom.datasets.storage.shards import shard_table
from airloom.datasets.storage.store import Store
from airloom.datasets.validation.validate import validate
from airloom.errors import ConfigError, DataError, ValidationFailed
from airloom.settings import Settings

Array = np.ndarray[Any, Any]


def delete_rows(
    settings: Settings, version: DatasetVersion, rows: Sequence[int], *, message: str, author: str | None = None
) -> DatasetVersion:
    """A new version without some rows.

    Args:
        settings: of this installation.
        version: the version in which someone saw the rows; it need not be the newest.
        rows: their numbers there, from 0, in the order of the live rows.
        message: why.
        author: who says so; None for who calls.

    Raises:
        DataError: a row was changed or deleted by a later version; it is named.
    """
    details = commits.Details.of(settings, message, author)
    details.check()
    store = Store(settings)
    return commits.land(settings, store, version.dataset, Edit(targets(settings, store, version, rows)), details)


def delete_found(
    settings: Settings,
    store: Store,
    manifest: VersionManifest,
    places: Mapping[tuple[str, str], Array],
    *,
    message: str,
    author: str,
) -> DatasetVersion:
    """A new version without some rows of a version, named by where they stand.

    Args:
        settings: of this installation.
        store: of this home.
        manifest: of the version.
        places: of rows, dead ones too, by MD5 of their shard and of its index.
        message: why.
        author: who says so.

    Raises:
        DataError: nothing would be left, or a row was changed meanwhile.
    """
    rows, chosen = VersionRows(store, manifest), list[Target]()
    for shard in manifest.shards:
        dead = shard.tombstones
        for place in places.get((shard.md5, shard.index), np.empty(0, np.int64)).tolist():
            if not dead[place]:
                digest = rows.index(shard).row[place].tobytes()
                chosen.append(Target(digest, shard.md5, place, f"a row of {manifest.name}"))
    return commits.land(settings, store, manifest.dataset, Edit(chosen), commits.Details(message, author))


def fix_rows(
    settings: Settings,
    version: DatasetVersion,
    rows: Sequence[int],
    data: Batches,
    *,
    message: str,
    author: str | None = None,
    suite: Path | None = None,
) -> DatasetVersion:
    """A new version with other rows in the place of some: `data` has one for each, in the same order.

    The new rows stand at the end; each inherits the place in the split of the row that it replaces.

    Args:
        settings: of this installation.
        version: the version in which someone saw the rows; it need not be the newest.
        rows: their numbers there, from 0.
        data: the new rows.
        message: why.
        author: who says so; None for who calls.
        suite: expectation suite; by default the dataset's own.

    Raises:
        DataError: as `delete_rows`; or the numbers of rows differ.
        ValidationFailed: the new rows do not pass the suite.
    """
    details = commits.Details.of(settings, message, author, source=data.source)
    details.check()
    store, head = Store(settings), commits.tip(settings, version.dataset).manifest
    chosen = targets(settings, store, version, rows)
    staged = commits.stage(store, data, head, version.dataset, head.cut_bits if head else None)
    given = sum(shard.rows for shard in staged.shards)
    if given != len(chosen):
        raise DataError(f"{given} rows were given for {len(chosen)} to replace", "give one row for each")
    report = validate(settings, version.dataset, staged.profile, suite, after=head.name if head else "")
    if not report.passed:
        message = f"{given} rows for {version.dataset} did not pass: {'; '.join(report.failed)}"
        raise ValidationFailed(message, f"nothing was changed; the report is {report.page}", report.page)
    details = replace(details, report=str(Path(report.page).relative_to(settings.home)))
    fixed = commits.land(settings, store, version.dataset, Edit(chosen, staged.shards), details, staged)
    report.name_subject(fixed.name)
    return fixed


def targets(
    settings: Settings, store: Store, version: DatasetVersion, rows: Sequence[int], *, allow_redacted: bool = False
) -> list[Target]:
    """What the rows with these numbers are.

    Args:
        settings: of this installation.
        store: of this home.
        version: in which the rows are numbered.
        rows: their numbers, from 0, in the order of the live rows.
        allow_redacted: number what is left of a version whose rows were forgotten in part.

    Raises:
        ConfigError: a number is out of range, or given twice.
        Redacted: rows of the version were forgotten: the others have other numbers now.
    """
    versions.check_whole(settings, version, allow_redacted=allow_redacted)
    manifest = versions.manifest_of(settings, version)
    wrong = [row for row in rows if not 0 <= row < manifest.rows]
    if wrong or not rows:
        raise ConfigError(
            f"{version.name} has no row {wrong[0] if wrong else ''}", f"rows are 0 to {manifest.rows - 1}"
        )
    if len(set(rows)) != len(rows):
        raise ConfigError("a row is given twice", "name each row once")
    indexed = VersionRows(store, manifest)
    bases = np.concatenate([[0], np.cumsum([shard.rows for shard in manifest.shards])])
    chosen = []
    for row in rows:
        number = int(indexed.physical[row])
        at = int(np.searchsorted(bases, number, side="right")) - 1
        shard, place = manifest.shards[at], number - int(bases[at])
        digest = indexed.index(shard).row[place].tobytes()
        chosen.append(Target(digest, shard.md5, place, f"row {row} of {version.name}"))
    return chosen


def rows_with_keys(settings: Settings, version: DatasetVersion, values: Sequence[Any]) -> list[int]:
    """Numbers of the rows whose declared key is one of `values`.

    The key column itself is read: a corrected row stands at the place of the row before it, whatever its key is now.

    A text is compared as it is written: 007 is not 7.

    Raises:
        ConfigError: the dataset declares no key, or the key is of another type.
        DataError: no row has one of the keys; all such are named.
    """
    keys, field = _keys(settings, version)
    wanted = pa.array([typed_key(value, field) for value in values], field.type)
    _check_there(version, keys, wanted)
    return np.flatnonzero(np.asarray(pc.is_in(keys, value_set=wanted))).tolist()


def rows_like(settings: Settings, version: DatasetVersion, data: Batches) -> tuple[list[int], Batches]:
    """Numbers of the rows with the keys of these corrected ones, and the corrected ones, which are read for that.

    Raises:
        ConfigError: the dataset declares no key.
        DataError: a key has no row, or several, or comes twice in the data.
    """
    keys, field = _keys(settings, version)
    table = data.to_table()
    wanted = table.column(field.name).combine_chunks().cast(field.type)
    _check_there(version, keys, wanted)
    for where, column in ((version.name, keys.filter(pc.is_in(keys, value_set=wanted))), (data.source, wanted)):
        counts = pc.value_counts(column)
        twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
        if twice:
            message = f"in {where} several rows have the key {_some(twice)}"
            raise DataError(message, "name rows by their numbers; nothing was changed")
    return pc.index_in(wanted, keys).to_pylist(), replace(data, batches=iter(table.to_batches()))


def _keys(settings: Settings, version: DatasetVersion) -> tuple[pa.ChunkedArray, pa.Field]:
    """The key of each live row, in their order."""
    manifest, store = versions.manifest_of(settings, version), Store(settings)
    if not manifest.layout.key:
        raise ConfigError(f"{version.dataset} declares no key", "name rows by their numbers")
    field = manifest.arrow_schema.field(manifest.layout.key)
    store.fetch({shard.md5: shard.bytes for shard in manifest.shards})
    columns = [shard_table(store, shard).column(field.name) for shard in manifest.shards]
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], field.type), field


def _check_there(version: DatasetVersion, keys: pa.ChunkedArray, wanted: pa.Array) -> None:
    absent = wanted.filter(pc.invert(pc.is_in(wanted, value_set=keys))).to_pylist()
    if absent:
        raise DataError(
            f"{version.name} has no row with the key {_some(absent)}", "look at the key column; nothing was changed"
        )


def _some(keys: list[Any]) -> str:
    more = f" and {len(keys) - 20} more" if len(keys) > 20 else ""
    return ", ".join(ascii(str(key)[:80]) for key in keys[:20]) + more


def typed_key(value: Any, field: pa.Field) -> Any:
    """A key as its column has it; a whole number only as it is written there, for 007 is another key than 7.

    Raises:
        ConfigError: it is none of the column's type.
    """
    try:
        return as_written(value, field.type) if isinstance(value, str) else pa.scalar(value).cast(field.type).as_py()
    except (pa.ArrowException, Misfit) as error:
        why = f": {error.reason}" if isinstance(error, Misfit) and error.reason else ""
        message = f"{str(value)[:80]!r} is no {type_name(field.type)}, as the key {field.name} is{why}"
        raise ConfigError(message, "write it as `show` and `export` do") from None
