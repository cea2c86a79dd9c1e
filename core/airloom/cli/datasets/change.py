"""create, commit, fix, remove, compact, tag, delete: what changes a dataset."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airloom.cli.console import (
    Author,
    Channels,
    Classes,
    Columns,
    Dataset,
    Decimal,
    Delimiter,
    Encoding,
    Json,
    Key,
    Label,
    Message,
    Part,
    Source,
    SplitColumn,
    Suite,
    Type,
    Unlabelled,
    Version,
    answer,
    reading_of,
    roles_of,
    say,
)
from airloom.contracts import DatasetVersion
from airloom.errors import ConfigError
from airloom.settings import Settings, load

if TYPE_CHECKING:
    from airloom.datasets.ingest import Batches

app = typer.Typer()
Tags = Annotated[list[str] | None, typer.Option("--tag", help="Words that a snapshot can choose rows by; repeatable.")]
Equal = Annotated[
    str, typer.Option(help="Of rows whose inputs are there already: allow, same_split, refuse; else as its type does.")
]
Drop = Annotated[bool, typer.Option("--drop-duplicates", help="Leave out rows whose inputs are there already.")]
Rows = Annotated[str, typer.Option(help="Row numbers in that version, from 0: 3,17,20-25.")]


@app.command()
def create(
    dataset: Dataset,
    source: Source,
    message: Message,
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
    author: Author = None,
    tag: Tags = None,
    suite: Suite = None,
    equal_inputs: Equal = "",
    drop_duplicates: Drop = False,
    json_: Json = False,
) -> None:
    """Make a new dataset and its first version.

    It needs an expectation suite: `propose-expectations` drafts one from the same file.

    Example: airloom dataset create flights jan.csv --label late --key flight -m "January"
    """
    from airloom.datasets import versions
    from airloom.datasets.open_rows import open_rows

    settings = load()
    if versions.check_name(dataset) in versions.list_datasets(settings):
        raise ConfigError(f"there is a dataset {dataset} already", "`airloom dataset commit` adds rows to it")
    roles = roles_of(type_, label, key, classes, split_column, part)
    reading = reading_of(column, encoding, delimiter, decimal, channels, unlabelled)
    data = open_rows(settings, dataset, source, **roles, reading=reading)
    equal: dict[str, Any] = {"equal_inputs": equal_inputs, "drop_duplicates": drop_duplicates}
    _commit(settings, dataset, data, json_, message=message, author=author, tags=tag or [], suite=suite, **equal)


@app.command()
def commit(
    dataset: Dataset,
    source: Source,
    message: Message,
    author: Author = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put these rows in the place of all others.")] = False,
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
    tag: Tags = None,
    suite: Suite = None,
    equal_inputs: Equal = "",
    drop_duplicates: Drop = False,
    json_: Json = False,
) -> None:
    """Validate rows and make them a new version; a running stack starts the pipelines that wait for it.

    The first commit creates the dataset; its type and the roles of its columns then stay. To replace all rows by rows
    with other columns, say --replace and --type.

    Example: airloom dataset commit flights feb.parquet -m "February" --tag month=2
    """
    from airloom.datasets.open_rows import open_rows

    settings, roles = load(), roles_of(type_, label, key, classes, split_column, part)
    reading = reading_of(column, encoding, delimiter, decimal, channels, unlabelled)
    data = open_rows(settings, dataset, source, **roles, reading=reading, anew=replace and bool(type_))
    mode = "replace" if replace else "append"
    details: dict[str, Any] = {"mode": mode, "equal_inputs": equal_inputs, "drop_duplicates": drop_duplicates}
    _commit(settings, dataset, data, json_, message=message, author=author, tags=tag or [], suite=suite, **details)


def _commit(settings: Settings, dataset: str, data: "Batches", as_json: bool, **details: Any) -> None:
    from airloom.datasets import versions
    from airloom.datasets.commit import commit as make
    from airloom.datasets.equal_inputs import told

    try:
        version = make(settings, dataset, data, **details)
    finally:
        for note in data.notes:
            say(note)
    _print(version, as_json, _columns(data) if version.number == 1 else [])
    for line in told(versions.manifest_of(settings, version).changed):
        say(line)


def _columns(data: "Batches") -> list[str]:
    """What the first rows made of the dataset: its type, and the type of each column."""
    from airloom.datasets.ingest.type_names import type_name

    layout = data.layout
    roles = {layout.label: ", the label", layout.key: ", the key", layout.split: ", tells the split"}
    columns = []
    for field in data.schema:
        shape = (field.metadata or {}).get(b"shape", b"").decode()
        of_shape = f" of shape {shape}" if shape else ""
        columns.append(f"  {field.name}: {type_name(field.type)}{of_shape}{roles.get(field.name, '')}")
    return [f"  type {layout.type}", *columns]


@app.command()
def fix(
    name: Version,
    source: Source,
    message: Message,
    rows: Rows = "",
    by_key: Annotated[bool, typer.Option("--by-key", help="In the place of those with the same keys instead.")] = False,
    column: Columns = None,
    encoding: Encoding = "",
    delimiter: Delimiter = "",
    decimal: Decimal = ".",
    channels: Channels = "",
    author: Author = None,
    suite: Suite = None,
    json_: Json = False,
) -> None:
    """Put corrected rows in the place of some: one for each, in the same order. Each stays in its split.

    Example: airloom dataset fix flights@v2 corrected.csv --rows 17,40 -m "wrong unit"
    """
    from airloom.datasets import edit, versions
    from airloom.datasets.open_rows import open_rows

    settings = load()
    version = versions.find(settings, name)
    if bool(rows) == by_key:
        raise ConfigError("say which rows", "either --rows 3,17,20-25 or --by-key")
    numbers = _numbers(rows, version.rows) if rows else []
    reading = reading_of(column, encoding, delimiter, decimal, channels)
    data = open_rows(settings, version.dataset, source, reading=reading)
    notes = data.notes
    if by_key:
        numbers, data = edit.rows_like(settings, version, data)
    fixed = edit.fix_rows(settings, version, numbers, data, message=message, author=author, suite=suite)
    for note in notes:
        say(note)
    _print(fixed, json_)


@app.command()
def remove(
    name: Version,
    message: Message,
    rows: Rows = "",
    key: Annotated[list[str] | None, typer.Option(help="Remove all rows with this key instead; repeatable.")] = None,
    author: Author = None,
    json_: Json = False,
) -> None:
    """Make a version without some rows. The older versions keep them, and its own files until they are compacted.

    `forget` takes rows out of all versions.

    Example: airloom dataset remove flights@v2 --key AA123 --key AA124 -m "cancelled"
    """
    from airloom.datasets import edit, versions

    settings = load()
    version = versions.find(settings, name)
    if bool(rows) == bool(key):
        raise ConfigError("say which rows", "either --rows 3,17,20-25 or --key VALUE")
    numbers = _numbers(rows, version.rows) if rows else edit.rows_with_keys(settings, version, key or [])
    _print(edit.delete_rows(settings, version, numbers, message=message, author=author), json_)
    kept = f"{len(numbers)} removed rows stay in the older versions, and in what `dvc pull` brings of this one until"
    say(f"{kept} `airloom dataset compact {version.dataset}`; `airloom dataset forget` takes them out of all")


@app.command()
def compact(dataset: Dataset, json_: Json = False) -> None:
    """Store the newest version in fewer shards, without its deleted rows. Its number and id stay.

    Example: airloom dataset compact flights
    """
    from airloom.datasets.compact import compact as make

    version, manifest = make(load(), dataset)
    text = f"{version.name}: revision {manifest.revision}, {len(manifest.shards)} shards, id {version.id[:12]}"
    answer(version.to_dict() | {"revision": manifest.revision, "shards": len(manifest.shards)}, json_, text)


@app.command()
def tag(
    name: Version,
    label: Annotated[str, typer.Argument(help="A name for this version, for example golden.")],
    move: Annotated[bool, typer.Option("--move", help="Take the name from another version.")] = False,
    json_: Json = False,
) -> None:
    """Give a version a name of its own, which every command takes: `flights@golden`.

    Example: airloom dataset tag flights@v3 golden
    """
    from airloom.datasets import tag_delete, versions

    settings = load()
    version = versions.find(settings, name)
    tagged = tag_delete.tag(settings, version, label, move=move)
    answer({"tag": tagged, "version": version.name}, json_, f"{tagged} is {version.name}")


@app.command()
def delete(
    name: Version,
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")],
    author: Author = None,
    json_: Json = False,
) -> None:
    """Delete a version, or with a bare name all of a dataset. Its data stay until they are collected.

    Example: airloom dataset delete flights@v2 --reason "wrong source"
    """
    from airloom.datasets import tag_delete

    gone = [version.name for version in tag_delete.delete(load(), name, reason=reason, author=author)]
    answer({"deleted": gone}, json_, f"deleted: {', '.join(gone)}")


def _numbers(text: str, rows: int) -> list[int]:
    """`3,17,20-25` → [3, 17, 20, …, 25], all below `rows`."""
    numbers: list[int] = []
    for part in text.split(","):
        form = re.fullmatch(r"\s*([0-9]{1,18})(?:-([0-9]{1,18}))?\s*", part)
        low, high = (int(form[1]), int(form[2] or form[1])) if form else (1, 0)
        if low > high:
            raise ConfigError(f"--rows {text[:80]!r} is no list of row numbers", "for example --rows 3,17,20-25")
        if high >= rows:
            raise ConfigError(f"--rows {text[:80]!r}: there is no row {high}", f"rows are 0 to {rows - 1}")
        numbers += range(low, high + 1)
    return numbers


def _print(version: DatasetVersion, as_json: bool, columns: Sequence[str] = ()) -> None:
    text = f"{version.name}: {version.rows} rows, id {version.id[:12]}"
    answer(version.to_dict() | {"name": version.name}, as_json, "\n".join([text, *columns]))
