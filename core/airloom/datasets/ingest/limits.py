"""How much of a stranger's file is taken into memory at once. An input over a limit is refused by name."""

from collections.abc import Sequence

from airloom.errors import DataError

BATCH_BYTES = 8 << 20  # what a batch aims at: a shard takes up several
BATCH_ROWS = 1 << 16
ROW_BYTES = 256 << 20  # one row of an array, one text file
LINE_BYTES = 8 << 20  # one line of JSON
CSV_BYTES = 2 << 20  # one row of CSV: Arrow reads 32 such blocks ahead, whatever it is asked
DEPTH = 500  # of nesting in JSON: Arrow's parser overflows the stack near 20,000
BOMB_BYTES, BOMB_RATIO = 1 << 30, 100  # a zip member that is larger and was packed harder is no data
NAME_CHARACTERS = 200  # of a column or a class


def batch_rows(row_bytes: float) -> int:
    """Rows of that size in a batch, at least one."""
    return max(1, min(BATCH_ROWS, int(BATCH_BYTES // max(1, row_bytes))))


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
