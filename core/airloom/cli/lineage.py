"""`airloom trace`, `airloom impact`, `airloom why`."""

from pathlib import Path
from typing import Annotated

import typer

from airloom.cli.console import Json, answer, say
from airloom.settings import load

GraphFile = Annotated[Path | None, typer.Option("--graph", metavar="FILE.svg", help="Draw the graph into this file.")]
Training = Annotated[str, typer.Argument(help="A training: MLflow run, pipeline run's key, or a model version.")]


def trace(
    target: Annotated[
        str,
        typer.Argument(help="A prediction's id; a model: digits, digits@champion, prod.digits/3; a run's id or key."),
    ],
    json_: Json = False,
    graph: GraphFile = None,
) -> None:
    """Follow a prediction, model or run back to its training, code, snapshot, dataset version, commits and sources."""
    from airloom.lineage.trace import render
    from airloom.lineage.trace import trace as follow

    lineage = follow(load(), target)
    if graph:
        from airloom.lineage.graph import of_trace, save

        save(of_trace(lineage), graph)
    answer(lineage.to_dict(), json_, render(lineage))
    _name(graph)


def impact(
    target: Annotated[str, typer.Argument(help="digits@v3, a commit of the data repository, or a shard's MD5.")],
    json_: Json = False,
    graph: GraphFile = None,
) -> None:
    """Show what stands on a commit's rows: versions, snapshots, runs, models, aliases, and how many predictions."""
    from airloom.lineage.impact import impact as follow
    from airloom.lineage.impact import render

    affected = follow(load(), target)
    if graph:
        from airloom.lineage.graph import of_impact, save

        save(of_impact(affected), graph)
    answer(affected.to_dict(), json_, render(affected))
    _name(graph)


def why(first: Training, second: Training, json_: Json = False) -> None:
    """Show what differs between two trainings: data, code, parameters, environment, seed, hardware."""
    from airloom.lineage.why import render
    from airloom.lineage.why import why as compare

    difference = compare(load(), first, second)
    answer(difference.to_dict(), json_, render(difference))


def _name(graph: Path | None) -> None:
    if graph:
        say(f"the graph is in {graph}")
