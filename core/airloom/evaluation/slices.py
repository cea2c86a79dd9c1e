"""Parts of the test split: by label, by tag of the commit that brought a row, by a column of the type's profile."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from airloom.classes import name_of
from airloom.contracts import Snapshot
from airloom.datasets.types.labels import label_names
from airloom.errors import ConfigError
from airloom.spec.pipeline import Slice

if TYPE_CHECKING:
    from airloom.datasets.snapshots.data import SnapshotData

Array = np.ndarray[Any, Any]


def masks(data: "SnapshotData", snapshot: Snapshot, slices: Mapping[str, Slice]) -> dict[str, Array]:
    """Which test rows belong to each slice, bool (n,). A slice may be empty: the gate refuses it then.

    Raises:
        ConfigError: a column is not in the profile.
    """
    frame = data.frame("test") if any(part.tag is None for part in slices.values()) else None
    tags = data.tags("test") if any(part.tag for part in slices.values()) else []
    found = {}
    for name, part in slices.items():
        if part.tag is not None:
            found[name] = np.array([part.tag in of_row for of_row in tags], bool)
        else:
            found[name] = chosen(name, part, frame, data.layout.label, snapshot.version_name)
    return found


def chosen(name: str, part: Slice, frame: Any, label: str, dataset: str) -> Array:
    """Which rows belong to a slice by label or by a column, bool (n,).

    Args:
        name: of the slice.
        part: what it says.
        frame: the rows, a column each, the label too.
        label: the name of its column.
        dataset: where the rows come from, for messages.

    Raises:
        ConfigError: there is no such column.
    """
    column = label if part.label is not None else part.column
    if column not in frame.columns:
        there = ", ".join(map(str, frame.columns))
        raise ConfigError(f"slice {name}: {dataset} has no column {column!r}", f"there are {there}")
    values = frame[column]
    if part.label is not None:
        wanted = part.label if isinstance(part.label, list) else [part.label]
        if names := label_names(values.to_list()):  # folder 10 is called "10", and a file may say 10
            asked = [int(one) if isinstance(one, float) and one.is_integer() else one for one in wanted]
            return np.isin(names, [name_of(one) for one in asked])
        return values.isin(wanted).to_numpy(bool)  # type: ignore[no-any-return]
    mask = np.ones(len(values), bool)
    if part.equals is not None:
        mask &= (values == part.equals).to_numpy(bool, na_value=False)
    if part.at_least is not None:
        mask &= (values >= part.at_least).to_numpy(bool, na_value=False)
    if part.below is not None:
        mask &= (values < part.below).to_numpy(bool, na_value=False)
    return mask
