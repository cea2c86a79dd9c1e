"""`airloom metrics`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from airloom.cli.console import Json, answer, say
from airloom.settings import load

if TYPE_CHECKING:
    from airloom.monitoring.metric_query import ModelMetrics
    from airloom.monitoring.metric_rows import Question

SHOWN = 5  # answers of a row that the text has
LONGEST = 20  # characters of one


def metrics(
    model: Annotated[str, typer.Argument(help="digits, or digits/3 for one version.")],
    version: Annotated[str, typer.Option(help="Only this version; the same as digits/3.")] = "",
    since: Annotated[str, typer.Option(help="A time (UTC), or how long ago: 90s, 10m, 2h, 1d.")] = "1d",
    until: Annotated[str, typer.Option(help="The same; this moment is too late already.")] = "",
    by: Annotated[str, typer.Option(help="A row for each minute, hour or day; one for all when left out.")] = "",
    plot: Annotated[Path | None, typer.Option(help="Draw them over time into this file: .png, .svg or .pdf.")] = None,
    json_: Json = False,
) -> None:
    """Show how a model does in service: requests, errors, latency, answers, by version and role.

    Requests and errors are what the model servers counted of them. Predictions, latency and answers come from the
    prediction log some seconds later: where it keeps a share only, they are of that share. A latency is of the whole
    request that a prediction was part of, and right to 3 %. Minutes are kept for 30 days and hours for 400
    (metrics_minute_days, metrics_hour_days); days stay.

    The stack counts all the time; without a stack this command first counts what is new in the log.

    Example: airloom metrics digits --since 2h --by minute

    Example: airloom metrics digits/3 --since 7d --by hour --plot week.png
    """
    from airloom.monitoring import metric_aggregator, metric_plot, metric_query

    settings = load()
    question = metric_query.ask(settings, model, version=version, since=since, until=until, by=by)
    if plot:
        metric_plot.check(plot)
    caught_up = metric_aggregator.now(settings, _progress)
    for damaged in caught_up.damaged[:SHOWN]:
        say(f"not counted: {damaged}")
    metric_query.check_known(settings, question)
    found = metric_query.table(settings, question)
    rows = metric_query.records(found)
    if plot:
        metric_plot.draw(settings, question, plot)
        say(f"{plot}: the metrics of {model}")
    if not rows and not json_:
        say("nothing in that time: a longer --since shows what there was")
    if settings.prediction_log_share < 1:
        share = settings.prediction_log_share
        say(f"the prediction log keeps {share:g} of all predictions: predictions, latency and answers are of these")
    answer([row.to_dict() for row in rows], json_, "\n".join(_lines(rows, question)) if rows else "")


def _progress(done: int, files: int) -> None:
    if files > 50 and (done % 50 == 0 or done == files):
        say(f"counted {done} of {files} new files of the prediction log")


def _lines(rows: "list[ModelMetrics]", question: "Question") -> list[str]:
    head = f"{'start (UTC)':16}  " if question.by else ""
    lines = [
        f"{head}{'version':>7}  {'role':8}  {'requests':>9}  {'errors':>7}  {'predictions':>11}"
        f"  {'p50 ms':>8}  {'p95 ms':>8}  {'p99 ms':>8}  answers"
    ]
    for row in rows:
        start = f"{row.start[:16].replace('T', ' '):16}  " if question.by else ""
        latency = "  ".join(f"{_number(row.latency_ms.get(name)):>8}" for name in ("p50", "p95", "p99"))
        requests = str(row.requests) if row.requests else "-"  # the servers of earlier releases did not tell
        errors = str(sum(row.errors.values())) if row.requests else "-"
        lines.append(
            f"{start}{row.version:>7}  {row.role:8}  {requests:>9}  {errors:>7}  {row.predictions:>11}"
            f"  {latency}  {_answers(row)}".rstrip()
        )
    if not question.by:
        for row in rows:
            lines += [f"errors of version {row.version} as {row.role}: {_pairs(row.errors)}"] if row.errors else []
    return lines


def _answers(row: "ModelMetrics") -> str:
    parts = []
    if row.answers:
        total, first = sum(row.answers.values()), list(row.answers.items())[:SHOWN]
        parts = [f"{_short(name)} {count / total:.1%}" for name, count in first]
        if len(row.answers) > SHOWN:
            parts.append(f"and {len(row.answers) - SHOWN} more")
    if row.numbers:
        low, middle, high = (_number(row.numbers.get(name)) for name in ("p05", "p50", "p95"))
        parts.append(f"median {middle}, 90 % between {low} and {high}")
    return ", ".join(parts)


def _pairs(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items(), key=lambda pair: -pair[1]))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _short(text: str) -> str:
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
