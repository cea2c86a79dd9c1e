"""What the commands share: their options, how they answer, how they tell of progress."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from airloom.datasets.ingest import Reading

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Message = Annotated[str, typer.Option("--message", "-m", help="What is new, or why.")]
Author = Annotated[
    str | None,
    typer.Option(help="Who says so: Ada, or 'Ada <ada@example.org>'; else AIRLOOM_USER, git's user, the login."),
]
Version = Annotated[str, typer.Argument(help="digits (the newest), digits@v2, or digits@golden.")]
Dataset = Annotated[str, typer.Argument(help="Name of the dataset.")]
Suite = Annotated[Path | None, typer.Option(help="Expectation suite; default: configs/expectations/<dataset>.json.")]
Redacted = Annotated[
    bool, typer.Option("--allow-redacted", help="Read what is left of a version whose rows were forgotten in part.")
]
FILES = "A file (.csv .jsonl .parquet .arrow .npz .npy), a folder of them, or a folder a class."
Source = Annotated[Path, typer.Argument(help=FILES)]
Type = Annotated[str, typer.Option("--type", help="image, text, tabular, generic; found out when left out.")]
Label = Annotated[str, typer.Option(help="The label column; `label` when left out.")]
Key = Annotated[str, typer.Option(help="The column that decides the split, for example a patient's number.")]
SplitColumn = Annotated[
    str, typer.Option("--split-column", help="The column that tells a published split: train, validation, test.")
]
Part = Annotated[
    list[str] | None, typer.Option("--part", help="train=VALUE: what names that part in --split-column; repeatable.")
]
Classes = Annotated[str, typer.Option(help="Labels that the rows may have, with commas between; others are refused.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", help="NAME=TYPE of a column: text, int64, float64, date, 'timestamp[s, UTC]'; repeatable."
    ),
]
Encoding = Annotated[str, typer.Option(help="Of CSV, JSON lines and texts, for example latin-1; UTF-8 when left out.")]
Delimiter = Annotated[str, typer.Option(help="Between the cells of CSV: ';', '|' or tab; a comma when left out.")]
Decimal = Annotated[str, typer.Option(help="Between the whole and the fraction of CSV's numbers.")]
Channels = Annotated[str, typer.Option(help="Where the channels of images stand: first or last.")]
Unlabelled = Annotated[str, typer.Option(help="What becomes of rows without a label: refuse or drop.")]


def answer(value: Any, as_json: bool, text: str) -> None:
    """The answer on standard output, for programs or for people."""
    typer.echo(json.dumps(value, indent=1) if as_json else text)


def progress(what: str) -> Any:
    """A callable (bytes done, bytes in all) that keeps one line of standard error up to date."""

    def show(done: int, total: int) -> None:
        end = "\n" if done >= total else "\r"
        typer.echo(f"{what}: {done / 1e6:.1f} of {total / 1e6:.1f} MB{end}", err=True, nl=False)

    return show


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def say(line: str) -> None:
    """Progress goes to standard error, so that standard output holds the answer only."""
    typer.echo(line, err=True)


def parse_parameters(pairs: list[str]) -> dict[str, Any]:
    """`["epochs=3"]` → `{"epochs": 3}`; values are read as YAML.

    Raises:
        ConfigError: a pair has not the form `name=value`, or its value is no number, text or truth.
    """
    import math

    import yaml

    from airloom.errors import ConfigError
    from airloom.spec import yaml_text

    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise ConfigError(f"--parameter {pair!r} has not the form name=value", "for example -p epochs=3")
        try:
            values[name] = plain = yaml_text.read(value)
            reason = ""
        except yaml.YAMLError as error:
            plain, reason = None, f": {' '.join(str(error).split())[:200]}"
        if not isinstance(plain, bool | int | float | str) or (isinstance(plain, float) and not math.isfinite(plain)):
            hint = f"give a finite number, true or false, or text; text with signs in quotes: -p '{name}=\"a: b\"'"
            raise ConfigError(f"--parameter {name}: {value[:80]!r} is no plain value{reason}", hint)
    return values


def roles_of(
    type_: str = "",
    label: str = "",
    key: str = "",
    classes: str = "",
    split_column: str = "",
    parts: list[str] | None = None,
) -> dict[str, Any]:
    """What the options say of the columns, as `open_rows` takes it.

    Args:
        type_: of the dataset.
        label: the label column.
        key: the column that decides the split.
        classes: the labels that rows may have, with commas between.
        split_column: the column that tells a published split.
        parts: `name=value`, what names a part there.

    Raises:
        ConfigError: a part has not that form.
    """
    from airloom.errors import ConfigError

    named: dict[str, list[str]] = {}
    for pair in parts or ():
        part, equals, value = pair.partition("=")
        if not part or not equals:
            raise ConfigError(f"--part {pair[:80]!r} has not the form NAME=VALUE", "for example --part test=Test")
        named.setdefault(part, []).append(value)
    roles = {"type": type_, "label": label, "key": key, "classes": [name for name in classes.split(",") if name]}
    return roles | {"split": split_column, "parts": named}


def reading_of(
    columns: list[str] | None,
    encoding: str = "",
    delimiter: str = "",
    decimal: str = ".",
    channels: str = "",
    unlabelled: str = "refuse",
) -> "Reading":
    """What the options say of how the values are written.

    Args:
        columns: `name=type` of columns.
        encoding: of text files.
        delimiter: of CSV.
        decimal: sign in numbers of CSV.
        channels: "first", "last" or "".
        unlabelled: "refuse" or "drop".

    Raises:
        ConfigError: an option has none of its values.
    """
    from airloom.datasets.ingest import Reading
    from airloom.errors import ConfigError

    types = {}
    for pair in columns or ():
        name, equals, kind = pair.rpartition("=")
        if not name or not equals:
            raise ConfigError(f"--column {pair[:80]!r} has not the form NAME=TYPE", "for example --column zip=text")
        types[name] = kind
    return Reading(types, encoding, delimiter, decimal, channels, unlabelled)
