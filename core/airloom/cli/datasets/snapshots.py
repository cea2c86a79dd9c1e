"""snapshot, fetch, export."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airloom.cli.console import Json, Redacted, SplitColumn, Version, answer, progress
from airloom.errors import ConfigError
from airloom.settings import load

if TYPE_CHECKING:
    from airloom.datasets.snapshots import snapshot as snapshots

app = typer.Typer()
Split = Annotated[
    list[str] | None,
    typer.Option(
        "--split",
        help="name=fraction, repeatable; without it the dataset's published split, else train=0.6 validation=0.15 "
        "test=0.25. With --split-column name=VALUE, or validation=0.1 of train.",
    ),
]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="Only rows of commits with this tag; !tag: without it.")]
Since = Annotated[int, typer.Option(help="Only rows that came after this version.")]


@app.command()
def snapshot(
    name: Version,
    split: Split = None,
    split_column: SplitColumn = "",
    tag: Tags = None,
    since: Since = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is READY.")] = False,
    allow_redacted: Redacted = False,
    json_: Json = False,
) -> None:
    """Prepare what a training reads: rows of a version, split by hash or as published. Returns at once; see `fetch`.

    Example: airloom dataset snapshot flights@v3 --split train=0.8 --split test=0.2 --tag month=2 --wait
    """
    from airloom.datasets import versions
    from airloom.datasets.snapshots import snapshot as snapshots

    settings = load()
    version = versions.find(settings, name)
    filters: dict[str, Any] = {"since": since, "tags": tag or [], "allow_redacted": allow_redacted}
    asked = snapshots.ask(settings, version, _split(split, split_column), **filters)
    state = snapshots.start(settings, asked)
    if wait:
        snapshots.fetch(settings, asked.id)
        state = snapshots.READY
    answer({"id": asked.id, "state": state}, json_, f"{asked.id}  {state}")


@app.command()
def fetch(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Id of a snapshot.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is READY.")] = False,
    data: Annotated[bool, typer.Option("--data", help="Also have its shards in this home's cache.")] = False,
    json_: Json = False,
) -> None:
    """The state of a snapshot: RUNNING, READY with rows and statistics, or FAILED with the reason.

    Example: airloom dataset fetch 54ed0e9c032e52964f0bc6c4e801f2202ab30f413f3d9e30a610f29b39aad0e9 --data
    """
    from airloom.datasets.snapshots import snapshot as snapshots
    from airloom.errors import DataError

    settings = load()
    if wait or data:
        ready = snapshots.fetch(settings, identity)
        if data:
            snapshots.open_snapshot(settings, ready).fetch(progress("fetched"))
    record = snapshots.record(settings, identity)
    if record is None:
        raise DataError(f"there is no snapshot {identity[:80]}", "`airloom dataset snapshot NAME` prepares one")
    answer(record, json_, _describe(record))


def _describe(record: dict[str, Any]) -> str:
    asked = record["snapshot"]
    rows = ", ".join(f"{name} {count}" for name, count in asked["rows"].items())
    lines = [f"{asked['id']}  {record['state']}", f"{asked['dataset']}@v{asked['version']}: {rows or 'no rows yet'}"]
    return "\n".join([*lines, *([record["error"]] if "error" in record else [])])


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="digits@v2, or the id of a snapshot with --of.")],
    target: Annotated[Path, typer.Argument(help="File or folder to make; it must not exist.")],
    form: Annotated[str, typer.Option("--form", help="parquet, folder or hf.")] = "parquet",
    of: Annotated[str, typer.Option("--of", help="A split of the snapshot.")] = "",
    allow_redacted: Redacted = False,
    json_: Json = False,
) -> None:
    """Write a version, or a split of a snapshot, as Parquet, as a folder by label, or for Hugging Face datasets.

    Example: airloom dataset export flights@v3 flights.parquet
    """
    from airloom.datasets.export import export_named

    path, rows = export_named(load(), name, target, form, of, allow_redacted=allow_redacted)
    answer({"path": str(path), "rows": rows}, json_, f"{path}: {rows} rows")


def _split(given: list[str] | None, column: str) -> "snapshots.Split":
    from airloom.datasets.snapshots.split import Published

    if column:
        return Published(column, _parts(given or []))
    if not given:
        return None
    shares = {}
    for item in given:
        name, equals, share = item.partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise ConfigError(
                f"--split {item!r} is not name=fraction", "for example --split train=0.8 --split test=0.2"
            )
    return shares


def _parts(given: list[str]) -> dict[str, Any]:
    """`["train=training", "validation=0.1"]` → `{"train": ["training"], "validation": 0.1}`."""
    values: dict[str, Any] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name:
            hint = "for example --split train=training --split validation=0.1"
            raise ConfigError(f"--split {item!r} is not name=VALUE", hint)
        values.setdefault(name, []).append(value)
    if re.fullmatch(r"0?\.[0-9]+", values.get("validation", [""])[0]):
        values["validation"] = float(values["validation"][0])
    return values
