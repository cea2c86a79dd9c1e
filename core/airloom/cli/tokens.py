"""`airloom token …`."""

from typing import TYPE_CHECKING, Annotated

import typer

from airloom.cli.console import Json, answer
from airloom.settings import load

if TYPE_CHECKING:
    from airloom.registry.tokens import Token

app = typer.Typer(help="Who may ask the model server, and for what.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is, for example web-shop.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="predict (all models), predict:MODEL, admin (/status), metrics (those of models); repeatable."
        ),
    ] = None,
    ends: Annotated[str, typer.Option(metavar="DATE", help="When it ends, 2030-01-31 or ISO 8601 with a time.")] = "",
    rate: Annotated[float | None, typer.Option(help="Requests a second, of each server process.")] = None,
    burst: Annotated[int | None, typer.Option(help="Requests at once, after a pause; those of a second.")] = None,
    json_: Json = False,
) -> None:
    """Make a token and print it, this once: only its digest is kept. Running servers know it within two seconds.

    To replace one: create the new one, bring it to the client, then revoke the old one.

    Example: airloom token create web-shop --scope predict:digits --rate 50
    """
    from airloom.registry import tokens

    token, text = tokens.create(load(), name, scope or (tokens.PREDICT,), ends, rate, burst)
    answer({**token.shown(), "token": text}, json_, text)


@app.command("list")
def list_(json_: Json = False) -> None:
    """All tokens that were made here; the stack's own, which may do everything, `airloom up` prints."""
    from airloom.registry import tokens

    found = tokens.read(tokens.file_of(load()))
    answer([token.shown() for token in found], json_, "\n".join(map(_line, found)) or "no tokens but the stack's own")


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(help="Its id, the beginning of it, or its name.")],
    json_: Json = False,
) -> None:
    """Take a token back: running servers refuse it within two seconds."""
    from airloom.registry import tokens

    revoked = tokens.revoke(load(), token)
    answer(revoked.shown(), json_, f"{revoked.id} ({revoked.name}) is revoked")


def _line(token: "Token") -> str:
    rate = f"  {token.rate:g}/s, {token.burst} at once" if token.rate else ""
    time = f"revoked {token.revoked}" if token.revoked else f"{token.state} until {token.ends or 'it is revoked'}"
    return f"{token.id}  {token.name:20} {','.join(token.scopes):30} {time}{rate}"
