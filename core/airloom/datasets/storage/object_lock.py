"""Keeps a collection from taking an object that a commit is about to name.

A commit makes each object that it will name young, and a collection takes none that is young: both under one lock, held
for a moment only. So a commit never waits for a collection, nor a collection for a commit.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from airloom.files import writing
from airloom.settings import Settings

LOCK = "objects.lock"
GIT = "git.lock"  # of git's objects, which a push writes before a ref names them, and a forgetting prunes


@contextmanager
def held(settings: Settings, *, alone: bool, lock: str = LOCK) -> Iterator[None]:
    """Hold a lock: a collection alone, commits beside each other. It ends with the process, however that does."""
    folder = settings.home / "data"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
