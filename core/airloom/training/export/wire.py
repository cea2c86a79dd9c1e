"""Messages between a session and the process of its model: a line of JSON, and arrays as safetensors has them."""

import json
from typing import IO, Any

import numpy as np

Array = np.ndarray[Any, Any]


def send(pipe: IO[bytes], told: dict[str, Any], arrays: dict[str, Array] | None = None) -> None:
    """Write a message.

    Args:
        pipe: to the other process.
        told: as JSON has it.
        arrays: by name.
    """
    from safetensors.numpy import save

    data = save({name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()})
    pipe.write(json.dumps(told | {"bytes": len(data)}).encode() + b"\n")
    pipe.write(data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[dict[str, Any], dict[str, Array]] | None:
    """The next message; None where the other process has ended."""
    from safetensors.numpy import load

    line = pipe.readline()
    if not line.endswith(b"\n"):
        return None
    told: dict[str, Any] = json.loads(line)
    size = told.pop("bytes")
    data = pipe.read(size)
    return (told, load(data)) if len(data) == size else None
