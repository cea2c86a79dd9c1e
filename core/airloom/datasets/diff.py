"""What differs between two versions: rows, shards, schema, labels, and the distribution of each profile column."""

import io
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airloom.classes import in_order, name_of
from airloom.contracts import DatasetVersion, Record
from airloom.datasets import versions
from airloom.datasets.storage.manifest import VersionManifest
from airloom.datasets.storage.rows import VersionRows
from airloom.datasets.storage.shards import shard_table
from airloom.datasets.storage.store import Store
from airloom.datasets.types import get_type
from airloom.datasets.types.labels import is_class
from airloom.errors import DataError
from airloom.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

BINS = 30


@dataclass(frozen=True)
class DatasetDifference(Record):
    """What differs between two versions."""

    old: str  # name
    new: str
    rows: dict[str, int]  # added, removed, kept
    shards: dict[str, int]  # kept, added, removed, new_bytes
    schema: dict[str, list[str]]  # by column: old and new type
    labels: dict[str, list[int]]  # by name of the class: old and new count
    # By profile column of numbers, which classes are not: old_mean, new_mean, population stability index.
    shift: dict[str, dict[str, float]]


def diff(
    settings: Settings, old: DatasetVersion, new: DatasetVersion, *, allow_redacted: bool = False
) -> DatasetDifference:
    """Compare two versions; the data of both are read.

    Raises:
        Redacted: rows of one were forgotten, and what is left was not asked for.
    """
    store = Store(settings)
    a, b = (_manifest(settings, version, allow_redacted) for version in (old, new))
    before, after = (_digests(store, manifest) for manifest in (a, b))
    profiles = [profile(store, manifest) for manifest in (a, b)]
    counts = [_counted(frame, m) for frame, m in zip(profiles, (a, b), strict=True)]
    return DatasetDifference(
        old=old.name,
        new=new.name,
        rows=_rows(before, after),
        shards=_shards(a, b),
        schema=_schema(a.arrow_schema, b.arrow_schema),
        labels={name: [counts[0][name], counts[1][name]] for name in in_order([*counts[0], *counts[1]])},
        shift=_shift(*profiles),
    )


def _manifest(settings: Settings, version: DatasetVersion, allow_redacted: bool = False) -> VersionManifest:
    """How a version is stored, where it may be compared."""
    versions.check_whole(settings, version, allow_redacted=allow_redacted)
    manifest = versions.manifest_of(settings, version)
    if not manifest.shards:
        raise DataError(f"nothing is left of {version.name}", "compare another version")
    return manifest


def _counted(frame: "pd.DataFrame", manifest: VersionManifest) -> Counter[str]:
    """Rows by class; nothing where the label is a number to be predicted."""
    return Counter(frame[manifest.layout.label].tolist()) if _is_class(manifest) else Counter()


def _is_class(manifest: VersionManifest) -> bool:
    label = manifest.layout.label
    return bool(label) and is_class(manifest.arrow_schema.field(label).type)


def changed(settings: Settings, old: DatasetVersion, new: DatasetVersion) -> int:
    """Rows of the old version in whose place the new one has others: a corrected row keeps its place in the split."""
    store = Store(settings)
    sides = [VersionRows(store, _manifest(settings, version)).all() for version in (old, new)]
    rows = [[digest.tobytes() for digest in side.row] for side in sides]
    both = set(rows[0]) & set(rows[1])
    places = [
        Counter(anchor.tobytes() for row, anchor in zip(own, side.anchor, strict=True) if row not in both)
        for own, side in zip(rows, sides, strict=True)
    ]
    return (places[0] & places[1]).total()


def row_changes(settings: Settings, old: DatasetVersion, new: DatasetVersion) -> dict[str, int]:
    """How many rows were added, removed and kept; their content is not read."""
    store = Store(settings)
    return _rows(*(_digests(store, _manifest(settings, version)) for version in (old, new)))


def _digests(store: Store, manifest: VersionManifest) -> pa.Array:
    row = np.ascontiguousarray(VersionRows(store, manifest).all().row)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(row), [None, pa.py_buffer(row)])


def _rows(before: pa.Array, after: pa.Array) -> dict[str, int]:
    """Equal rows may stand several times, so they are counted."""
    counted = [pa.table({"row": rows}).group_by("row").aggregate([([], "count_all")]) for rows in (before, after)]
    joined = counted[0].join(counted[1], "row", join_type="inner", right_suffix="_new")
    common = pc.sum(pc.min_element_wise(joined["count_all"], joined["count_all_new"])).as_py() or 0
    return {"added": len(after) - common, "removed": len(before) - common, "kept": common}


