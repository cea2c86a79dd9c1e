"""The key of the hashes in the prediction log: without it nobody can try values until one has the hash."""

import hashlib
import os
from pathlib import Path

from airloom.errors import CorruptFile
from airloom.files import write_once

BYTES = 32
SIZE = 16  # bytes of a hash
FILE = "keys/prediction_log.key"  # below the state folder


def log_key(home: Path) -> bytes:
    """The key of a state folder, made at first need; all servers of the folder have the same.

    Raises:
        CorruptFile: it is damaged.
        OSError: it cannot be read or written.
    """
    path = home / FILE
    if not path.exists():
        write_once(path, os.urandom(BYTES).hex())
    try:
        key = bytes.fromhex(path.read_text())
    except ValueError:
        key = b""
    if len(key) != BYTES:
        hint = (
            "put a backup there; or remove it: a new one is made, and equal values before and after have other hashes"
        )
        raise CorruptFile(f"{path} is no key of the prediction log", hint)
    return key


def hashed(key: bytes, data: bytes) -> str:
    """The hash of what the log does not keep.

    Args:
        key: see `log_key`.
        data: JSON of a value, or of a row.
    """
    return hashlib.blake2b(data, key=key, digest_size=SIZE).hexdigest()
