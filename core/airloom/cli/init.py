"""`airloom init`: a project of one's own."""

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from airloom.cli.console import Json

Template = StrEnum("Template", ["image", "text", "table", "blank"])


def init(
    folder: Annotated[
        Path, typer.Argument(help="The project's folder; its name is the project's. May be there already.")
    ],
    template: Annotated[
        Template, typer.Option(help="What the example learns from; each runs at once on data that it makes.")
    ] = Template("table"),
    json_: Json = False,
) -> None:
    """Make a project: pipeline file, training function, DAGs, a test, in a git repository.

    Example: airloom init shop --template text
    """
    from airloom.project.scaffold import init as make

    project = make(folder, template.value)
    if json_:
        typer.echo(json.dumps(asdict(project) | {"folder": str(project.folder)}, indent=1))
        return
    typer.echo(
        f"{project.folder}: {len(project.files)} files" + (f", commit {project.commit[:12]}" if project.commit else "")
    )
    if project.left:
        typer.echo(f"left as they are: {', '.join(project.left)}")
    if not project.commit:
        typer.echo("nothing was committed: commit the files, so that a model can name the code that trained it")
    typer.echo("next:")
    for command in (f"cd {folder}", *project.commands):
        typer.echo(f"  {command}")
