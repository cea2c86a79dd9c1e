"""`airloom db …`."""

import json
import sys
from typing import Annotated

import typer

from airloom.cli.console import Json, answer, say
from airloom.settings import load

app = typer.Typer(help="The version of the state: ours, MLflow's and Optuna's tables.", no_args_is_help=True)


@app.command()
def check(json_: Json = False) -> None:
    """Show of which version each store is; nothing is written. Exit code 1 where one must be migrated, or is newer."""
    from airloom.stack import migration

    stores = migration.check(load())
    answer([store.to_dict() for store in stores], json_, migration.render(stores))
    if any(store.state in (migration.OLD, migration.NEWER) for store in stores):
        sys.exit(1)


@app.command()
def migrate(
    backed_up: Annotated[
        bool, typer.Option("--backed-up", help="There is a backup of the database that AIRLOOM_DATABASE names.")
    ] = False,
    json_: Json = False,
) -> None:
    """Back up and migrate what an older release wrote, as `airloom up` does; what a newer one wrote is refused."""
    from airloom.stack import migration

    migrated = migration.migrate(load(), say, backed_up=backed_up)
    text = migration.render(migrated) if migrated else "everything is of this release's version"
    typer.echo(json.dumps([store.to_dict() for store in migrated], indent=1) if json_ else text)
