"""A stored model's answers to the test rows, and what they cost."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from airloom import agreement, processing
from airloom.classes import name_of
from airloom.errors import ConfigError, DataError, GateError
from airloom.evaluation.metrics import UNKNOWN_LOSS, log_losses
from airloom.evaluation.predictions import Labels, ModelAnswers
from airloom.golden import Golden
from airloom.inputs.prepare import check
from airloom.processing import Processing
from airloom.settings import Settings
from airloom.signature import Signature
from airloom.tracking import artifacts

Array = np.ndarray[Any, Any]
BATCH = 1024
DECODED = 1 << 24  # pixels of a part
CALLS = 50  # of one row, to measure the latency


@dataclass(frozen=True)
class Judged:
    """A model's answers, its scores where it classifies, and its cost."""

    answers: ModelAnswers
    scores: Array | None  # logits (n, outputs)
    cost: dict[str, float]  # latency_ms (median of one row), size_mb


def judge(
    settings: Settings,
    uri: str,
    digests: dict[str, str],
    raw: Any,
    labels: Labels,
    threads: int,
    past: Callable[[], list[str]] = list,
) -> Judged:
    """Run a model, whose files are checked first, over all rows.

    Args:
        settings: of this installation.
        uri: `models:/m-…`.
        digests: sha256 of the model's files, by path.
        raw: the rows' inputs, as the dataset's type gives them.
        labels: of the rows: names of classes, or float64 (n,).
        threads: for ONNX Runtime.
        past: names the classes of a model that does not keep them itself, as those of earlier releases do not; [] where
            they were called as their numbers.

    Raises:
        CorruptFile: a file differs from its recorded digest.
        GateError: the model does not take these rows, or its answers are none.
    """
    folder = settings.home / "cache" / "models" / artifacts.model_id(uri)
    root = artifacts.fetch_model(settings, uri, digests, folder)
    data = artifacts.read_checked(root, artifacts.ONNX, digests)
    has = artifacts.PROCESSING in digests
    declared = processing.parse(artifacts.read_checked(root, artifacts.PROCESSING, digests)) if has else Processing()
    golden = artifacts.read_checked(root, artifacts.GOLDEN, digests) if artifacts.GOLDEN in digests else b""
    if isinstance(labels, list) and not declared.classes:
        declared = declared.model_copy(update={"classes": past()})
    return answered(uri, data, golden, declared, raw, labels, threads)


def answered(
    name: str,
    data: bytes,
    golden: bytes,
    declared: Processing,
    raw: Any,
    labels: Labels,
    threads: int,
) -> Judged:
    """The same of a model in memory.

    Args:
        name: of the model, for messages.
        data: its ONNX file.
        golden: its `golden.json`; empty where there is none.
        declared: what goes before and after its graph.
        raw: the rows' inputs, as the dataset's type gives them.
        labels: of the rows: names of classes, or float64 (n,).
        threads: for ONNX Runtime.

    Raises:
        GateError: the model does not take these rows, or its answers are none.
    """
    try:
        session = _session(data, threads)
        signature = Signature.of(session)
        check(signature, declared.inputs)
        if golden:
            _repeats(name, session, Golden.parse(golden, signature), declared)
        by_name = _outputs(session, signature, declared, raw, len(labels))
    except GateError:
        raise
    except (DataError, ConfigError) as error:
        raise GateError(f"{name} does not answer rows like these: {error.message}", error.hint) from None
    except Exception as error:  # onnxruntime has no common base of its errors
        shape = _taken(data)
        raise GateError(f"{name} does not answer rows like these: {str(error)[:200]} (it takes {shape})") from None
    outputs = by_name[signature.outputs[0].name]
    if len(bad := processing.not_finite(outputs)):
        # The largest of scores with a NaN among them would be a class, and a wrong one.
        some = ", ".join(map(str, bad[:5]))
        raise GateError(f"{name} has no finite answer to {len(bad)} of {len(outputs)} rows, among them {some}")
    one = declared.arrays(_some(raw, slice(1)), signature)
    cost = {"latency_ms": _latency(session, one), "size_mb": len(data) / 1e6}
    if not isinstance(labels, list):
        predicted = _values(outputs, len(labels))
        return Judged(ModelAnswers(predicted, (predicted - labels) ** 2), None, cost)
    scores = declared.scores(outputs)
    return Judged(_classified(name, scores, labels, declared), scores, cost)


