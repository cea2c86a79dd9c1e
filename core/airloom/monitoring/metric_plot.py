"""The model metrics over time as a picture: how much, how quickly, with which answers."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError
from airloom.files import replacing
from airloom.monitoring.metric_counts import DAY, HOUR, SPANS
from airloom.monitoring.metric_query import ModelMetrics, records, table
from airloom.monitoring.metric_rows import Question
from airloom.settings import Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = (".png", ".svg", ".pdf")
MOST = 8  # classes that have a line of their own


def check(path: Path) -> None:
    """Refuse a file that no picture can be written to.

    Raises:
        ConfigError: its ending names no picture, or there is no such folder.
    """
    if path.suffix.lower() not in KINDS:
        raise ConfigError(f"--plot {path}: no picture ends with {path.suffix!r}", f"give one of {', '.join(KINDS)}")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--plot {path}: there is no folder {path.parent}", "make it first")


def draw(settings: Settings, question: Question, path: Path) -> None:
    """Draw what a question asks for over time, by its span or by one that fits its time.

    Args:
        settings: of this installation.
        question: what is asked.
        path: of the picture, whole or not at all.
    """
    from matplotlib.figure import Figure

    by = question.by or _span(settings, question)
    rows = records(table(settings, Question(**{**vars(question), "by": by, "span": SPANS[by]})))
    figure = Figure(figsize=(9, 8), layout="constrained")
    traffic, latency, answers = figure.subplots(3, sharex=True)
    for name, some in _series(rows).items():
        times = [_time(row) for row in some]
        traffic.plot(times, [row.predictions for row in some], ".-", label=f"{name}: predictions")
        if any(row.requests for row in some):
            failed = [sum(row.errors.values()) for row in some]
            traffic.plot(times, failed, ".:", label=f"{name}: errors")
        timed = [row for row in some if row.latency_ms]
        for quantile, line in (("p50", ".-"), ("p99", ".:")):
            values = [row.latency_ms[quantile] for row in timed]
            latency.plot([_time(row) for row in timed], values, line, label=f"{name}: {quantile}")
        _draw_answers(answers, name, some)
    for axes, label in ((traffic, f"a {by}"), (latency, "ms"), (answers, "share, or median, of the answers")):
        axes.set_ylabel(label)
        if axes.lines:
            axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    for axes in (traffic, latency):
        axes.set_ylim(bottom=0)
    figure.suptitle(f"{rows[0].model if rows else question.model}, UTC")
    figure.autofmt_xdate()
    with replacing(path.absolute()) as hidden:
        figure.savefig(hidden, format=path.suffix[1:].lower(), dpi=110)


def _draw_answers(axes: "Axes", name: str, rows: list[ModelMetrics]) -> None:
    sums: dict[str, int] = {}
    for row in rows:
        for answer, count in row.answers.items():
            sums[answer] = sums.get(answer, 0) + count
    answered = [row for row in rows if row.answers]
    totals = [sum(row.answers.values()) for row in answered]
    for answer in sorted(sums, key=lambda text: -sums[text])[:MOST]:
        shares = [row.answers.get(answer, 0) / total for row, total in zip(answered, totals, strict=True)]
        axes.plot([_time(row) for row in answered], shares, ".-", label=f"{name}: {_plain(answer)}")
    numbers = [row for row in rows if row.numbers]
    if numbers:
        medians = [row.numbers["p50"] for row in numbers]
        axes.plot([_time(row) for row in numbers], medians, ".-", label=f"{name}: median")


def _series(rows: list[ModelMetrics]) -> dict[str, list[ModelMetrics]]:
    """By version and role."""
    series: dict[str, list[ModelMetrics]] = {}
    for row in rows:
        series.setdefault(f"{row.version} {row.role}", []).append(row)
    return series


def _span(settings: Settings, question: Question) -> str:
    """Some hundred points at most: more are no line any more."""
    starts = [row.start for row in records(table(settings, Question(**{**vars(question), "by": "day", "span": DAY})))]
    days = len(set(starts))
    return "minute" if days <= 1 and question.span < HOUR else "hour" if days <= 21 and question.span < DAY else "day"


def _time(row: ModelMetrics) -> Any:
    return datetime.fromisoformat(row.start)


def _plain(text: str) -> str:
    """matplotlib reads signs between two dollars as a formula, and needs glyphs."""
    return (text if text.isprintable() else ascii(text)[1:-1])[:24].replace("$", r"\$")
