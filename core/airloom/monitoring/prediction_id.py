"""Ids of predictions: UUIDv7 (RFC 9562) whose last 32 bits are a short hash of the model version that answered.

An id alone tells its model version, also when its row of the prediction log was not kept.

The 42 bits between time and hash are random where the server answers. In a batch prediction they are a number, which
tells the row, and the time is that of model and data: the same row always has the same id.
"""

import hashlib
import os
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime

NUMBERS = 1 << 42  # that an id can tell
_LOW = 30  # bits of a number that stand behind the variant
_MASK = (1 << _LOW) - 1


def new(model: str, version: str) -> str:
    """A fresh id: 48 bits of milliseconds, 42 random bits, 32 bits of hash."""
    return several(model, version, 1)[0]


def several(model: str, version: str, count: int) -> list[str]:
    """As many fresh ids."""
    drawn = os.urandom(6 * count)
    numbers = [int.from_bytes(drawn[at : at + 6]) % NUMBERS for at in range(0, 6 * count, 6)]
    return numbered(model, version, time.time_ns() // 1_000_000, numbers)


def numbered(model: str, version: str, milliseconds: int, numbers: Iterable[int]) -> list[str]:
    """Ids that tell a number each; those of larger numbers come later.

    Args:
        model: that answers, by its name in the registry.
        version: of it.
        milliseconds: since 1970.
        numbers: from 0 to `NUMBERS`.
    """
    same = milliseconds << 80 | 0x7 << 76 | 0b10 << 62 | short_hash(model, version)
    texts = (f"{same | (n >> _LOW) << 64 | (n & _MASK) << 32:032x}" for n in numbers)
    return [f"{t[:8]}-{t[8:12]}-{t[12:16]}-{t[16:20]}-{t[20:]}" for t in texts]


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


def short_hash(model: str, version: str) -> int:
    """The first 32 bits of sha256 over `model/version`."""
    return int.from_bytes(hashlib.sha256(f"{model}/{version}".encode()).digest()[:4])
