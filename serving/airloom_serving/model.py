"""One loaded model version: an ONNX session whose files were checked, and whose golden answers it repeats."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from airloom.errors import CorruptFile
from airloom.metadata.artifacts import GOLDEN, ONNX


class BadRequest(ValueError):
    """The request's instances do not fit the model; the message says what was expected."""


@dataclass
class LoadedModel:
    """What answers for one registered model. Replaced as a whole, never changed."""

    name: str
    version: str
    session: Any
    shape: tuple[int, ...]  # of one instance
    loaded_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def parse(self, instances: Any) -> np.ndarray[Any, Any]:
        """JSON lists as float32, shape (n, *shape).

        Raises:
            BadRequest: another shape, no numbers, or numbers that are not finite.
        """
        wanted = f"instances of shape (n, {', '.join(map(str, self.shape))})"
        try:
            values = np.asarray(instances)
        except (ValueError, TypeError, OverflowError):
            raise BadRequest(f"{self.name} takes {wanted}; these are ragged") from None
        if values.shape[1:] != self.shape or values.ndim != len(self.shape) + 1 or not len(values):
            raise BadRequest(f"{self.name} takes {wanted}; these have shape {values.shape}")
        if values.dtype.kind not in "iuf":  # text and null would become numbers on the way to float32
            raise BadRequest(f"{self.name} takes {wanted} of numbers; these hold something else")
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise BadRequest("instances hold NaN, infinity or a number too large for float32")
        return values

    def scores(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Logits, float32 (n, classes)."""
        return self.session.run(None, {self.session.get_inputs()[0].name: values})[0]  # type: ignore[no-any-return]


def load(name: str, version: str, folder: Path) -> LoadedModel:
    """Load a model from a folder whose digests were checked, and compare its golden answers.

    Raises:
        CorruptFile: the session answers otherwise than at registration.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    data = (folder / ONNX).read_bytes()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    golden = json.loads((folder / GOLDEN).read_text())
    inputs = np.asarray(golden["inputs"], np.float32)
    model = LoadedModel(name, version, session, inputs.shape[1:])
    difference = float(np.abs(model.scores(inputs) - np.asarray(golden["outputs"], np.float32)).max())
    if not difference <= 1e-4:  # false for NaN too
        raise CorruptFile(f"{name} version {version} differs from its golden answers by {difference:.1e}")
    return model
