"""`airloom dataset …`: commit, look, choose and export."""

import typer

from airloom.cli.datasets import change, expectations, forget, quarantine, show, snapshots

app = typer.Typer(help="Commit datasets, look at their versions, prepare snapshots.", no_args_is_help=True)
for part in (change.app, forget.app, expectations.app, show.app, snapshots.app):
    app.registered_commands.extend(part.registered_commands)
app.add_typer(quarantine.app, name="quarantine")
