"""What lies in an input folder: plain files only, in the order of their names."""

import os
import stat
import unicodedata
from pathlib import Path
from typing import IO

from airloom.datasets.ingest.limits import check_name
from airloom.errors import DataError


def entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files and folders in it, by name; hidden ones (.DS_Store) are left out.

    Raises:
        DataError: a symbolic link, or something that is neither file nor folder, or a name that is not printable.
    """
    files: list[Path] = []
    folders: list[Path] = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        _check_name(folder, entry.name)
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            message = f"{entry.path} is a symbolic link to {str(Path(entry.path).readlink())[:200]!a}"
            raise DataError(message, "put the file itself there: what a link points to may change")
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise DataError(f"{entry.path} is neither a file nor a folder", "remove it")
        (folders if stat.S_ISDIR(mode) else files).append(Path(entry.path))
    return files, folders


def _check_name(folder: Path, name: str) -> None:
    try:
        check_name(name, "file name")
    except DataError as error:
        raise DataError(f"{str(folder)!a}: {error.message}", error.hint) from None


def open_plain(path: Path) -> IO[bytes]:
    """Open a listed file, not a link that took its place since."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")


def class_of(folder: Path) -> str:
    """A folder's name as a class. Composed: some systems write é as two characters, and it is one class."""
    return unicodedata.normalize("NFC", folder.name)
