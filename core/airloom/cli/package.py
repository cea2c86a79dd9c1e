"""`airloom package`."""

from pathlib import Path
from typing import Annotated

import typer

from airloom.cli.console import Json, answer, say
from airloom.settings import load


def package(
    model: Annotated[
        str, typer.Argument(help="digits/3, digits@champion, or digits for its champion; another's: prod.digits/3.")
    ],
    version: Annotated[int | None, typer.Option(help="Of the model; the same as digits/3.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE.bento", help="Export it there too: a file, or a folder.")
    ] = None,
    json_: Json = False,
) -> None:
    """Build a self-contained Bento of one model version: `bentoml serve` of it answers as the model server does.

    It has the model, its golden answers and the server's code, and asks neither registry nor state folder. The token
    of its clients is AIRLOOM_SERVER_TOKEN in its environment.

    Example: airloom package digits --version 3 --output digits-3.bento
    """
    from airloom.errors import ConfigError
    from airloom.names import ModelName
    from airloom.registry import models
    from airloom.registry import package as packages

    settings = load()
    if version is not None:
        asked = ModelName.match(model)
        if asked and (asked.version or asked.alias):
            raise ConfigError(f"{model} names a version, and so does --version {version}", "give one of the two")
        model = f"{model}/{version}"
    made = packages.package(settings, models.find(settings, model), say, output)
    text = f"{made.tag} is in BentoML's store: {packages.TOKEN}=… bentoml serve {made.tag}"
    answer(made.to_dict(), json_, f"{text}\n{made.output}: the same for others" if made.output else text)