def _shards(a: VersionManifest, b: VersionManifest) -> dict[str, int]:
    old, new = ({shard.md5: shard.bytes for shard in manifest.shards} for manifest in (a, b))
    fresh = set(new) - set(old)
    return {
        "kept": len(set(old) & set(new)),
        "added": len(fresh),
        "removed": len(set(old) - set(new)),
        "new_bytes": sum(new[md5] for md5 in fresh),
    }


def _schema(old: pa.Schema, new: pa.Schema) -> dict[str, list[str]]:
    kinds = [{field.name: str(field.type) for field in schema} for schema in (old, new)]
    names = dict.fromkeys([*old.names, *new.names])
    pairs = {name: [kinds[0].get(name, "absent"), kinds[1].get(name, "absent")] for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def profile(store: Store, manifest: VersionManifest) -> "pd.DataFrame":
    """The profile of all live rows; a label that is a class by its name."""
    import pandas as pd

    kind = get_type(manifest.layout.type)
    store.fetch({shard.md5: shard.bytes for shard in manifest.shards})
    profiles = [kind.profile(shard_table(store, shard), manifest.layout) for shard in manifest.shards]
    frame = pd.concat(profiles, ignore_index=True)
    if _is_class(manifest):
        label = manifest.layout.label
        frame[label] = [name_of(value) for value in frame[label].astype(object).where(frame[label].notna(), "")]
    return frame


def _shift(old: "pd.DataFrame", new: "pd.DataFrame") -> dict[str, dict[str, float]]:
    shifts = {}
    for name in old.columns.intersection(new.columns):
        a, b = (_numbers(frame[name]) for frame in (old, new))
        if len(a) and len(b):
            means = {"old_mean": float(a.mean()), "new_mean": float(b.mean())}
            shifts[str(name)] = {**means, "psi": stability(a, b)}
    return shifts


def _numbers(column: "pd.Series[Any]") -> np.ndarray[Any, Any]:
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(column):
        return np.empty(0)
    values: np.ndarray[Any, Any] = column.to_numpy(np.float64, na_value=np.nan)
    return np.asarray(values[np.isfinite(values)])


def stability(old: np.ndarray[Any, Any], new: np.ndarray[Any, Any], bins: int = 10) -> float:
    """Population stability index over the old values' deciles (Siddiqi 2006); 0 is equal, above 0.1 a shift."""
    edges = np.unique(np.quantile(old, np.linspace(0, 1, bins + 1)[1:-1]))
    shares = [np.bincount(np.searchsorted(edges, v, "left"), minlength=len(edges) + 1) / len(v) for v in (old, new)]
    a, b = (np.maximum(share, 1e-4) for share in shares)  # an empty bin would be an infinite shift
    return float(((b - a) * np.log(b / a)).sum())


def picture(settings: Settings, old: DatasetVersion, new: DatasetVersion, *, allow_redacted: bool = False) -> bytes:
    """A PNG: the distribution of each profile column in both versions.

    Raises:
        Redacted: rows of one were forgotten, and what is left was not asked for.
    """
    from matplotlib.figure import Figure

    store = Store(settings)
    frames = [profile(store, _manifest(settings, version, allow_redacted)) for version in (old, new)]
    first, second = frames
    columns = [name for name in first.columns.intersection(second.columns)][:12]
    rows = (len(columns) + 2) // 3
    figure = Figure(figsize=(12, 2.8 * rows), layout="constrained")
    for place, name in enumerate(columns, 1):
        pair = [(version.name, frame[name]) for version, frame in zip((old, new), frames, strict=True)]
        _panel(figure.add_subplot(rows, 3, place), str(name), pair)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _panel(axes: Any, name: str, columns: "list[tuple[str, pd.Series[Any]]]") -> None:
    values = [(version, _numbers(column)) for version, column in columns]
    if all(len(v) for _, v in values):
        low, high = min(v.min() for _, v in values), max(v.max() for _, v in values)
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
        for version, numbers in values:
            axes.hist(numbers, edges, density=True, alpha=0.5, label=version)
    else:
        shares = [(version, column.value_counts(normalize=True)) for version, column in columns]
        top = in_order(str(value) for _, share in shares for value in share.index[:10])
        for shift, (version, share) in enumerate(shares):
            named = {str(value): part for value, part in share.items()}
            axes.bar(np.arange(len(top)) + 0.4 * shift, [named.get(v, 0) for v in top], 0.4, alpha=0.7, label=version)
        axes.set_xticks(np.arange(len(top)) + 0.2, top, fontsize=7)
    axes.set_title(name, fontsize=9)
    axes.legend(fontsize=7)
