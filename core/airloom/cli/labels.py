"""`airloom labels …`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from airloom.cli.console import Author, Columns, Decimal, Delimiter, Encoding, Json, Unlabelled, answer, reading_of
from airloom.settings import load

if TYPE_CHECKING:
    from airloom.quality.by_label import LabelledVersion, MeasuredWindow
    from airloom.quality.late_labels import AddedLabels

app = typer.Typer(help="Late ground truth of predictions, and the metrics that it gives.", no_args_is_help=True)
SHOWN = 20  # windows


@app.command("add")
def add(
    file: Annotated[Path | None, typer.Argument(help="A .csv, .jsonl, .parquet or .arrow file.")] = None,
    id_: Annotated[str, typer.Option("--id", help="The id of one prediction, or its key with --by.")] = "",
    label: Annotated[str, typer.Option(help="What it should have been: a class, or a number.")] = "",
    source: Annotated[str, typer.Option(help="Who says so; default: you, as `dataset commit --author` has it.")] = "",
    time: Annotated[str, typer.Option(help="When --label was known: 2026-11-30T14:00 (UTC); default: now.")] = "",
    by: Annotated[str, typer.Option(help="id, request (X-Request-Id), or input:COLUMN of the logged inputs.")] = "id",
    model: Annotated[str, typer.Option(help="Whose keys these are; an id tells it.")] = "",
    id_column: Annotated[str, typer.Option(help="Of the file; `id` or `prediction_id` when left out.")] = "",
    label_column: Annotated[str, typer.Option(help="Of the file.")] = "label",
    time_column: Annotated[str, typer.Option(help="Of the file, where it is there.")] = "time",
    source_column: Annotated[str, typer.Option(help="Of the file, where it is there.")] = "source",
    column: Columns = None,
    encoding: Encoding = "",
    delimiter: Delimiter = "",
    decimal: Decimal = ".",
    unlabelled: Unlabelled = "refuse",
    json_: Json = False,
) -> None:
    """Add labels that came late, of a file or by hand; all of a file, or none.

    To add the same again changes nothing. A label that says otherwise is kept beside the first; the newest of the
    most trusted source counts. Labels of ids that the prediction log has not (yet) are kept until their rows come.

    Example: airloom labels add outcomes.csv --source clinic

    Example: airloom labels add orders.csv --by input:order --id-column order --model returns

    Example: airloom labels add --id 01a20b76-0146-7c3e-9d2f-5b1c8e4fa001 --label 7
    """
    from airloom.errors import ConfigError, DataError
    from airloom.project import person
    from airloom.quality import late_labels

    if (file is None) == (not id_) or bool(id_) != bool(label):
        raise ConfigError("say a FILE, or --id and --label", "`airloom labels add --help` has examples of both")
    settings = load()
    who = source or person.author(settings, None).name
    if file is None:
        try:
            found = late_labels.add(settings, {id_: label}, source=who, model=model, by=by, found=time or None)
        except DataError as error:
            raise DataError(error.message.removeprefix("row 0: "), error.hint) from None
    else:
        if time:
            raise ConfigError("--time goes with --label", "of a file, a column says it: --time-column NAME")
        names = late_labels.Columns(id_column, label_column, time_column, source_column)
        reading = reading_of(column, encoding, delimiter, decimal, unlabelled=unlabelled)
        found = late_labels.add_file(settings, file, source=who, model=model, by=by, columns=names, reading=reading)
    answer(found.to_dict(), json_, _added(found))


@app.command("show")
def show(
    model: Annotated[str, typer.Argument(help="digits for all its versions, digits/3, digits@champion.")],
    since: Annotated[str, typer.Option(help="Of the predictions: 2026-11-30T14:00 (UTC), or 2h, 7d ago.")] = "",
    until: Annotated[str, typer.Option(help="The same; this moment is too late already.")] = "",
    window: Annotated[str, typer.Option(help="1h, 7d, or a number of rows.")] = "1d",
    rule: Annotated[str, typer.Option(help="Which label counts: newest, oldest (of the most trusted), agreed.")] = (
        "newest"
    ),
    json_: Json = False,
) -> None:
    """Show metrics by label of each version and window, how late labels come, and where they contradict.

    Labels that came later complete windows that are long past.

    Example: airloom labels show digits --since 30d --window 1d
    """
    from airloom.monitoring.moments import moment
    from airloom.quality import by_label
    from airloom.quality.window import parse

    settings, span = load(), {"since": moment(since, "since"), "until": moment(until, "until")}
    measured = by_label.measure(settings, model, **span, window=parse(window), rule=rule)
    text = "\n".join(_version(version) for version in measured)
    answer([version.to_dict() for version in measured], json_, text or f"{model}: no predictions, and no labels")


@app.command("commit")
def commit(
    model: Annotated[str, typer.Argument(help="digits for all its versions, digits/3.")],
    since: Annotated[str, typer.Option(help="Of the predictions: 2026-11-30T14:00 (UTC), or 2h, 7d ago.")] = "",
    until: Annotated[str, typer.Option(help="The same; this moment is too late already.")] = "",
    author: Author = None,
    json_: Json = False,
) -> None:
    """Append labelled predictions, as rows, to the dataset that their model learned from.

    Each is brought once, however often this is said. The commit has a tag, labels=…, that leads to the predictions.
    Windows with faulty data are left out. The log must keep whole rows: `log: {inputs: full}` in the pipeline file.

    Example: airloom labels commit trips --since 30d
    """
    from airloom.monitoring.moments import moment
    from airloom.quality.label_commit import commit_labels

    settings, ends = load(), {"since": moment(since, "since"), "until": moment(until, "until")}
    settings.make_home()
    found = commit_labels(settings, model, **ends, author=author)
    lines = [f"{found.dataset}: {found.rows:,} rows, tag {found.tag}" if found.rows else "no new row was committed"]
    for count, what in (
        (found.known, "were brought before"),
        (found.not_kept, "have no whole row in the log"),
        (found.quarantined, "are from windows with faulty data"),
    ):
        lines += [f"  {count:,} labelled predictions {what}"] if count else []
    answer(found.to_dict(), json_, "\n".join(lines))


@app.command("trust")
def trust(
    sources: Annotated[list[str] | None, typer.Argument(help="The most trusted first.")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Trust all alike.")] = False,
    json_: Json = False,
) -> None:
    """Say which sources of labels are trusted before others, or show it. Those that are not named come last.

    Example: airloom labels trust pathologist clinic
    """
    from airloom.errors import ConfigError
    from airloom.monitoring import labels

    settings = load()
    if sources and reset:
        raise ConfigError("--reset names no sources", "leave one of them out")
    if sources or reset:
        settings.make_home()
        labels.trust(settings.database_address, sources or [])
    places = labels.trusted(settings.database_address)
    names = sorted(places, key=lambda name: places[name])
    answer(names, json_, " > ".join(names) + " > all others" if names else "all sources are trusted alike")


def _added(found: "AddedLabels") -> str:
    lines = [*found.notes, f"{found.added:,} labels added, {found.known:,} had been said before"]
    if found.otherwise:
        lines.append(f"{found.otherwise:,} say something else than another label of their prediction; all are kept")
    if found.unknown:
        first = ", ".join(found.unknown_ids) + (", …" if found.unknown > len(found.unknown_ids) else "")
        lines.append(f"{found.unknown:,} ids have no row in the prediction log, kept until it comes: {first}")
    return "\n".join(lines)


def _version(version: "LabelledVersion") -> str:
    from airloom.quality.window import shown_length

    share = f" ({version.labelled / version.rows:.0%})" if version.rows else ""
    lines = [
        f"{version.model}/{version.version}: {version.rows:,} predictions logged, {version.labelled:,} labelled{share}"
    ]
    if version.lag:
        lag = {name: shown_length(value) for name, value in version.lag.items()}
        lines.append(f"  lag: half within {lag['median']}, 90 % within {lag['p90']}, longest {lag['longest']}")
    for count, what in (
        (version.waiting, "labelled, but without a row in the log"),
        (version.contradicted, f"contradicted by another source: {', '.join(version.contradicted_first)}"),
        (version.corrected, "corrected by their source"),
        (version.undecided, "without a label that counts, as sources differ"),
        (version.ambiguous, "labels by the id of a request of several rows, which say of none of them"),
        (version.unscored, "labels of another kind than the answers"),
        (version.early, "labels known before their prediction: a clock is wrong, or it is no ground truth"),
    ):
        if count:
            lines.append(f"  {count:,} {what}")
    if version.sources:
        lines.append("  sources: " + ", ".join(f"{name} {count:,}" for name, count in version.sources.items()))
    if not version.task:
        lines.append("  no metric: the log holds too little for this task")
    elif version.all.metrics:
        lines += [_window("all", version.all), *_windows(version.windows)]
    return "\n".join(lines)


def _windows(windows: list["MeasuredWindow"]) -> list[str]:
    from airloom.quality.window import shown_moment

    left = len(windows) - SHOWN
    more = [f"  {left:,} older windows: --json has them"] if left > 0 else []
    return more + [_window(shown_moment(window.start), window) for window in windows[-SHOWN:]]


def _window(name: str, window: "MeasuredWindow") -> str:
    values = ", ".join(f"{key} {value:.4f}" for key, value in window.metrics.items())
    interval = f" ({window.interval[0]:.4f} to {window.interval[1]:.4f})" if window.interval else ""
    first, comma, rest = values.partition(", ")
    return f"  {name}: {window.labelled:,} of {window.rows:,} labelled; {first or 'no metric'}{interval}{comma}{rest}"
