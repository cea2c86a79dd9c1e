"""Draft an expectation suite from the profile of data that is known to be good; a person then edits it.

Critical is what makes rows of this kind: their columns and the kind of their values, cells that are never empty, the
limits that the type knows, the classes. What was merely seen, such as a range, is a warning with room: the next month's
rows lie outside of what the first month's did, and are as good.
"""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.datasets.types import get_type
from airloom.datasets.types.base import Limits
from airloom.datasets.validation.validate import suite_path
from airloom.datasets.versions import check_name
from airloom.errors import DataError
from airloom.files import write_private
from airloom.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

MARGIN = 0.5  # of the range seen, on each side
EMPTY = 0.1  # share of empty cells beyond that seen, where cells may be empty
CATEGORIES = 100  # a text column with more different values is no category
MEAN_DEVIATIONS = 1.0  # how far a batch's mean may lie from that of the data seen
EXACT = 2**53  # larger whole numbers are rounded by Great Expectations
NUMBERS = [  # as Great Expectations finds them in numpy and pandas
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"),
    *("Int8Dtype", "Int16Dtype", "Int32Dtype", "Int64Dtype", "UInt8Dtype", "UInt16Dtype", "UInt32Dtype", "UInt64Dtype"),
    *("Float32Dtype", "Float64Dtype"),
]


def propose(
    dataset: str, profile: "pd.DataFrame", label: str = "", margin: float = MARGIN, *, type: str = "generic"
) -> dict[str, Any]:
    """A suite, in Great Expectations' own JSON, that the data passes and that rows of another kind do not.

    Critical: every column, with numbers where there were numbers; no empty cells where the type has none, else about as
    many as there were; no empty texts where there were none; what the type knows, such as pixels from 0 to 1; labels of
    which several were seen of each, at least one row. Warnings: values out of the range seen and a margin, a column's
    mean more than a standard deviation away, a category never seen, a label that is absent, a batch ten times as large.

    Args:
        dataset: gives the suite its name.
        profile: one row a row of the data, as its type measured it.
        label: the label's column in the profile, "" for none.
        margin: share of the range seen that a number may lie outside before there is a warning.
        type: of the dataset.

    Raises:
        DataError: there are no rows to draft from.
    """
    if profile.empty:
        raise DataError(f"there are no rows of {dataset} to draft expectations from", "commit some, or name a file")
    kind = get_type(type)
    limits: Limits = getattr(kind, "limits", {})
    expectations = [
        _expect("expect_table_row_count_to_be_between", min_value=1),
        _expect("expect_table_row_count_to_be_between", "warning", max_value=10 * len(profile)),
    ]
    for name, values in profile.items():
        expectations += _structure(str(name), values, kind.nullable, limits.get(str(name), (None, None)))
        if name in getattr(kind, "constant", ()) and values.nunique() == 1:
            expectations.append(_expect("expect_column_values_to_be_in_set", column=name, value_set=_different(values)))
        expectations += _seen(str(name), values.dropna(), name == label, margin)
    notes = (
        f"Drafted from {len(profile)} rows, with a margin of {margin:g} of the range seen. Edit it to what you know."
    )
    return {"name": dataset, "expectations": expectations, "meta": {"notes": notes}}


def write(settings: Settings, dataset: str, suite: dict[str, Any], replace: bool = False) -> Path:
    """Write a draft where `validate` looks for it.

    Args:
        settings: of this installation.
        dataset: its name.
        suite: as `propose` returned it.
        replace: write over a suite that is there.

    Raises:
        DataError: there is a suite already, and it is not to be replaced.
    """
    path = suite_path(settings, check_name(dataset))
    if path.exists() and not replace:
        raise DataError(f"there is a suite {path} already", "edit it, or remove it first")
    write_private(path, f"{json.dumps(suite, indent=2, ensure_ascii=False)}\n")
    path.chmod(0o644)  # it is part of the project, not of the private state
    return path


