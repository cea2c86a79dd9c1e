"""Draft an expectation suite from the profile of data that is known to be good; a person then edits it."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.datasets.validation.validate import suite_path
from airloom.datasets.versions import check_name
from airloom.errors import DataError
from airloom.files import write_private
from airloom.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

MARGIN = 0.1  # of the range seen, on each side
CATEGORIES = 100  # a text column with more different values is no category
MEAN_DEVIATIONS = 1.0  # how far a batch's mean may lie from that of the data seen


def propose(dataset: str, profile: "pd.DataFrame", label: str = "", margin: float = MARGIN) -> dict[str, Any]:
    """A suite, in Great Expectations' own JSON, that the data passes and that spoiled data does not.

    Critical: no new empty cells, numbers within the range seen and a margin, only labels that were seen, at least one
    row. Warnings: a column's mean more than a standard deviation away, a category never seen, a label that is absent,
    a batch ten times as large.

    Args:
        dataset: gives the suite its name.
        profile: one row a row of the data, as its type measured it.
        label: the label's column in the profile, "" for none.
        margin: share of the range seen that a number may lie outside.

    Raises:
        DataError: there are no rows to draft from.
    """
    if profile.empty:
        raise DataError(f"there are no rows of {dataset} to draft expectations from", "commit some, or name a file")
    expectations = [
        _expect("expect_table_row_count_to_be_between", min_value=1),
        _expect("expect_table_row_count_to_be_between", "warning", max_value=10 * len(profile)),
    ]
    for name in profile.columns:
        expectations += _column(str(name), profile[name], name == label, margin)
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


def _column(name: str, values: "pd.Series", is_label: bool, margin: float) -> list[dict[str, Any]]:
    import pandas as pd

    expectations = [_nulls(name, values, margin)]
    present = values.dropna()
    if present.empty:
        return expectations
    if is_label and not pd.api.types.is_float_dtype(values):
        classes = _different(present)
        if len(classes) <= max(CATEGORIES, len(values) // 10):
            contain = "expect_column_distinct_values_to_contain_set"
            expectations.append(_expect("expect_column_values_to_be_in_set", column=name, value_set=classes))
            expectations.append(_expect(contain, "warning", column=name, value_set=classes))
            return expectations
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_datetime64_any_dtype(values):
        return expectations  # both values of a boolean are good, and time goes on
    if pd.api.types.is_numeric_dtype(values):
        return expectations + _numbers(name, present, margin)
    return expectations + _text(name, present, margin)


def _nulls(name: str, values: "pd.Series", margin: float) -> dict[str, Any]:
    """Empty cells: none where there were none, else a share as before and the margin."""
    share = float(values.isna().mean())
    mostly = {} if share == 0 else {"mostly": max(0.0, math.floor((1 - share - margin) * 1000) / 1000)}
    return _expect("expect_column_values_to_not_be_null", column=name, **mostly)


def _numbers(name: str, values: "pd.Series", margin: float) -> list[dict[str, Any]]:
    import numpy as np

    low, high = values.min().item(), values.max().item()
    if not (math.isfinite(low) and math.isfinite(high)):
        return []  # infinite values: nothing can be said of a range
    spare = (high - low) * margin
    spare = spare if math.isfinite(high - low) else 0  # the range itself is beyond what a float holds
    minimum = max(0, low - spare) if low >= 0 else low - spare  # what was never negative stays so
    whole = isinstance(low, int)
    limits = (math.floor(minimum), math.ceil(high + spare)) if whole else (minimum, high + spare)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(values.mean()), float(values.std(ddof=0))
    about = {"min_value": mean - MEAN_DEVIATIONS * deviation, "max_value": mean + MEAN_DEVIATIONS * deviation}
    between = _expect("expect_column_values_to_be_between", column=name, min_value=limits[0], max_value=limits[1])
    if not deviation or not math.isfinite(mean + deviation):
        return [between]
    return [between, _expect("expect_column_mean_to_be_between", "warning", column=name, **about)]


def _text(name: str, values: "pd.Series", margin: float) -> list[dict[str, Any]]:
    different = _different(values)
    if len(different) <= min(CATEGORIES, len(values) // 2):
        return [_expect("expect_column_values_to_be_in_set", "warning", column=name, value_set=different)]
    lengths = values.str.len()
    low, high = int(lengths.min()), int(lengths.max())
    spare = math.ceil((high - low) * margin)
    limits = {"min_value": max(0, low - spare), "max_value": high + spare}
    return [_expect("expect_column_value_lengths_to_be_between", column=name, **limits)]


def _different(values: "pd.Series") -> list[Any]:
    return sorted(values.unique().tolist())


def _expect(kind: str, severity: str = "critical", /, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "severity": severity}