def _classified(name: str, scores: Array, labels: list[str], declared: Processing) -> ModelAnswers:
    """The class of each row. A label that the model does not know has the loss of a probability of 0."""
    if scores.ndim != 2 or scores.shape[1] < len(declared.classes):
        scores_of = scores.shape[1] if scores.ndim == 2 else scores.shape
        message = f"{name}: {len(declared.classes)} classes do not fit a model of {scores_of} classes"
        hint = "have it answer with a score for each of run.classes; whole numbers that are no classes, but are to be"
        raise GateError(message, f"{hint} predicted, are committed as fractions: `--column LABEL=float64`")
    outputs = declared.class_names(scores.shape[1])
    known = [name_of(label) for label in declared.classes] or [n for n in outputs if n in set(labels)]
    numbers = {name: number for number, name in enumerate(outputs)}
    right = np.array([numbers.get(label, -1) for label in labels], np.int64)
    losses, knows = np.full(len(labels), UNKNOWN_LOSS), right >= 0
    if knows.any() or not len(labels):
        losses[knows] = log_losses(scores[knows], right[knows])
    return ModelAnswers(scores.argmax(axis=1).astype(np.int64), losses, outputs, tuple(known))


def _session(data: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _repeats(name: str, session: Any, golden: Golden, declared: Processing) -> None:
    """Ask what the server will ask before it loads the model.

    Raises:
        GateError: it answers otherwise than where it was trained.
    """
    if problem := agreement.of_golden(golden, _run(session, golden.inputs), declared):
        raise GateError(f"{name} differs from its golden answers: {problem.message}", problem.hint)


def _outputs(session: Any, signature: Signature, declared: Processing, raw: Any, rows: int) -> dict[str, Array]:
    """What the graph answers, by output; a part at a time, as decoded pictures take far more room than files."""
    frames = [declared.picture, *(part.picture for part in declared.inputs.values())]
    size = max(1, min(BATCH, DECODED // max(1, sum(prod(frame.shape) for frame in frames if frame))))
    parts = [_run(session, declared.arrays(_some(raw, slice(at, at + size)), signature)) for at in range(0, rows, size)]
    return {name: _joined([part[name] for part in parts]) for name in parts[0]}


def _joined(parts: list[Array]) -> Array:
    """One array; where an open dimension is longer in some parts, the others are filled up with 0."""
    shape = np.max([part.shape[1:] for part in parts], axis=0).astype(int)
    if all(part.shape[1:] == tuple(shape) for part in parts):
        return np.concatenate(parts)
    joined = np.zeros((sum(map(len, parts)), *shape), parts[0].dtype)
    for at, part in zip(np.cumsum([0, *map(len, parts)]), parts, strict=False):
        joined[(slice(at, at + len(part)), *map(slice, part.shape[1:]))] = part
    return joined


def _some(raw: Any, rows: slice) -> Any:
    return {name: cells[rows] for name, cells in raw.items()} if isinstance(raw, dict) else raw[rows]


def _run(session: Any, inputs: dict[str, Array]) -> dict[str, Array]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def _values(outputs: Array, rows: int) -> Array:
    """Predicted numbers, float64 (n,)."""
    if outputs.size != rows:
        raise GateError(f"the model's answers, shape {outputs.shape}, are not one number for each of {rows} rows")
    return outputs.reshape(rows).astype(np.float64)


def _latency(session: Any, row: dict[str, Array]) -> float:
    """Median milliseconds of one row at a time."""
    taken = []
    for _ in range(CALLS):
        began = time.perf_counter()
        session.run(None, row)
        taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)


def _taken(data: bytes) -> str:
    try:
        return "; ".join(f"{wanted.type} {wanted.shape}" for wanted in _session(data, 1).get_inputs())
    except Exception as error:
        return f"nothing: {type(error).__name__}"
