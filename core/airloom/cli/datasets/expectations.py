"""propose-expectations: a draft of what rows must be like, for a person to edit."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airloom.cli.console import (
    FILES,
    Channels,
    Classes,
    Columns,
    Decimal,
    Delimiter,
    Encoding,
    Key,
    Label,
    Part,
    SplitColumn,
    Type,
    Unlabelled,
    Version,
    reading_of,
    roles_of,
    say,
)
from airloom.settings import Settings, load

if TYPE_CHECKING:
    import pandas as pd

    from airloom.datasets.storage.schema import Layout

app = typer.Typer()


@app.command("propose-expectations")
def propose_expectations(
    name: Version,
    source: Annotated[Path | None, typer.Argument(help=f"Draft from these rows instead of a version. {FILES}")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write it where commits look for it, if none is there.")
    ] = False,
    type_: Type = "",
    label: Label = "",
    key: Key = "",
    split_column: SplitColumn = "",
    part: Part = None,
    classes: Classes = "",
    column: Columns = None,
    encoding: Encoding = "",
    delimiter: Delimiter = "",
    decimal: Decimal = ".",
    channels: Channels = "",
    unlabelled: Unlabelled = "refuse",
) -> None:
    """Draft a suite of Great Expectations from what rows are like: those of a version, or of a file before the first.

    It is printed, or written to configs/expectations/NAME.json, where commits look for it. Read and edit it.

    Example: airloom dataset propose-expectations flights jan.csv --label late --key flight --write
    """
    from airloom.datasets.validation import propose
    from airloom.names import DatasetName

    settings, dataset = load(), DatasetName.parse(name).dataset
    if source:
        roles = roles_of(type_, label, key, classes, split_column, part)
        roles["reading"] = reading_of(column, encoding, delimiter, decimal, channels, unlabelled)
        profile, layout = _of_rows(settings, dataset, source, roles)
    else:
        profile, layout = _of_version(settings, name)
    suite = propose.propose(dataset, profile, layout.label, type=layout.type)
    if write:
        file = propose.write(settings, dataset, suite)
        typer.echo(f"{file}: {len(suite['expectations'])} expectations, drafted from {len(profile)} rows", err=True)
    else:
        typer.echo(json.dumps(suite, indent=1))


def _of_version(settings: Settings, name: str) -> "tuple[pd.DataFrame, Layout]":
    from airloom.datasets import versions
    from airloom.datasets.diff import profile
    from airloom.datasets.storage.store import Store

    manifest = versions.manifest_of(settings, versions.find(settings, name))
    return profile(Store(settings), manifest), manifest.layout


def _of_rows(settings: Settings, dataset: str, source: Path, roles: dict[str, Any]) -> "tuple[pd.DataFrame, Layout]":
    import pandas as pd
    import pyarrow as pa

    from airloom.datasets.open_rows import open_rows
    from airloom.datasets.types import get_type

    data = open_rows(settings, dataset, source, **roles)
    kind = get_type(data.layout.type)
    frames = [kind.profile(pa.Table.from_batches([batch]), data.layout) for batch in data.batches]
    for note in data.notes:
        say(note)
    return pd.concat(frames, ignore_index=True), data.layout
