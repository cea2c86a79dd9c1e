"""`airloom gate …`."""

import json
from typing import Annotated

import typer

from airloom.settings import load

app = typer.Typer(help="What lets a candidate through.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `simulate` a command of its own while it is the only one."""


@app.command()
def simulate(
    pipeline: Annotated[str, typer.Argument(help="A pipeline's name, or the path of its file.")],
    trials: Annotated[int, typer.Option(min=10, max=100_000, help="Simulated decisions of each kind.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of the resampling.")] = 0,
    tries: Annotated[int, typer.Option(min=1, help="Which try on the test split is simulated.")] = 1,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """How often the gate promotes falsely, and how often rightly, on resampled stored predictions."""
    from airloom.evaluation.gate import simulate as simulation
    from airloom.pipeline.run import find_file
    from airloom.spec.load import load_pipeline

    settings = load()
    policy = load_pipeline(find_file(settings, pipeline))
    rates = simulation.simulate(settings, policy, trials, seed, tries)
    typer.echo(json.dumps(rates.to_dict(), indent=1) if json_ else simulation.render(rates))
