"""One loaded model version: an ONNX session whose files were checked, and whose golden answers it repeats."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from airloom import agreement, processing
from airloom.errors import CorruptFile
from airloom.processing import Processing
from airloom.tracking.artifacts import GOLDEN, ONNX, PROCESSING, read_checked


class BadRequest(ValueError):
    """The request's instances do not fit the model; the message says what was expected."""


@dataclass
class LoadedModel:
    """What answers for one registered model. Replaced as a whole, never changed."""

    name: str
    version: str
    session: Any
    shape: tuple[int, ...]  # of one instance
    processing: Processing = field(default_factory=Processing)
    whole: bool = False  # the graph takes whole numbers: tokens
    loaded_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def parse(self, instances: Any) -> np.ndarray[Any, Any]:
        """JSON lists as float32, shape (n, *shape); texts as token numbers, where the model declares it.

        Raises:
            BadRequest: another shape, no numbers, or numbers that are not finite.
        """
        if self.processing.tokenise is not None:
            return self._tokens(instances)
        wanted = f"instances of shape (n, {', '.join(map(str, self.shape))})"
        try:
            values = np.asarray(instances)
        except (ValueError, TypeError, OverflowError):
            raise BadRequest(f"{self.name} takes {wanted}; these are ragged") from None
        if values.shape[1:] != self.shape or values.ndim != len(self.shape) + 1 or not len(values):
            raise BadRequest(f"{self.name} takes {wanted}; these have shape {values.shape}")
        if values.dtype.kind not in "iuf":  # text and null would become numbers on the way to float32
            raise BadRequest(f"{self.name} takes {wanted} of numbers; these hold something else")
        if self.whole:
            if values.dtype.kind == "f":
                raise BadRequest(f"{self.name} takes {wanted} of whole numbers")
            return values.astype(np.int64)
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise BadRequest("instances hold NaN, infinity or a number too large for float32")
        return values

    def _tokens(self, instances: Any) -> np.ndarray[Any, Any]:
        if not isinstance(instances, list) or not instances or not all(isinstance(text, str) for text in instances):
            raise BadRequest(f"{self.name} takes a list of texts")
        return self.processing.inputs(instances)

    def answers(self, values: np.ndarray[Any, Any]) -> list[Any]:
        """A class for each row, by name where the model has names; a number where it has one output only."""
        outputs = self.scores(values)
        if outputs.size == len(values) and self.processing.threshold is None:
            return outputs.reshape(len(values)).tolist()
        return self.processing.names(self.processing.scores(outputs).argmax(axis=1).tolist())

    def scores(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """What the graph answers, float32 (n, …)."""
        return self.session.run(None, {self.session.get_inputs()[0].name: values})[0]  # type: ignore[no-any-return]


def load(name: str, version: str, folder: Path, digests: dict[str, str]) -> LoadedModel:
    """Load a model, each file checked in the very bytes that are parsed, and compare its golden answers.

    Args:
        name: of the registered model.
        version: its number.
        folder: with the model's files.
        digests: the recorded sha256 of each file, by path.

    Raises:
        CorruptFile: a file is damaged, or the session answers otherwise than at registration.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    data = read_checked(folder, ONNX, digests)
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    golden = json.loads(read_checked(folder, GOLDEN, digests))
    whole = "int" in golden.get("dtype", "")
    inputs = np.asarray(golden["inputs"], np.int64 if whole else np.float32)
    declared = processing.parse(read_checked(folder, PROCESSING, digests)) if PROCESSING in digests else Processing()
    model = LoadedModel(name, version, session, inputs.shape[1:], declared, whole)
    if problem := agreement.of_golden(golden, model.scores(inputs), declared):
        raise CorruptFile(f"{name} version {version} differs from its golden answers: {problem.message}", problem.hint)
    return model
