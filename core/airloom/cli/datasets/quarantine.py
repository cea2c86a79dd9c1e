"""Batches that did not pass: look at them, drop them, or let one through with a reason."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from airloom.cli.console import Json, answer
from airloom.settings import load

app = typer.Typer(help="Batches that did not pass their expectations.", no_args_is_help=True)
Batch = Annotated[str, typer.Argument(metavar="ID", help="Id of the batch, as `list` shows it.")]


@app.command("list")
def list_(json_: Json = False) -> None:
    """All batches in quarantine, oldest first.

    Example: airloom dataset quarantine list
    """
    from airloom.datasets.validation import quarantine

    batches = [asdict(held) for held in quarantine.list_batches(load())]
    answer(batches, json_, "\n".join(_line(batch) for batch in batches) or "quarantine is empty")


def _line(batch: dict[str, Any]) -> str:
    request = batch["request"]
    return f"{batch['id']}  {request['dataset']}  {batch['rows']} rows  {request['author']}: {request['message']}"


@app.command()
def show(batch: Batch, json_: Json = False) -> None:
    """What was asked, what failed, and where the readable report is.

    Example: airloom dataset quarantine show flights-0123456789ab
    """
    from airloom.datasets.validation import quarantine

    held = asdict(quarantine.show(load(), batch))
    lines = [_line(held), *(f"failed: {line}" for line in held["failed"]), f"report: {held['page']}"]
    answer(held, json_, "\n".join(lines))


@app.command()
def drop(batch: Batch) -> None:
    """Remove a batch with its report.

    Example: airloom dataset quarantine drop flights-0123456789ab
    """
    from airloom.datasets.validation import quarantine

    quarantine.drop(load(), batch)
    typer.echo(f"{batch} is gone", err=True)


@app.command()
def release(
    batch: Batch,
    reason: Annotated[str, typer.Option(help="Why these rows may be used; it is recorded in the version.")],
    author: Annotated[str, typer.Option(help="Who lets them through.")],
    json_: Json = False,
) -> None:
    """Commit a batch in spite of its report. Who does so, and why, stands in the version for ever.

    Example: airloom dataset quarantine release flights-0123456789ab --author Ada --reason "a new airport"
    """
    from airloom.datasets.release import release as make

    version = make(load(), batch, who=author, why=reason)
    answer(
        version.to_dict() | {"name": version.name}, json_, f"{version.name}: {version.rows} rows, released by {author}"
    )
