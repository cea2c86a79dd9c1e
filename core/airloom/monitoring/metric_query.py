"""Questions to the model metrics: by version and role, over a time or by minute, hour or day."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from airloom.contracts import Record
from airloom.errors import ConfigError, DataError
from airloom.monitoring import metric_bins as bins
from airloom.monitoring.metric_bins import Array
from airloom.monitoring.metric_counts import DAY, ERRORS, HOUR, MINUTE, SPANS
from airloom.monitoring.metric_rows import TABLES, Question, Rows
from airloom.monitoring.moments import moment
from airloom.names import ModelName, near, shown_model
from airloom.settings import Settings
from airloom.sql_reader import Reader

if TYPE_CHECKING:
    import pyarrow as pa

MOST_CELLS = 3000  # of a series that are added up for one row
_LATEST = 253_402_300_800  # seconds: the year 10000


@dataclass(frozen=True)
class ModelMetrics(Record):
    """What is known of a model version in a role, over some time.

    Attributes:
        model: its name.
        version: the number.
        role: champion, canary or shadow.
        start: the first second, ISO 8601, UTC.
        requests: that the server told of, answered or not.
        errors: of them, by kind.
        predictions: rows of the prediction log.
        latency_ms: p50, p95 and p99 of the predictions' requests; empty where none is known.
        answers: how often each class was answered, the most frequent first.
        numbers: p5, p50 and p95 of answers that are numbers.
        scores: the same of the answered classes' probabilities.
    """

    model: str
    version: str
    role: str
    start: str
    requests: int
    errors: dict[str, int]
    predictions: int
    latency_ms: dict[str, float]
    answers: dict[str, int]
    numbers: dict[str, float]
    scores: dict[str, float]


def ask(
    settings: Settings,
    model: str,
    *,
    version: str = "",
    since: str | datetime = "1d",
    until: str | datetime = "",
    by: str = "",
) -> Question:
    """A question in the words of a person.

    Args:
        settings: of this installation, which a short name of a model means.
        model: `digits`, or `digits/3` for one version.
        version: its number.
        since: a time in ISO 8601, UTC where it names no zone, or how long ago: `90s`, `10m`, `2h`, `1d`.
        until: the same; now where it is left out, and what the clock of a server has in the future besides.
        by: `minute`, `hour` or `day`; all of the time at once where it is left out.

    Raises:
        ConfigError: one of them is not of its kind.
    """
    name = ModelName.match(model)
    if name is None or name.alias:
        hint = "digits, digits/3, or prod.digits/3 of another installation"
        if name:
            hint = f"an alias moves; {name.name} has all versions, each with its role, and {name.name}/3 one of them"
        raise ConfigError(f"{model[:80]!r} names no model or version of the metrics", hint)
    if name.version and version and name.version != version:
        raise ConfigError(f"{model!r} and version {version!r} are two versions", "say one of them")
    version = version or name.version
    if version and not (version.isascii() and version.isdecimal() and len(version) <= 9):
        raise ConfigError(f"version {version[:40]!r} is no number", "for example 3")
    if by and by not in SPANS:
        raise ConfigError(f"by {by[:40]!r} is no span", f"there are {', '.join(SPANS)}")
    now = time.time()
    first, end = _seconds(since, "since", 0.0, now), _seconds(until, "until", float(_LATEST), now)
    if first >= end:
        raise ConfigError(f"since {_shown(first)} is not before until {_shown(end)}", "exchange the two")
    span = SPANS[by] if by else _finest(settings, now - first, min(end, now) - first)
    # A span is counted as a whole: whoever asks since half past ten by hour gets all of ten o'clock.
    registered = name.registered(settings.installation).name
    return Question(registered, version, int(first) // span * span, int(np.ceil(end)), by, span)


def _seconds(text: str | datetime, name: str, otherwise: float, now: float) -> float:
    found = moment(text, name, datetime.fromtimestamp(now, UTC))
    return otherwise if found is None else max(0.0, found.timestamp())


def table(settings: Settings, question: Question) -> "pa.Table":
    """The answer as an Arrow table, a row for each version, role and span, oldest first; empty where nothing is known.

    Its columns are those of `ModelMetrics`, each quantile one of its own: `p50_ms`, `p95_ms`, `p99_ms`, `number_p50`, …
    null where nothing is known; errors and answers are maps.

    Args:
        settings: of this installation.
        question: what is asked.

    Raises:
        RegistryError: the database cannot be read.
    """
    import pyarrow as pa

    found = Rows.of(settings.database_address, question)
    size = len(found.starts)
    text, whole, share = pa.string(), pa.int64(), pa.float64()
    columns: dict[str, Any] = {
        "model": pa.array([shown_model(question.model, settings.installation)] * size, text),
        "version": pa.array([found.series[n][0] for n in found.of_series.tolist()], text),
        "role": pa.array([found.series[n][1] for n in found.of_series.tolist()], text),
        "start": pa.array(found.starts, whole).cast(pa.timestamp("s", "UTC")),
        "requests": pa.array(found.totals["requests"], whole),
        "errors": _map(found.histograms["errors"], ERRORS, size),
        "predictions": pa.array(found.totals["predictions"], whole),
    }
    ends = iter(found.quantiles.T)  # in the order of `SHARES`
    columns |= {name: _column(next(ends), bins.latency_of) for name in ("p50_ms", "p95_ms", "p99_ms")}
    columns["answers"] = _map(found.histograms["answers"], found.answers, size)
    for kind, value_of in (("number", bins.number_of), ("score", bins.score_of)):
        columns |= {f"{kind}_{name}": _column(next(ends), value_of) for name in ("p05", "p50", "p95")}
    types = {"errors": pa.map_(text, whole), "answers": pa.map_(text, whole), "start": pa.timestamp("s", "UTC")}
    types |= dict.fromkeys(("model", "version", "role"), text) | dict.fromkeys(("requests", "predictions"), whole)
    return pa.table(columns, schema=pa.schema([(name, types.get(name, share)) for name in columns]))


def records(found: "pa.Table") -> list[ModelMetrics]:
    """The rows of `table` as records."""
    rows = []
    for row in found.to_pylist(maps_as_pydicts="strict"):
        answers = sorted(row["answers"].items(), key=lambda pair: (-pair[1], pair[0]))
        latency = {name: row[f"{name}_ms"] for name in ("p50", "p95", "p99")}
        numbers, scores = ({p: row[f"{kind}_{p}"] for p in ("p05", "p50", "p95")} for kind in ("number", "score"))
        known = [{p: value for p, value in part.items() if value is not None} for part in (latency, numbers, scores)]
        rows.append(
            ModelMetrics(
                *(row["model"], row["version"], row["role"], row["start"].isoformat(), row["requests"]),
                *(row["errors"], row["predictions"], known[0], dict(answers), known[1], known[2]),
            )
        )
    return rows


def check_known(settings: Settings, question: Question) -> None:
    """Say clearly where there is nothing yet.

    Raises:
        DataError: nothing was ever counted of the model or the version.
    """
    reader = Reader(settings.database_address)
    name = shown_model(question.model, settings.installation)
    rows = reader.rows("SELECT DISTINCT model, version FROM metric_series") if reader.has(*TABLES) else []
    versions = sorted((version for model, version in rows if model == question.model), key=lambda text: text.zfill(9))
    if not versions:
        models = sorted({shown_model(model, settings.installation) for model, _ in rows})
        hint = f"{near(name, models)}counted are: {', '.join(models[:20])}" if models else ""
        hint = (
            hint or "the model server logs what it answers, and a row is counted some seconds later: ask it something"
        )
        raise DataError(f"no prediction of {name} was ever counted", hint)
    if question.version and question.version not in versions:
        hint = f"there are metrics of version {', '.join(versions)}"
        raise DataError(f"no prediction of {name}/{question.version} was ever counted", hint)


def _finest(settings: Settings, ago: float, length: float) -> int:
    """The finest span whose cells are kept for so long, and are no more than some thousand."""
    for span, days in ((MINUTE, settings.metrics_minute_days), (HOUR, settings.metrics_hour_days)):
        if (not days or ago <= days * DAY) and length <= MOST_CELLS * span:
            return span
    return DAY


def _column(found: Array, value_of: Any) -> Any:
    import pyarrow as pa

    empty = found == bins.NO_NUMBER
    return pa.array(value_of(np.where(empty, 0, found)), pa.float64(), mask=empty)


def _map(histogram: tuple[Array, Array, Array], names: Sequence[str], size: int) -> Any:
    """A map of counts by name for each row."""
    import pyarrow as pa

    rows, places, counts = histogram
    width = len(names) + 1
    keys, counts = bins.in_order(rows * width + places, counts)
    firsts = np.flatnonzero(np.diff(keys, prepend=-1))
    keys, sums = keys[firsts], np.add.reduceat(counts, firsts) if len(firsts) else counts
    ends = np.searchsorted(keys // width, np.arange(size + 1)).astype(np.int32)
    texts = pa.array(names, pa.string()).take(pa.array(keys % width))
    return pa.MapArray.from_arrays(pa.array(ends, pa.int32()), texts, pa.array(sums, pa.int64()))


def _shown(seconds: float) -> str:
    return datetime.fromtimestamp(min(seconds, _LATEST - 1), UTC).isoformat(timespec="seconds")
