"""A picture, or the numbers of a tensor, as the whole body of a request: `curl --data-binary @cat.jpg`."""

from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from airloom.inference.columns import ColumnSignature
from airloom.inference.instances import Instances
from airloom.inference.model import Extras
from airloom_serving.asgi import Refused, Scope
from airloom_serving.bodies import extras_of
from airloom_serving.served import ServedModel

PICTURES = frozenset({"image/png", "image/jpeg", "image/webp"})
TENSOR = "application/octet-stream"
RAW = PICTURES | {TENSOR}


def media_of(scope: Scope) -> str:
    """The content type of a request, where it is one of `RAW`; else ""."""
    for name, value in scope["headers"]:
        if name == b"content-type":
            word = value.partition(b";")[0].strip().lower().decode("latin-1")
            return word if word in RAW else ""
    return ""


def instances_of(model: ServedModel, media: str, body: bytes) -> Instances:
    """The one picture of a body, or the rows of a tensor.

    Args:
        model: that is asked.
        media: the content type, one of `RAW`.
        body: a file; or numbers of the type that the model takes, little-endian, row after row.

    Raises:
        Refused: the model takes something else.
        InstancesRefused: it takes no such values.
    """
    return _picture(model, media, body) if media in PICTURES else _tensor(model, body)


def _picture(model: ServedModel, media: str, body: bytes) -> Instances:
    signature = model.signature
    if isinstance(signature, ColumnSignature):
        takes = len(signature.columns) == 1 and bool(signature.pictures)
    else:
        takes = signature.processing.picture is not None
    if not takes:
        raise Refused(415, f"{model.name} takes {signature.wanted}, not the file of a picture", value=media)
    if isinstance(signature, ColumnSignature):
        return model.limited(signature.judge_columns({signature.columns[0]: [body]}))
    return model.limited(signature.judge([body]))


def _tensor(model: ServedModel, body: bytes) -> Instances:
    signature = model.signature
    if isinstance(signature, ColumnSignature) or signature.processing.tokenise or signature.processing.picture:
        raise Refused(415, f"{model.name} takes {signature.wanted}, not the bytes of a tensor", value=TENSOR)
    dtype = np.dtype(signature.port.dtype)
    size = signature.values * dtype.itemsize
    if not body or len(body) % size:
        text = f"a row of {model.name} has {size} bytes ({signature.values} of {dtype}, little-endian)"
        raise Refused(400, f"{text}; these are {len(body)} bytes, which is not one row or several")
    values = np.frombuffer(body, dtype.newbyteorder("<")).astype(dtype, copy=False)
    return model.limited(signature.judge_array(values.reshape(-1, *signature.shape)))


def wanted(scope: Scope) -> Extras:
    """What the query of the address asks for: `?top=3&scores=true`.

    Raises:
        Refused: it asks for something else.
    """
    pairs = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name == "scores" and value in ("true", "false"):
            found[name] = value == "true"
        elif name == "top" and value.isascii() and value.isdigit() and len(value) < 10:
            found[name] = int(value)
        else:
            raise Refused(400, f"the address may ask for scores=true and top=3, not {name[:40]!a}={value[:40]!a}")
    return extras_of(found.get("scores"), found.get("top"))
