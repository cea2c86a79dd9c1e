"""Ids of predictions: UUIDv7 (RFC 9562) whose last 32 bits are a short hash of the model version that answered.

An id alone tells its model version, also when its row of the prediction log was not kept.
"""

import hashlib
import os
import time
import uuid
from datetime import UTC, datetime


def new(model: str, version: str) -> str:
    """A fresh id: 48 bits of milliseconds, 42 random bits, 32 bits of hash."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(6))
    value = milliseconds << 80 | 0x7 << 76 | (random & 0xFFF) << 64
    value |= 0b10 << 62 | (random >> 12 & 0x3FFFFFFF) << 32 | short_hash(model, version)
    return str(uuid.UUID(int=value))


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
