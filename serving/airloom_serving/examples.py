"""An instance that a model answers, made of its golden inputs: what a person sends first."""

import logging
from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np
import orjson

from airloom.golden import Golden
from airloom.inference.columns import ColumnSignature
from airloom.inference.instances import InputSignature
from airloom.inference.model import LoadedModel
from airloom.inputs.declared import InputProcessing
from airloom.inputs.pixels import Pixels

Array = np.ndarray[Any, Any]
MOST_NUMBERS = 4096  # of an example: more is no help to a reader
TEXT = "an example"
_PLAIN = InputProcessing()
log = logging.getLogger(__name__)


def example_of(model: LoadedModel, golden: Golden) -> Any:
    """An instance as JSON has it; None where it would be large, or where none can be made of what is known.

    The golden inputs are what a graph was given: what processing made is made back (pixels), or made up (a text, a
    picture of one colour, the first category).

    Args:
        model: that is to take it.
        golden: its golden answers.
    """
    try:
        return _made(model, golden)
    except Exception as error:  # whatever it is, it is no reason not to serve the model
        log.info("%s version %s has no example: %s", model.name, model.version, error)
        return None


def _made(model: LoadedModel, golden: Golden) -> Any:
    signature = model.signature
    if sum(array[0].size for array in golden.inputs.values()) > MOST_NUMBERS and not model.processing.picture:
        return None
    example = _row(signature, golden) if isinstance(signature, ColumnSignature) else _single(signature, golden)
    next(iter(signature.judge([example])))  # which refuses it where something else should have been made up
    return example


def _single(signature: InputSignature, golden: Golden) -> Any:
    processing = signature.processing
    if processing.tokenise is not None:
        return TEXT
    if processing.picture is not None:
        return _file()
    return _values(golden.inputs[signature.port.name][0], processing.pixels)


def _row(signature: ColumnSignature, golden: Golden) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for port in signature.graph.inputs:
        part = signature.parts.get(port.name, _PLAIN)
        for place, name in enumerate(part.needs(port.name)):
            if name not in row:
                row[name] = _cell(part, name, place, golden.inputs[port.name][0])
    return row


def _cell(part: InputProcessing, name: str, place: int, values: Array) -> Any:
    if part.tokenizer:
        return TEXT
    if part.picture:
        return _file()
    if part.categories:
        return next(iter(part.categories[name]), None)
    if part.numbers:
        return part.numbers[name].mean
    return _values(values[place] if len(part.columns) > 1 else values, part.pixels)


def _values(values: Array, pixels: Pixels | None) -> Any:
    """Numbers with no more digits than their type has; bytes of pixels are whole."""
    made = np.rint(values * 255).astype(np.int64) if pixels is Pixels.BYTES else np.ascontiguousarray(values)
    return made.item() if made.ndim == 0 else orjson.loads(orjson.dumps(made, option=orjson.OPT_SERIALIZE_NUMPY))


def _file() -> str:
    """A grey picture in base64; a model takes any size."""
    from PIL import Image

    file = BytesIO()
    Image.new("L", (32, 32), 128).save(file, "PNG")
    return b64encode(file.getvalue()).decode()
