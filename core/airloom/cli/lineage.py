"""`airloom trace`, `airloom impact`, `airloom why`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from airloom.settings import load

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Graph = Annotated[Path | None, typer.Option("--graph", metavar="FILE.svg", help="Draw the graph into this file.")]
Run = Annotated[str, typer.Argument(help="A training: MLflow run, pipeline run's key, or a model version.")]


def trace(
    target: Annotated[
        str, typer.Argument(help="A prediction's id; a model: digits, digits@champion, digits/3; a run's id or key.")
    ],
    json_: Json = False,
    graph: Graph = None,
) -> None:
    """Follow a prediction, model or run back to its training, code, snapshot, dataset version, commits and sources."""
    from airloom.lineage import trace as lineage

    found = lineage.trace(load(), target)
    if graph:
        from airloom.lineage import graph as drawing

        drawing.save(drawing.of_trace(found), graph)
    _print(found, lineage.render, as_json=json_, graph=graph)


def impact(
    target: Annotated[str, typer.Argument(help="digits@v3, a commit of the data repository, or a shard's MD5.")],
    json_: Json = False,
    graph: Graph = None,
) -> None:
    """Show what stands on a commit's rows: versions, snapshots, runs, models, aliases, and how many predictions."""
    from airloom.lineage import impact as lineage

    found = lineage.impact(load(), target)
    if graph:
        from airloom.lineage import graph as drawing

        drawing.save(drawing.of_impact(found), graph)
    _print(found, lineage.render, as_json=json_, graph=graph)


def why(first: Run, second: Run, json_: Json = False) -> None:
    """Show what differs between two trainings: data, code, parameters, environment, seed, hardware."""
    from airloom.lineage import why as lineage

    _print(lineage.why(load(), first, second), lineage.render, as_json=json_)


def _print(found: dict[str, Any], render: Any, *, as_json: bool, graph: Path | None = None) -> None:
    typer.echo(json.dumps(found, indent=1) if as_json else render(found))
    if graph:
        typer.echo(f"the graph is in {graph}", err=True)
