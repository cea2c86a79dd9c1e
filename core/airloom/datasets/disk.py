"""One error for all that a disk does not take: full, too large, read-only."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from airloom.errors import DataError


@contextmanager
def writing(place: Path, consequence: str = "nothing is visible") -> Iterator[None]:
    """Name the place where writing fails.

    Raises:
        DataError: it did.
    """
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{place} cannot be written: {reason}", f"make room; {consequence}") from None
