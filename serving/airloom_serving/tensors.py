"""Requests and answers of the Open Inference Protocol (version 2, REST), in JSON and with binary tensors.

https://github.com/kserve/open-inference-protocol; the binary form is Triton's extension: JSON first, whose length a
header says, then the bytes of each tensor in turn, little-endian.
"""

import struct
import sys
from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np
import orjson

from airloom_serving.asgi import Answer, Refused

Array = np.ndarray[Any, Any]

KINDS = {
    "BOOL": "bool",
    **{f"{name.upper()}{bits}": f"{name}{bits}" for name in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"float{bits}" for bits in (16, 32, 64)},
}
NAMES = {kind: name for name, kind in KINDS.items()}
_OF_DTYPE = {np.dtype(kind): name for name, kind in KINDS.items()}  # whose text numpy makes slowly
LENGTH = b"inference-header-content-length"
BINARY = b"application/octet-stream"
_MOST_RANKS = 32
_LONGEST_HEAD, _MOST_PLANS = 1024, 256
_COUNT = struct.Struct("<I")


class Wanted(NamedTuple):
    """An output that is asked for."""

    name: str
    binary: bool


class Asked(NamedTuple):
    """A request.

    Attributes:
        id: the client's, which is given back.
        inputs: (n, …) by name; text and files are lists of `bytes`.
        outputs: that are asked for; None: all of them.
        binary: whether outputs that do not say so come as bytes.
    """

    id: str | None
    inputs: dict[str, Array | list[bytes]]
    outputs: list[Wanted] | None
    binary: bool


class _Plan(NamedTuple):
    """What a head says whose tensors are all bytes behind it."""

    tensors: list[tuple[str, np.dtype[Any], list[int], int]]  # name, type, shape, and how many bytes
    outputs: list[Wanted] | None
    binary: bool


_plans: dict[bytes, _Plan] = {}  # of heads that were read without an error: a client sends the same again and again


def read(body: bytes, length: bytes | None) -> Asked:
    """The request of a body.

    Args:
        body: JSON, and behind it the bytes of tensors.
        length: of the JSON, as the header has it; None: all of it.

    Raises:
        Refused: it is none; names what is wrong.
    """
    if length is not None and (not length.isdigit() or len(length) > 10 or int(length) > len(body)):
        raise Refused(400, f"{LENGTH.decode()} is {ascii(length[:40])[1:]}, and the body has {len(body)} bytes")
    if length is not None and (plan := _plans.get(body[: int(length)])) is not None:
        inputs, at = dict[str, Array | list[bytes]](), int(length)
        if len(body) == at + sum(size for *_, size in plan.tensors):
            for name, dtype, shape, size in plan.tensors:
                inputs[name] = np.frombuffer(body, dtype, size // dtype.itemsize, at).reshape(shape)
                at += size
            return Asked(None, inputs, plan.outputs, plan.binary)
    head = body if length is None else memoryview(body)[: int(length)]
    rest = memoryview(b"") if length is None else memoryview(body)[int(length) :]
    try:
        values = orjson.loads(head)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"the body is no JSON: {error}") from None
    tensors = _list(values, "inputs")
    inputs = {}
    for tensor in tensors:
        name = _text(tensor, "name", "an input")
        if name in inputs:
            raise Refused(400, f"the input {name[:80]!a} stands twice")
        try:
            inputs[name], rest = _tensor(tensor, name, rest)
        except Refused as error:
            error.known["input"] = name[:80]
            raise
    if len(rest):
        raise Refused(400, f"{len(rest)} bytes stand behind the tensors, and no input says that they are its own")
    binary = _parameters(values).get("binary_data_output", False) is True
    wanted = None
    if values.get("outputs") is not None:
        wanted = [
            Wanted(_text(one, "name", "an output"), _parameters(one).get("binary_data", binary) is True)
            for one in _list(values, "outputs")
        ]
    identity = values.get("id")
    asked = Asked(identity if isinstance(identity, str) else None, inputs, wanted, binary)
    if length is not None and len(head) <= _LONGEST_HEAD and asked.id is None:
        _remember(bytes(head), asked, tensors)
    return asked


def _remember(head: bytes, asked: Asked, tensors: list[dict[str, Any]]) -> None:
    """Keep what a head says, where all its tensors are numbers as bytes in the order of this machine."""
    found = []
    for (name, values), tensor in zip(asked.inputs.items(), tensors, strict=True):
        size = _parameters(tensor).get("binary_data_size")
        if not isinstance(values, np.ndarray) or values.dtype.kind == "b" or not size or sys.byteorder != "little":
            return
        found.append((name, values.dtype, list(values.shape), size))
    if len(_plans) >= _MOST_PLANS:
        _plans.clear()
    _plans[head] = _Plan(found, asked.outputs, asked.binary)


