"""`airloom predict`."""

from pathlib import Path
from typing import Annotated

import typer

from airloom.cli.console import Author, Json, Redacted, answer, say
from airloom.settings import load


def predict(
    model: Annotated[
        str, typer.Argument(help="digits/7, digits@champion, or digits for its champion; another's: prod.digits/7.")
    ],
    dataset: Annotated[str, typer.Argument(help="digits (the newest), digits@v2, or digits@golden.")],
    split: Annotated[str, typer.Option(help="Only rows of this split, as the model's training had it.")] = "",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.parquet", help="A Parquet file, or a folder of them; it must not exist."),
    ] = None,
    commit: Annotated[str, typer.Option(metavar="NAME", help="Add the answers to this dataset, as a version.")] = "",
    scores: Annotated[bool, typer.Option("--scores", help="Have the probability of each class.")] = False,
    columns: Annotated[str, typer.Option(help="Columns of the dataset beside the answers, with commas between.")] = "",
    again: Annotated[
        bool, typer.Option("--again", help="Answer every row anew, also where all were answered.")
    ] = False,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    devices: Annotated[int, typer.Option(help="Whole devices to lease, for ONNX Runtime with CUDA.")] = 0,
    author: Author = None,
    allow_redacted: Redacted = False,
    json_: Json = False,
) -> None:
    """Answer every row of a dataset version by a model version, as the server would, in a job of its own.

    The answers are written part by part. Ctrl-C, or a kill, keeps those that are there, and the same command goes on:
    no row comes twice, and none is left out. Asked again, what is complete is taken as it is.

    Each row has its number in the version, the dataset's key, the prediction and its id, which `airloom trace` follows.

    Example: airloom predict digits@champion digits@v3 --split test --out answers.parquet --columns label
    """
    from airloom.errors import JobLost
    from airloom.jobs.logs import for_people
    from airloom.jobs.spec import Resources
    from airloom.prediction import job
    from airloom.prediction.delivery import Target
    from airloom.prediction.request import Asked
    from airloom.project import person

    settings = load()
    names = [name.strip() for name in columns.split(",") if name.strip()]
    asked = Asked(model, dataset, split, scores, names, allow_redacted)
    who = person.author(settings, author)
    by = f"{who.name} <{who.mail}>" if who.mail else who.name
    target = Target(str(out.expanduser().resolve()) if out else "", commit, by if commit else "")
    resources = Resources(devices=devices, threads=threads, time=job.LONGEST)

    def show(line: str) -> None:
        if shown := for_people(line):
            say(shown)

    try:
        made = job.predict(settings, asked, target, show, again=again, resources=resources)
    except (KeyboardInterrupt, JobLost):
        say(f"stopped: what is answered is kept; the same command{' without --again' if again else ''} goes on")
        raise
    rows = f"split {made.split} of {made.dataset}" if made.split else made.dataset
    place = made.out or made.committed or made.folder
    found = ", as it was answered before" if made.found else ""
    answer(made.to_dict(), json_, f"{place}: {made.rows:,} rows of {rows}, answered by {made.model}{found}")
