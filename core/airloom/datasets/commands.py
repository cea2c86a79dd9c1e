"""`airloom dataset …`"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from airloom.settings import load

app = typer.Typer(help="Commit datasets and look at their versions.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command()
def commit(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset; the first commit creates it.")],
    file: Annotated[Path, typer.Argument(help=".npz with `images` (n, c, h, w) 0..1 and `labels` (n,), or .arrow.")],
    message: Annotated[str, typer.Option("--message", "-m", help="What is new.")],
    author: Annotated[str, typer.Option(help="Who commits.")] = "airloom",
    replace: Annotated[bool, typer.Option("--replace", help="Replace all rows instead of appending.")] = False,
    json_: Json = False,
) -> None:
    """Validate a batch and make it a new version; a running stack starts the pipelines that wait for it."""
    from airloom.datasets.commit import commit as make
    from airloom.datasets.ingest import read_file

    version = make(
        load(),
        dataset,
        read_file(file),
        message=message,
        author=author,
        mode="replace" if replace else "append",
        source=file.name,
    )
    _print(version.to_dict() | {"name": version.name}, json_, f"{version.name}: {version.rows} rows, id {version.id}")


@app.command("list")
def list_(json_: Json = False) -> None:
    """All datasets with their newest version."""
    from airloom.datasets import versions

    settings = load()
    found = [versions.latest(settings, name) for name in versions.list_datasets(settings)]
    records = [version.to_dict() | {"name": version.name} for version in found]
    _print(records, json_, "\n".join(f"{v.name}  {v.rows} rows  {v.message}" for v in found) or "no datasets yet")


@app.command()
def show(name: Annotated[str, typer.Argument(help="digits, or digits@v2.")], json_: Json = False) -> None:
    """One version, the newest when no number is given."""
    from airloom.datasets import versions

    settings = load()
    dataset, number = versions.parse_name(name)
    found = versions.latest(settings, dataset) if number is None else versions.get(settings, dataset, number)
    record = found.to_dict() | {"name": found.name}
    _print(record, json_, "\n".join(f"{key:8} {value}" for key, value in record.items()))


@app.command()
def log(name: Annotated[str, typer.Argument(help="Name of the dataset.")], json_: Json = False) -> None:
    """The versions of a dataset, newest first."""
    from airloom.datasets import versions

    records = versions.log(load(), name)
    lines = (f"{r['name']}  {r['created']}  {r['rows']} rows  {r['author']}: {r['message']}" for r in records)
    _print(records, json_, "\n".join(lines))


def _print(value: Any, as_json: bool, text: str) -> None:
    typer.echo(json.dumps(value, indent=1) if as_json else text)
