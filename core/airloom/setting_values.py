"""What the text of a setting means: a number, a switch, an address, a path."""

import os
from contextlib import suppress
from pathlib import Path

from airloom.errors import ConfigError

SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def switch(text: str) -> bool:
    """On or off."""
    if text.lower() not in SWITCH:
        raise ValueError(f"must be one of {', '.join(SWITCH)}")
    return SWITCH[text.lower()]


def count(text: str) -> int:
    """A whole number, 0 or more."""
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("must be a whole number, 0 or more")
    return int(text)


def share(text: str) -> float:
    """A number from 0 to 1."""
    with suppress(ValueError):
        number = float(text)
        if 0 <= number <= 1:  # not NaN
            return number
    raise ValueError("must be a number from 0 to 1")


def amount(text: str) -> float:
    """A number, 0 or more."""
    with suppress(ValueError):
        number = float(text)
        if 0 <= number < float("inf"):  # not NaN
            return number
    raise ValueError("must be a number, 0 or more")


def address(text: str, root: Path) -> str:
    """An address, or the whole path of a folder; `host:path` is git's short form of an address."""
    return text if not text or ":" in text.split("/")[0] else str(absolute(root / Path(text).expanduser()))


def file(text: str, root: Path) -> str:
    """The whole path of a file; empty for none."""
    return str(absolute(root / Path(text).expanduser())) if text else ""


def program(text: str, root: Path) -> str:
    """A link is left one: an environment's Python is a link, and where it leads is not that environment."""
    return os.path.abspath(root / Path(text).expanduser()) if os.sep in text else text  # noqa: PTH100


def database(text: str, root: Path) -> str:
    """A database's address; the relative path of a SQLite file becomes a whole one.

    `postgresql://` names no driver. SQLAlchemy takes psycopg 3 for it; what the extra `postgres` installs is psycopg2.
    """
    for plain in ("postgresql://", "postgres://"):
        if text.startswith(plain):
            return f"postgresql+psycopg2://{text.removeprefix(plain)}"
    start, slashes, path = text.partition(":///")
    if not start.startswith("sqlite") or not slashes or not path or path.startswith((":", "/", "file:")):
        return text
    path, mark, query = path.partition("?")
    return f"{start}:///{absolute(root / Path(path).expanduser())}{mark}{query}"


def absolute(folder: Path) -> Path:
    """The whole path, links resolved.

    Raises:
        ConfigError: `~name` names no user.
    """
    try:
        return folder.expanduser().resolve()
    except RuntimeError as error:  # `~name` of a user that there is not
        raise ConfigError(f"there is no folder {folder}: {error}", "write the path out") from None