def _list(values: Any, key: str) -> list[dict[str, Any]]:
    found = values.get(key) if isinstance(values, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Refused(400, f'the body must be {{"{key}": [{{"name": …}}, …]}}')
    return found


def _text(values: dict[str, Any], key: str, what: str) -> str:
    found = values.get(key)
    if not isinstance(found, str):
        raise Refused(400, f'{what} has no "{key}"')
    return found


def _parameters(values: dict[str, Any]) -> dict[str, Any]:
    found = values.get("parameters")
    return found if isinstance(found, dict) else {}


def _tensor(tensor: dict[str, Any], name: str, rest: memoryview) -> tuple[Array | list[bytes], memoryview]:
    """The values of an input, and the bytes behind its own."""
    where = f"the input {name[:80]!a}"
    kind, shape = _text(tensor, "datatype", where), _shape(tensor.get("shape"), where)
    if kind != "BYTES" and kind not in KINDS:
        raise Refused(400, f"{where} has the datatype {ascii(kind)[:80]}; there are {', '.join(KINDS)}, BYTES")
    count, size = prod(shape), _parameters(tensor).get("binary_data_size")
    if size is None:
        return _from_json(tensor.get("data"), kind, shape, count, where), rest
    if type(size) is not int or not 0 <= size <= len(rest):
        raise Refused(400, f"{where} says {ascii(size)[:40]} bytes of its own, and {len(rest)} are left")
    own, rest = rest[:size], rest[size:]
    if kind == "BYTES":
        return _cells(own, shape, count, where), rest
    dtype = np.dtype(KINDS[kind]).newbyteorder("<")
    if size != count * dtype.itemsize:
        raise Refused(400, f"{where} of {kind} {shape} has {count * dtype.itemsize} bytes, these are {size}")
    if kind == "BOOL":
        return np.frombuffer(own, np.uint8).astype(bool).reshape(shape), rest
    return np.frombuffer(own, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False), rest


def _shape(shape: Any, where: str) -> list[int]:
    whole = isinstance(shape, list) and 0 < len(shape) <= _MOST_RANKS
    if not whole or any(type(size) is not int or size < 0 for size in shape):
        raise Refused(400, f"{where} has no shape of whole numbers, the rows first")
    return list(shape)


def _from_json(data: Any, kind: str, shape: list[int], count: int, where: str) -> Array | list[bytes]:
    """Numbers, flat or in nests."""
    if not isinstance(data, list):
        raise Refused(400, f'{where} has no "data"')
    flat = data
    for _ in range(len(shape) - 1):
        if not flat or not isinstance(flat[0], list):
            break
        if not all(isinstance(part, list) for part in flat):
            raise Refused(400, f"{where} is ragged")
        flat = [cell for part in flat for cell in part]
    if len(flat) != count:
        raise Refused(400, f"{where} of shape {shape} has {count} values, these are {len(flat)}")
    kinds = set(map(type, flat))
    if kind == "BYTES":
        if kinds - {str}:
            raise Refused(400, f"{where} is of BYTES, and one of its values is no text")
        return _column([cell.encode() for cell in flat], shape, where)
    fits = {bool} if kind == "BOOL" else {int, float} if kind.startswith("FP") else {int}
    if kinds - fits:
        raise Refused(400, f"{where} is of {kind}, and one of its values is {(kinds - fits).pop().__name__}")
    try:
        with np.errstate(over="ignore"):  # what becomes infinite is told with its place
            return np.asarray(flat, KINDS[kind]).reshape(shape)
    except (OverflowError, ValueError):
        raise Refused(400, f"{where} holds a number that is too large for {kind}") from None


def _cells(own: memoryview, shape: list[int], count: int, where: str) -> list[bytes]:
    """Each with its length before it."""
    cells: list[bytes] = []
    while len(own) >= _COUNT.size and len(cells) < count:
        (length,) = _COUNT.unpack_from(own)
        if length > len(own) - _COUNT.size:
            break
        cells.append(bytes(own[_COUNT.size : _COUNT.size + length]))
        own = own[_COUNT.size + length :]
    if len(own) or len(cells) != count:
        raise Refused(400, f"{where} has {count} values, each behind its length of four bytes; these bytes are not")
    return _column(cells, shape, where)


def _column(cells: list[bytes], shape: list[int], where: str) -> list[bytes]:
    if len(shape) > 2 or shape[1:] not in ([], [1]):
        raise Refused(400, f"{where} of BYTES has the shape {shape}; texts and files are (n,) or (n, 1)")
    return cells


def answer(
    asked: Asked, model: str, version: str, outputs: Mapping[str, Array], parameters: Mapping[str, Any]
) -> Answer:
    """What is sent back.

    Raises:
        Refused: an output that was asked for is none of the model's.
    """
    wanted = asked.outputs
    if wanted is None:
        wanted = [Wanted(name, asked.binary) for name in outputs]
    head: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for one in wanted:
        if one.name not in outputs:
            raise Refused(400, f"{model} has no output {one.name[:80]!a}; it has {', '.join(outputs)}")
        values = np.ascontiguousarray(outputs[one.name])
        told = {"name": one.name, "datatype": _OF_DTYPE[values.dtype], "shape": list(values.shape)}
        if one.binary:
            part = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
            parts.append(part)
            head.append({**told, "parameters": {"binary_data_size": len(part)}})
        else:
            head.append({**told, "data": values.reshape(-1).tolist()})
    found = {"model_name": model, "model_version": version, "outputs": head, "parameters": dict(parameters)}
    text = orjson.dumps({**found, "id": asked.id} if asked.id is not None else found)
    if not parts:
        return Answer(text)
    return Answer(b"".join([text, *parts]), media=BINARY, headers=((LENGTH, str(len(text)).encode()),))
