"""Names that come from files: of columns, of classes. They are shown, logged and compared, so they must be plain."""

from collections.abc import Sequence

from airloom.datasets.ingest.limits import NAME_CHARACTERS
from airloom.errors import DataError


def check_name(name: str, what: str) -> str:
    """The name, when it is printable text of a sane length.

    Raises:
        DataError: it is empty, too long, or has control characters, NUL or unpaired surrogates.
    """
    if not name.strip() or len(name) > NAME_CHARACTERS:
        message = f"a {what} has {len(name)} characters: {name[:60]!a}"
        raise DataError(message, f"names have 1 to {NAME_CHARACTERS} characters")
    if not name.isprintable():
        raise DataError(f"the {what} {name[:60]!a} is not printable", "rename it")
    return name


def check_columns(names: Sequence[str]) -> None:
    """Every column has a plain name of its own.

    Raises:
        DataError: naming the column.
    """
    for name in names:
        check_name(name, "column name")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"there are two columns {twice!a}", "rename one")
