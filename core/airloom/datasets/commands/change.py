"""create, commit, fix, remove, compact, tag, delete, propose-expectations: what changes a dataset, or prepares it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from airloom.contracts import DatasetVersion
from airloom.datasets.commands.common import Author, Dataset, Json, Message, Suite, Version, answer
from airloom.errors import ConfigError, DataError
from airloom.settings import Settings, load

app = typer.Typer()
Source = Annotated[
    Path,
    typer.Argument(help="A file (.csv .jsonl .parquet .arrow .npz .npy), a folder of them, or a folder a class."),
]
Type = Annotated[str, typer.Option("--type", help="image, text, tabular, generic; found out when left out.")]
Label = Annotated[str, typer.Option(help="The label column; `label` when left out.")]
Key = Annotated[str, typer.Option(help="The column that decides the split, for example a patient's number.")]
Classes = Annotated[str, typer.Option(help="Text labels in the order of their numbers, with commas between.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="Words that a snapshot can choose rows by; repeatable.")]
Rows = Annotated[str, typer.Option(help="Row numbers in that version, from 0: 3,17,20-25.")]


@app.command()
def create(
    dataset: Dataset,
    source: Source,
    message: Message,
    type_: Type = "",
    label: Label = "",
    key: Key = "",
    classes: Classes = "",
    author: Author = "airloom",
    tag: Tags = None,
    suite: Suite = None,
    json_: Json = False,
) -> None:
    """Make a new dataset and its first version."""
    from airloom.datasets import versions

    settings = load()
    if versions.check_name(dataset) in versions.list_datasets(settings):
        raise ConfigError(f"there is a dataset {dataset} already", "`airloom dataset commit` adds rows to it")
    roles = {"type": type_, "label": label, "key": key, "classes": [c for c in classes.split(",") if c]}
    _commit(settings, dataset, source, roles, json_, message=message, author=author, tags=tag or [], suite=suite)


@app.command()
def commit(
    dataset: Dataset,
    source: Source,
    message: Message,
    author: Author = "airloom",
    replace: Annotated[bool, typer.Option("--replace", help="Put these rows in the place of all others.")] = False,
    type_: Type = "",
    label: Label = "",
    key: Key = "",
    classes: Classes = "",
    tag: Tags = None,
    suite: Suite = None,
    json_: Json = False,
) -> None:
    """Validate rows and make them a new version; a running stack starts the pipelines that wait for it.

    The first commit creates the dataset; its type and the roles of its columns then stay.
    """
    roles = {"type": type_, "label": label, "key": key, "classes": [c for c in classes.split(",") if c]}
    mode = "replace" if replace else "append"
    more = {"message": message, "author": author, "tags": tag or [], "suite": suite, "mode": mode}
    _commit(load(), dataset, source, roles, json_, **more)


def _commit(
    settings: Settings, dataset: str, source: Path, roles: dict[str, Any], as_json: bool, **details: Any
) -> None:
    from airloom.datasets.commit import commit as make
    from airloom.datasets.incoming import open_rows

    _print(make(settings, dataset, open_rows(settings, dataset, source, **roles), **details), as_json)


@app.command()
def fix(
    name: Version,
    source: Source,
    rows: Rows,
    message: Message,
    author: Author = "airloom",
    suite: Suite = None,
    json_: Json = False,
) -> None:
    """Put corrected rows in the place of some: one for each, in the same order. Each stays in its split."""
    from airloom.datasets import edit, versions
    from airloom.datasets.incoming import open_rows

    settings = load()
    version = versions.find(settings, name)
    data = open_rows(settings, version.dataset, source)
    numbers = _numbers(rows)
    _print(edit.fix_rows(settings, version, numbers, data, message=message, author=author, suite=suite), json_)


@app.command()
def remove(
    name: Version,
    message: Message,
    rows: Rows = "",
    key: Annotated[str, typer.Option(help="Remove all rows with this key instead.")] = "",
    author: Author = "airloom",
    json_: Json = False,
) -> None:
    """Make a version without some rows. The older versions keep them."""
    from airloom.datasets import edit, versions

    settings = load()
    version = versions.find(settings, name)
    if bool(rows) == bool(key):
        raise ConfigError("say which rows", "either --rows 3,17,20-25 or --key VALUE")
    numbers = _numbers(rows) if rows else edit.rows_with_key(settings, version, key)
    if not numbers:
        raise DataError(f"{version.name} has no row with the key {key!r}", "look at the key column")
    _print(edit.delete_rows(settings, version, numbers, message=message, author=author), json_)


@app.command()
def compact(dataset: Dataset, json_: Json = False) -> None:
    """Store the newest version in fewer shards, without its deleted rows. Its number and id stay."""
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
    """Give a version a name of its own: `digits@golden`."""
    from airloom.datasets import manage, versions

    settings = load()
    version = versions.find(settings, name)
    made = manage.tag(settings, version, label, move=move)
    answer({"tag": made, "version": version.name}, json_, f"{made} is {version.name}")


@app.command()
def delete(
    name: Version,
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")],
    author: Author = "airloom",
    json_: Json = False,
) -> None:
    """Delete a version, or with a bare name all of a dataset. Its data stay until they are collected."""
    from airloom.datasets import manage

    gone = [version.name for version in manage.delete(load(), name, reason=reason, author=author)]
    answer({"deleted": gone}, json_, f"deleted: {', '.join(gone)}")


@app.command("propose-expectations")
def propose_expectations(
    name: Annotated[
        str, typer.Argument(help="A version to draft from (digits@v2), or with --from the dataset's name.")
    ],
    source: Annotated[Path | None, typer.Option("--from", help="Draft from this file or folder instead.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write it there; a file that exists is not touched.")] = None,
    type_: Type = "",
    label: Label = "",
    key: Key = "",
) -> None:
    """Draft a suite of Great Expectations from what rows are like. Read it before you use it."""
    from airloom.datasets.propose import propose

    profile, layout = _profile(name, source, {"type": type_, "label": label, "key": key})
    suite = propose(name.partition("@")[0], profile, label=layout.label)
    text = json.dumps(suite, indent=1) + "\n"
    if output is None:
        typer.echo(text, nl=False)
        return
    if output.exists():
        raise ConfigError(f"{output} exists", "give another path, or remove it first")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text)
    typer.echo(f"{output}: {len(suite['expectations'])} expectations, drafted from {source or name}", err=True)


def _profile(name: str, source: Path | None, roles: dict[str, str]) -> tuple[Any, Any]:
    """The profile to draft from, and the roles of its columns."""
    from airloom.datasets import versions
    from airloom.datasets.diff import profile
    from airloom.datasets.ingest import open_source
    from airloom.datasets.store import Store
    from airloom.datasets.types import get_type

    if source:
        data = open_source(source, **roles)
        return get_type(data.layout.type).profile(data.to_table(), data.layout), data.layout
    settings = load()
    manifest = versions.manifest_of(settings, versions.find(settings, name))
    return profile(Store(settings), manifest), manifest.layout


def _numbers(text: str) -> list[int]:
    """`3,17,20-25` → [3, 17, 20, …, 25]."""
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not (low.isascii() and low.isdecimal()) or (dash and not (high.isascii() and high.isdecimal())):
            raise ConfigError(f"--rows {text[:80]!r} is no list of row numbers", "for example --rows 3,17,20-25")
        found += range(int(low), int(high or low) + 1)
    return found


def _print(version: DatasetVersion, as_json: bool) -> None:
    text = f"{version.name}: {version.rows} rows, id {version.id[:12]}"
    answer(version.to_dict() | {"name": version.name}, as_json, text)
