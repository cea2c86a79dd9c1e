"""`airloom keys …`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from airloom.cli.console import Json, answer
from airloom.settings import load

if TYPE_CHECKING:
    from airloom.registry.keys import TrustedKey

app = typer.Typer(
    help="The key that signs model versions, and those whose signatures are trusted.", no_args_is_help=True
)


@app.command()
def show(json_: Json = False) -> None:
    """Print the public key of this installation, for `airloom keys trust` of another one; made where there is none."""
    from airloom.registry import keys

    settings = load()
    signing = keys.signing_key(settings)  # first: it may be made now
    key = keys.trusted(settings)[signing.id]
    pem = keys.public_pem(key)
    answer({**key.to_dict(), "pem": pem}, json_, pem.rstrip())


@app.command("list")
def list_(json_: Json = False) -> None:
    """All keys that are or were trusted here."""
    from airloom.registry import keys

    trusted = list(keys.trusted(load()).values())
    answer([key.to_dict() for key in trusted], json_, "\n".join(map(_line, trusted)) or "no keys")


@app.command()
def rotate(json_: Json = False) -> None:
    """Make a new signing key. The public part of the old one stays trusted until `airloom keys revoke`."""
    from airloom.registry import keys

    key = keys.rotate(load())
    answer(key.to_dict(), json_, f"{key.id} signs from now on; bring trusted.json to where only public keys are")


@app.command()
def trust(
    file: Annotated[Path, typer.Argument(help="Its public key: what `airloom keys show` printed there.")],
    name: Annotated[str, typer.Option(help="Whose it is, for example production.")],
    json_: Json = False,
) -> None:
    """Trust the model versions that another installation signs."""
    from airloom.registry import keys

    key = keys.trust(load(), file, name)
    answer(key.to_dict(), json_, f"{key.label} is trusted; compare the id with what `airloom keys list` shows there")


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, or the beginning of it.")],
    json_: Json = False,
) -> None:
    """Trust a key no more: what it signed is not loaded any more, what serves goes on until the server starts anew."""
    from airloom.registry import keys

    revoked = keys.revoke(load(), key)
    answer(
        revoked.to_dict(), json_, f"{revoked.label} is revoked; `airloom model sign` vouches for single versions anew"
    )


def _line(key: "TrustedKey") -> str:
    state = f"revoked {key.revoked}" if key.revoked else f"since {key.since}"
    return f"{key.id}  {key.name:20} {state}"
