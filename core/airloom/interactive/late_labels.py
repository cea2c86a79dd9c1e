"""Late labels from a notebook: `airloom.add_labels({id: "7"}, source="clinic")`, `airloom.labels("digits")`."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.settings import load

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from airloom.quality.by_label import LabelledVersion
    from airloom.quality.late_labels import AddedLabels


def add_labels(
    labels: "Mapping[str, Any] | str | Path | pa.Table | pd.DataFrame",
    *,
    source: str,
    model: str = "",
    by: str = "id",
    id_column: str = "",
    label_column: str = "label",
    time_column: str = "time",
    source_column: str = "source",
) -> "AddedLabels":
    """Add labels that came late, all or none; as `airloom labels add`. To add the same again changes nothing.

    Example: `airloom.add_labels({answer["prediction_ids"][0]: "7"}, source="clinic")`

    Args:
        labels: labels by prediction id (or key), a file, an Arrow table or a pandas frame.
        source: who says so, for rows that do not.
        model: needed for keys of one's own; an id tells it.
        by: `id`, `request` (the X-Request-Id of a request of one row), or `input:COLUMN` of the logged inputs.
        id_column: of a file or table; `id` or `prediction_id` when left out.
        label_column: the same.
        time_column: when each label was known, where there is such a column.
        source_column: who says so, where there is such a column.

    Raises:
        DataError: naming the row and the value.
        ConfigError: `by`, the model or the source is none.
    """
    import pyarrow as pa

    from airloom.quality import late_labels

    settings = load()
    if isinstance(labels, Mapping):
        return late_labels.add(settings, labels, source=source, model=model, by=by)
    columns = late_labels.Columns(id_column, label_column, time_column, source_column)
    if isinstance(labels, str | Path):
        return late_labels.add_file(settings, Path(labels), source=source, model=model, by=by, columns=columns)
    table = labels if isinstance(labels, pa.Table) else pa.Table.from_pandas(labels, preserve_index=False)
    return late_labels.add_table(settings, table, source=source, model=model, by=by, columns=columns)


def labels(
    model: str, *, since: str | datetime = "", until: str | datetime = "", window: str = "1d", rule: str = "newest"
) -> "list[LabelledVersion]":
    """Metrics by label of a model's versions, how late labels come, where they contradict; as `airloom labels show`.

    Args:
        model: `digits` for all its versions, `digits/3`, `digits@champion`.
        since: of the predictions: a time in ISO 8601, UTC where it names no zone, or how long ago: `2h`, `7d`.
        until: the same; this moment is too late already.
        window: `1h`, `7d`, or a number of rows.
        rule: which label counts: `newest` or `oldest` of the most trusted source, or `agreed`.

    Raises:
        RegistryError: there is no such model or version.
        ConfigError: one of them is not of its kind.
    """
    from airloom.monitoring.moments import moment
    from airloom.quality import by_label
    from airloom.quality.window import parse

    span = {"since": moment(since, "since"), "until": moment(until, "until")}
    return by_label.measure(load(), model, **span, window=parse(window), rule=rule)
