"""The lock of the prediction log: readers share it, who replaces files has it alone. Writing new files needs none."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """No file is replaced meanwhile.

    Args:
        folder: of the log; where it is not there, there is nothing to lock.
    """
    with _locked(folder, fcntl.LOCK_SH):
        yield


@contextmanager
def replacing_files(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Nobody reads meanwhile, and nobody else replaces files; False where somebody does, and that is not waited for."""
    with _locked(folder, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB) as locked:
        yield locked


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[bool]:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # the folder itself: a reader need write nothing
    except (FileNotFoundError, NotADirectoryError):
        yield True
        return
    try:
        try:
            fcntl.flock(descriptor, how)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
