"""forget: deleted is deleted."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from airloom.cli.console import Author, Dataset, Json, answer, say
from airloom.errors import ConfigError
from airloom.settings import load

app = typer.Typer()
Keys = Annotated[list[str] | None, typer.Option("--key", help="The key of the rows; repeatable.")]
File = Annotated[Path | None, typer.Option("--keys-file", help="A text file with a key a line, instead.")]


@app.command()
def forget(
    dataset: Dataset,
    reason: Annotated[str, typer.Option(help="Why; it is recorded, so without the key.")] = "",
    key: Keys = None,
    keys_file: File = None,
    author: Author = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and what else has it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json_: Json = False,
) -> None:
    """Forget all rows with a key, in every version: rows, digests and statistics go from cache, DVC remote and git.

    The newest version is followed by one without them. Older ones keep number and id and are REDACTED: readers refuse
    them, unless --allow-redacted. Commits get new hashes; the old ones are still understood. It cannot be undone.

    Example: airloom dataset forget flights --key AA123 --reason "asked to be forgotten" --dry-run
    """
    from airloom.retention import forget as forgetting

    if bool(key) == bool(keys_file):
        raise ConfigError("say which rows", "either --key VALUE or --keys-file FILE")
    settings = load()
    keys = list(dict.fromkeys(key or forgetting.read_keys(keys_file or Path())))
    if dry_run:
        planned = forgetting.plan(settings, dataset, keys)
        answer(planned.to_dict(), json_, forgetting.render(planned))
        return
    if not reason.strip():
        raise ConfigError("a forgetting needs a reason", "say why with --reason")
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("nobody is there to be asked", "look with --dry-run, then say --yes")
        say(forgetting.render(forgetting.plan(settings, dataset, keys)))
        typer.confirm("Forget these rows? It cannot be undone", abort=True, err=True)
    done = forgetting.forget(settings, dataset, keys, reason=reason, author=author, log_line=say)
    answer(done.to_dict(), json_, forgetting.render(done))
