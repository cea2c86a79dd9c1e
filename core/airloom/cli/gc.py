"""`airloom gc`."""

import json
from typing import Annotated

import typer

from airloom.errors import ConfigError
from airloom.settings import load


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and why.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Remove it.")] = False,
    older_than: Annotated[str, typer.Option(help="Keep what was used since: 12h, 30d.")] = "30d",
    grace: Annotated[str, typer.Option(help="Never take objects that are younger: a commit may need them.")] = "1d",
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Take away what nothing needs: objects of no version, old jobs, checkpoints, models, and prediction logs.

    What an alias, a model version younger than --older-than, or a living job needs is kept.
    """
    from airloom.cli.console import say
    from airloom.retention.collect import collect, plan, render, rules_of, summary

    if dry_run == apply:
        raise ConfigError("gc needs either --dry-run or --apply", "look first: `airloom gc --dry-run`")
    settings, rules = load(), rules_of(older_than, grace)
    items = collect(settings, rules, say) if apply else plan(settings, rules)
    typer.echo(json.dumps(summary(items), indent=1) if json_ else render(items, applied=apply))