def _structure(
    name: str, values: "pd.Series[Any]", nullable: bool, limits: tuple[float | None, float | None]
) -> list[dict[str, Any]]:
    """What any rows of this kind have; the rows seen do not fail it, so where they would it is only a warning."""
    present, expectations = values.dropna(), [_expect("expect_column_to_exist", column=name)]
    expectations += _empty(name, float(values.isna().mean()), nullable)
    between = {key: end for key, end in zip(("min_value", "max_value"), limits, strict=True) if end is not None}
    if between:
        kept = all(present >= between.get("min_value", -math.inf)) and all(
            present <= between.get("max_value", math.inf)
        )
        severity = "critical" if kept else "warning"
        expectations.append(_expect("expect_column_values_to_be_between", severity, column=name, **between))
    if _is_numeric(values) and len(present):
        expectations.append(_expect("expect_column_values_to_be_in_type_list", column=name, type_list=NUMBERS))
    elif len(present) and all(isinstance(value, str) and value for value in present):
        mostly = {"mostly": 1 - EMPTY} if nullable else {}
        expectations.append(_expect("expect_column_value_lengths_to_be_between", column=name, min_value=1, **mostly))
    return expectations


def _empty(name: str, share: float, nullable: bool) -> list[dict[str, Any]]:
    """Empty cells: none where the type has none; else a share as before and a margin, and a warning of the first."""
    if share == 0 and not nullable:
        return [_expect("expect_column_values_to_not_be_null", column=name)]
    mostly = max(0.0, math.floor((1 - share - EMPTY) * 1000) / 1000)
    first = [_expect("expect_column_values_to_not_be_null", "warning", column=name)] if share == 0 else []
    return [_expect("expect_column_values_to_not_be_null", column=name, mostly=mostly), *first]


def _seen(name: str, present: "pd.Series[Any]", is_label: bool, margin: float) -> list[dict[str, Any]]:
    """What the values were like; but for the classes, others may be as good."""
    import pandas as pd

    if present.empty:
        return []
    if is_label and not pd.api.types.is_float_dtype(present):
        counts = present.value_counts()
        if len(counts) <= max(CATEGORIES, len(present) // 10):
            # Where a class was seen only once, there may well be some that were not seen at all.
            severity, classes = "critical" if counts.min() > 1 else "warning", _different(present)
            contain = "expect_column_distinct_values_to_contain_set"
            return [
                _expect("expect_column_values_to_be_in_set", severity, column=name, value_set=classes),
                _expect(contain, "warning", column=name, value_set=classes),
            ]
    if _is_numeric(present):
        return _numbers(name, present, margin)
    if pd.api.types.is_bool_dtype(present) or pd.api.types.is_datetime64_any_dtype(present):
        return []  # both values of a boolean are good, and time goes on
    return _text(name, present, margin)


def _is_numeric(values: "pd.Series[Any]") -> bool:
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values))


def _numbers(name: str, values: "pd.Series[Any]", margin: float) -> list[dict[str, Any]]:
    import numpy as np

    low, high = values.min().item(), values.max().item()
    if not (math.isfinite(low) and math.isfinite(high)):
        return []  # infinite values: nothing can be said of a range
    limits = {"min_value": _beyond(low, high - low, margin, -1), "max_value": _beyond(high, high - low, margin, 1)}
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(values.mean()), float(values.std(ddof=0))
    about = {"min_value": mean - MEAN_DEVIATIONS * deviation, "max_value": mean + MEAN_DEVIATIONS * deviation}
    between = _expect("expect_column_values_to_be_between", "warning", column=name, **limits)
    if not deviation or not math.isfinite(mean + deviation):
        return [between]
    return [between, _expect("expect_column_mean_to_be_between", "warning", column=name, **about)]


def _beyond(end: float, extent: float, margin: float, side: int) -> float:
    """The end of a range with its room; of a single value the room is a share of that value, and at least 1 or so."""
    room = margin * (extent or max(abs(end), 1))
    room = room if math.isfinite(room) else 0  # the range itself is beyond what a float holds
    limit = end + side * (math.ceil(room) if isinstance(end, int) else room)
    if side < 0 <= end and limit < 0:
        limit = type(end)(0)  # what was never negative stays so
    return math.nextafter(float(limit), side * math.inf) if abs(limit) > EXACT else limit


def _text(name: str, values: "pd.Series[Any]", margin: float) -> list[dict[str, Any]]:
    different = _different(values)
    if len(different) <= min(CATEGORIES, len(values) // 2):
        return [_expect("expect_column_values_to_be_in_set", "warning", column=name, value_set=different)]
    lengths = values.str.len()
    low, high = int(lengths.min()), int(lengths.max())
    limits = {"min_value": _beyond(low, high - low, margin, -1), "max_value": _beyond(high, high - low, margin, 1)}
    return [_expect("expect_column_value_lengths_to_be_between", "warning", column=name, **limits)]


def _different(values: "pd.Series[Any]") -> list[Any]:
    return sorted(values.unique().tolist())


def _expect(kind: str, severity: str = "critical", /, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "severity": severity}
