"""Ids of predictions: UUIDv7 (RFC 9562) whose last 32 bits are a short hash of the model version that answered.

An id alone tells its model version, also when its row of the prediction log was not kept.

The 42 bits between time and hash are random where the server answers. In a batch prediction they are a number, which
tells the row, and the time is that of model and data: the same row always has the same id.
"""

import hashlib
import os
import struct
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

NUMBERS = 1 << 42  # that an id can tell
_LOW = 30  # bits of a number that stand behind the variant
_MASK = (1 << _LOW) - 1
_FEW = 8  # ids that are made one by one as quickly as at once
_VERSION, _VARIANT = 0x7 << 12, 0b10 << 62  # of RFC 9562, in the upper and in the lower 64 bits
_drawn: list[int] = []
os.register_at_fork(after_in_child=_drawn.clear)  # what its parent drew the parent gives too
_DIGITS = [place for place in range(36) if place not in (8, 13, 18, 23)]  # of the text; a dash stands at the others


def drawn() -> int:
    """64 random bits of the system, many asked for at once: each such call costs as much as all else of an id."""
    while True:  # of several threads each takes its own, and another one may take the last
        try:
            return _drawn.pop()
        except IndexError:
            _drawn.extend(struct.unpack("512Q", os.urandom(4096)))


def new(model: str, version: str) -> str:
    """A fresh id: 48 bits of milliseconds, 42 random bits, 32 bits of hash."""
    number = drawn() % NUMBERS
    upper = f"{time.time_ns() // 1_000_000 << 16 | _VERSION | number >> _LOW:016x}"
    lower = f"{_VARIANT | (number & _MASK) << 32 | short_hash(model, version):016x}"
    return f"{upper[:8]}-{upper[8:12]}-{upper[12:]}-{lower[:4]}-{lower[4:]}"


def several(model: str, version: str, count: int) -> list[str]:
    """As many fresh ids."""
    if count < _FEW:
        return [new(model, version) for _ in range(count)]
    drawn = os.urandom(6 * count)
    numbers = [int.from_bytes(drawn[at : at + 6]) % NUMBERS for at in range(0, 6 * count, 6)]
    return numbered(model, version, time.time_ns() // 1_000_000, numbers)


def numbered(model: str, version: str, milliseconds: int, numbers: "Sequence[int] | np.ndarray[Any, Any]") -> list[str]:
    """Ids that tell a number each, made all at once; those of larger numbers come later.

    Args:
        model: that answers, by its name in the registry.
        version: of it.
        milliseconds: since 1970.
        numbers: from 0 to `NUMBERS`.
    """
    import numpy as np

    each = np.asarray(numbers, np.uint64)
    halves = np.empty((len(each), 2), ">u8")
    halves[:, 0] = each >> np.uint64(_LOW) | np.uint64(milliseconds << 16 | _VERSION)
    halves[:, 1] = (each & np.uint64(_MASK)) << np.uint64(32) | np.uint64(_VARIANT | short_hash(model, version))
    octets = halves.view(np.uint8)
    nibbles = np.stack([octets >> 4, octets & 15], axis=2).reshape(len(each), 32)
    text = np.full((len(each), 36), ord("-"), np.uint8)
    text[:, _DIGITS] = np.frombuffer(b"0123456789abcdef", np.uint8)[nibbles]
    return text.view("S36").astype("U36").ravel().tolist()


def number_in(prediction_id: str) -> int:
    """The 42 bits between time and hash.

    Raises:
        ValueError: it is no UUIDv7.
    """
    value = _parsed(prediction_id).int
    return (value >> 64 & 0xFFF) << _LOW | value >> 32 & _MASK


def matches(prediction_id: str, model: str, version: str) -> bool:
    """Whether that model version may have given this id (a foreign id matches by chance once in four thousand million).

    Raises:
        ValueError: it is no UUIDv7.
    """
    return hash_in(prediction_id) == short_hash(model, version)


def hash_in(prediction_id: str) -> int:
    """The short hash that an id carries.

    Raises:
        ValueError: it is no UUIDv7.
    """
    return _parsed(prediction_id).int & 0xFFFFFFFF


def milliseconds(prediction_id: str) -> int:
    """When an id was given, since 1970.

    Raises:
        ValueError: it is no UUIDv7.
    """
    return _parsed(prediction_id).int >> 80


def given_at(prediction_id: str) -> datetime:
    """The same as a time, UTC."""
    return datetime.fromtimestamp(milliseconds(prediction_id) / 1000, UTC)


def _parsed(prediction_id: str) -> uuid.UUID:
    value = uuid.UUID(prediction_id)
    if value.version != 7:
        raise ValueError(f"{prediction_id} is a UUID of version {value.version}")
    return value


@lru_cache(maxsize=1024)
def short_hash(model: str, version: str) -> int:
    """The first 32 bits of sha256 over `model/version`."""
    return int.from_bytes(hashlib.sha256(f"{model}/{version}".encode()).digest()[:4])
