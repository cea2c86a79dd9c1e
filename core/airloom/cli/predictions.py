"""`airloom predictions`."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from airloom.cli.console import Json, answer, say
from airloom.errors import ConfigError, DataError
from airloom.names import is_prediction, shown_model
from airloom.settings import Settings, load

if TYPE_CHECKING:
    from airloom.monitoring.prediction_log import LoggedPrediction

LONGEST = 100  # characters of an answer, or of what was kept of the inputs


def predictions(
    model: Annotated[str, typer.Argument(help="digits, digits/3, or prod.digits of another; all when left out.")] = "",
    version: Annotated[str, typer.Option(help="Its number.")] = "",
    role: Annotated[str, typer.Option(help="champion, canary or shadow.")] = "",
    since: Annotated[str, typer.Option(help="2026-11-30T14:00 (UTC), or how long ago: 90s, 10m, 2h, 1d.")] = "",
    until: Annotated[str, typer.Option(help="The same; this moment is too late already.")] = "",
    answered: Annotated[str | None, typer.Option("--answer", help="Only this answer, as it is shown.")] = None,
    id_: Annotated[str, typer.Option("--id", help="The prediction with this id, and nothing else.")] = "",
    last: Annotated[int, typer.Option("--last", "-n", help="So many at most, the newest.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with those that come, until Ctrl-C.")] = False,
    json_: Json = False,
) -> None:
    """Show what the model server answered: time, version, role, answer, its probability, latency, id.

    It reads the prediction log, to which a row comes some seconds after its answer. What it keeps of the inputs says
    `log` of the pipeline file; `airloom trace ID` follows an answer to its commits. With --follow, --json prints an
    object a line.

    Example: airloom predictions digits --since 10m --answer 7

    Example: airloom predictions digits --role canary --follow
    """
    from airloom.monitoring import prediction_log, prediction_query

    settings = load()
    if id_:
        if any((model, version, role, since, until, answered is not None, follow)):
            raise ConfigError("--id names one prediction", "leave the other options out")
        if not is_prediction(id_):
            raise ConfigError(f"{id_[:60]!r} is no id of a prediction", "`prediction_ids` of an answer has them")
        try:
            row = prediction_log.find(settings, id_)
        except ValueError:
            raise ConfigError(f"{id_} is no id of a prediction: it tells no time", "is it of another system?") from None
        if row is None:
            hint = (
                "it was not kept (prediction_log_share), is collected, or not written yet; `airloom trace` needs no log"
            )
            raise DataError(f"the prediction log has no {id_}", hint)
        answer(_shown(settings, row), json_, _line(settings, row))
        return
    if last < 0:
        raise ConfigError(f"--last {last} is less than none", "for example --last 100")
    question = prediction_query.ask(
        settings, model, version=version, role=role, answer=answered, since=since, until=until
    )
    known = prediction_query.names(settings)  # first: what comes meanwhile is followed
    if not known and not follow:
        hint = "the model server writes it some seconds after the first answer: `airloom up`, and ask it"
        raise DataError(f"there is no prediction log in {settings.prediction_log}", hint)
    rows = prediction_query.records(prediction_query.table(settings, question, last))
    if json_ and not follow:
        answer([_shown(settings, row) for row in rows], True, "")
        return
    _print(settings, rows, json_)
    if not rows:
        say("no prediction in the log is of that kind" + ("; waiting" if follow else ""))
    if follow:
        try:
            for more in prediction_query.follow(settings, question, known):
                _print(settings, prediction_query.records(more), json_)
        except KeyboardInterrupt:
            return


def _print(settings: Settings, rows: "list[LoggedPrediction]", as_json: bool) -> None:
    for row in rows:
        typer.echo(json.dumps(_shown(settings, row)) if as_json else _line(settings, row))


def _shown(settings: Settings, row: "LoggedPrediction") -> dict[str, object]:
    return row.to_dict() | {"model": shown_model(row.model, settings.installation)}


def _line(settings: Settings, row: "LoggedPrediction") -> str:
    """For people, in one line whatever the client sent."""
    moment = f"{row.time:%Y-%m-%d %H:%M:%S}.{row.time.microsecond // 1000:03d}"
    score = f" {row.score:.3f}" if row.score is not None else ""
    inputs = f"  {_short(json.dumps(row.inputs, ensure_ascii=False))}" if row.inputs is not None else ""
    model = f"{shown_model(row.model, settings.installation)}/{row.version}"
    return f"{moment}  {model} {row.role:8}  {_short(row.prediction)}{score}  {row.latency_ms:.1f} ms  {row.id}{inputs}"


def _short(text: str) -> str:
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
