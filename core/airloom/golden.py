"""`golden.json` beside a model: a few inputs, and what was answered to them where it was trained.

    inputs       name -> dtype, values
    outputs      likewise
    rtol         by how much of their size answers may differ
    differences  output -> how far torch and ONNX were apart when it was exported, of the answers' size

Earlier releases wrote the bare values of one input and one output, and `dtype`, the input's.
"""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from airloom.errors import CorruptFile
from airloom.signature import Signature

Array = np.ndarray[Any, Any]
RTOL = 1e-4  # of the answers' size


@dataclass(frozen=True)
class Golden:
    """What the file holds.

    Attributes:
        inputs: by name.
        outputs: by name.
        rtol: None where an earlier release did not record it.
        is_named: whether the file says names; one of an earlier release has those of the graph.
        differences: by output.
    """

    inputs: dict[str, Array]
    outputs: dict[str, Array]
    rtol: float | None = RTOL
    is_named: bool = True
    differences: dict[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes | str, signature: Signature | None = None) -> "Golden":
        """The golden answers of a file.

        Args:
            data: of the file.
            signature: of the graph, whose names those of an earlier release have; None: `input` and `output`.

        Raises:
            CorruptFile: it is no such file, or of another graph.
        """
        try:
            values = json.loads(data)
            rtol = float(values["rtol"]) if "rtol" in values else None
            if not isinstance(values["inputs"], dict):
                whole = "int" in values.get("dtype", "")
                sides = (signature.inputs, signature.outputs) if signature else ()
                name, answer = [ports[0].name for ports in sides] or ("input", "output")
                inputs = {name: np.asarray(values["inputs"], np.int64 if whole else np.float32)}
                return cls(inputs, {answer: np.asarray(values["outputs"])}, rtol, is_named=False)
            inputs, outputs = ({n: _array(t) for n, t in values[side].items()} for side in ("inputs", "outputs"))
            golden = cls(inputs, outputs, rtol, differences=values.get("differences", {}))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            message = f"golden.json is no file of golden answers: {type(error).__name__}: {str(error)[:200]}"
            raise CorruptFile(message, "register the model again") from None
        for side, ports in (("inputs", signature.inputs), ("outputs", signature.outputs)) if signature else ():
            names, there = [port.name for port in ports], list(getattr(golden, side))
            if set(names) != set(there):
                message = f"golden.json has the {side} {', '.join(there)[:200]}, the graph {', '.join(names)[:200]}"
                raise CorruptFile(message, "register the model again")
        return golden

    @property
    def rows(self) -> int:
        """How many."""
        return len(next(iter(self.inputs.values())))

    def first(self) -> "Golden":
        """The first row alone, and what was answered to it beside the others."""
        inputs, outputs = ({n: a[:1] for n, a in side.items()} for side in (self.inputs, self.outputs))
        return replace(self, inputs=inputs, outputs=outputs)

    def dumps(self) -> str:
        """The file's text."""
        sides = {"inputs": self.inputs, "outputs": self.outputs}
        values = {side: {name: _values(array) for name, array in arrays.items()} for side, arrays in sides.items()}
        return json.dumps({**values, "rtol": self.rtol, "differences": self.differences})


def _array(tensor: dict[str, Any]) -> Array:
    return np.asarray(tensor["values"], np.dtype(tensor["dtype"])).reshape(tensor["shape"])


def _values(array: Array) -> dict[str, Any]:
    return {"dtype": str(array.dtype), "shape": list(array.shape), "values": array.tolist()}
