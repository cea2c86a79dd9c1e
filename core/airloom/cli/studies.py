"""`airloom tune` and `airloom study …`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from airloom.settings import load

app = typer.Typer(help="Hyperparameter studies, in the database where Optuna has them.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Name = Annotated[str, typer.Argument(help="Name of the study, as `list` shows it.")]


def tune(
    pipeline: Annotated[str, typer.Argument(help="A pipeline's name, or the path of its file.")],
    version: Annotated[int | None, typer.Option(help="Dataset version; the newest when left out.")] = None,
    parameter: Annotated[list[str] | None, typer.Option("--parameter", "-p", help="name=value, repeatable.")] = None,
    key: Annotated[str, typer.Option(help="Go on with the study of this key, or extend it.")] = "",
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run it, whatever earlier runs did.")] = False,
    json_: Json = False,
) -> None:
    """Run the study of a pipeline that has one here, without Airflow, and show it live."""
    from airloom.cli import study_view
    from airloom.cli.console import parse_parameters
    from airloom.pipeline.run import find_file, tune_pipeline

    settings = load()
    file = find_file(settings, pipeline)
    with study_view.shown(settings) as view:
        result = tune_pipeline(
            settings,
            file,
            view.log_line,
            view.follow,
            version=version,
            parameters=parse_parameters(parameter or []),
            key=key,
            cache=not no_cache,
        )
    if json_:
        typer.echo(json.dumps(result.to_dict(), indent=1))
        return
    over = f"; {result.over}" if result.over else ""
    values = ", ".join(f"{name} {value:g}" for name, value in result.values.items())
    typer.echo(f"{result.study}: {result.trials} trials, {result.pruned} of them pruned{over}")
    typer.echo(f"best: trial {result.best_trial}, {values}, with {result.best_parameters}")


@app.command("list")
def list_(json_: Json = False) -> None:
    """Every study, oldest first, and how far it is."""
    from airloom.tuning import queries

    studies = queries.list_studies(load())
    lines = [
        f"{s.state:10} {s.tally.finished:>5}/{s.tally.trials:<5} {s.study}  {s.tally.failed[:80]}" for s in studies
    ]
    typer.echo(json.dumps([s.to_dict() for s in studies], indent=1) if json_ else "\n".join(lines) or "no studies")


@app.command()
def show(study: Name, json_: Json = False) -> None:
    """A study slot by slot: state, parameters, value, attempts; then what others added by plain Optuna."""
    from airloom.cli import study_view
    from airloom.tuning import queries

    detail = queries.show_study(load(), study)
    if json_:
        typer.echo(json.dumps(detail.to_dict(), indent=1))
        return
    tally = detail.tally
    typer.echo(
        f"{detail.study}: {detail.state}, {tally.finished} of {tally.trials} trials, "
        f"{tally.seconds:.0f} s, {tally.device_seconds:.0f} device-seconds {tally.failed}"
    )
    typer.echo("\n".join(study_view.line(slot) for slot in detail.slots))
    for row in detail.foreign:
        waits = "enqueued, for the next free slot" if row.state == "WAITING" else f"{row.state}, counted nowhere"
        values = ", ".join(f"{name} {value:g}" for name, value in row.values.items())
        typer.echo(f"foreign trial {row.trial:>4} {waits}  {values}  {row.parameters}")


@app.command()
def best(
    study: Name,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="So many of the best.")] = 1,
    json_: Json = False,
) -> None:
    """The best trials; of several objectives, the Pareto front."""
    from airloom.tuning import queries

    trials = queries.best_trials(load(), study, count)
    lines = [f"trial {t.trial}: {t.values} with {t.parameters}" for t in trials]
    typer.echo(
        json.dumps([t.to_dict() for t in trials], indent=1) if json_ else "\n".join(lines) or "no trial is complete"
    )


@app.command()
def export(
    study: Name,
    file: Annotated[Path | None, typer.Option(help="Write there; standard output when left out.")] = None,
) -> None:
    """Every row of the study as CSV, failed and foreign ones too, with parameters, values, reports, user attributes."""
    from airloom.files import write_private
    from airloom.tuning import queries

    text = queries.to_csv(load(), study)
    if file is None:
        typer.echo(text, nl=False)
    else:
        write_private(file, text)
        typer.echo(f"{file}: {text.count(chr(10)) - 1} rows", err=True)
