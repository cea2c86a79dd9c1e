"""What the dataset commands share."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Message = Annotated[str, typer.Option("--message", "-m", help="What is new, or why.")]
Author = Annotated[str, typer.Option(help="Who says so.")]
Version = Annotated[str, typer.Argument(help="digits (the newest), digits@v2, or digits@golden.")]
Dataset = Annotated[str, typer.Argument(help="Name of the dataset.")]
Suite = Annotated[Path | None, typer.Option(help="Expectation suite; default: configs/expectations/<dataset>.json.")]


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
