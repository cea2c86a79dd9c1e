"""The model metrics from a notebook: `airloom.metrics("digits", since="7d", by="hour")`."""

from datetime import datetime
from typing import TYPE_CHECKING

from airloom.settings import load

if TYPE_CHECKING:
    import pyarrow as pa


def metrics(
    model: str, *, version: str = "", since: str | datetime = "1d", until: str | datetime = "", by: str = ""
) -> "pa.Table":
    """How a model does in service: a row for each version and role, or for each span of them; as `airloom metrics`.

    Columns: model, version, role, start, requests, errors (a map by kind), predictions, p50_ms, p95_ms, p99_ms, answers
    (a map by class), number_p05, number_p50, number_p95 (of answers that are numbers), and the same of score (the
    probability of the answered class). What is new in the prediction log is counted first.

    Example: `airloom.metrics("digits", since="7d", by="hour").to_pandas()`

    Args:
        model: `digits`, or `digits/3` for one version.
        version: its number.
        since: a time in ISO 8601, UTC where it names no zone, or how long ago: `90s`, `10m`, `2h`, `1d`.
        until: the same; this moment is too late already.
        by: `minute`, `hour` or `day`; all of the time at once where it is left out.

    Raises:
        ConfigError: a time, a span or a name is none.
        DataError: nothing was ever counted of the model or the version.
    """
    from airloom.monitoring import metric_aggregator, metric_query

    settings = load()
    question = metric_query.ask(settings, model, version=version, since=since, until=until, by=by)
    metric_aggregator.now(settings)
    metric_query.check_known(settings, question)
    return metric_query.table(settings, question)
