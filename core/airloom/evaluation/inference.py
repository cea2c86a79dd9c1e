"""A stored model's answers to the test rows, and what they cost."""

import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from airloom import agreement, picture_labels, processing
from airloom.errors import AirloomError, ConfigError, DataError, GateError
from airloom.evaluation import own as own_metrics
from airloom.evaluation.own import OwnMetric
from airloom.evaluation.predictions import Labels, ModelAnswers
from airloom.golden import Golden
from airloom.inputs.prepare import check
from airloom.processing import Processing
from airloom.project.place import own_line
from airloom.settings import Settings
from airloom.signature import Signature
from airloom.tasks import Asked, Classification, Outputs, Regression, Task
from airloom.tasks.classification import CHANCES, SCORE
from airloom.tasks.whole import ranked
from airloom.tracking import artifacts

if TYPE_CHECKING:
    from airloom.training.export.session import CodedFiles

Program: TypeAlias = "bytes | CodedFiles"
Array = np.ndarray[Any, Any]
BATCH = 1024
DECODED = 1 << 24  # pixels of a part
MOST_ANSWERS = 1 << 25  # numbers that a graph answers to a part, after the first
CALLS = 50  # of one row, to measure the latency


@dataclass(frozen=True)
class Looks:
    """How answers are looked at.

    Attributes:
        task: what they are for; None: labels that are a list are classes, others numbers.
        own: metrics of one's own.
        columns: the dataset's flat columns, for those.
    """

    task: Task | None = None
    own: Mapping[str, OwnMetric] = field(default_factory=dict)
    columns: Mapping[str, Array] = field(default_factory=dict)

    def of(self, labels: Labels) -> Task:
        """The task for some labels."""
        return self.task or (Classification() if isinstance(labels, list) else Regression())


@dataclass(frozen=True)
class Judged:
    """A model's answers, its scores where it classifies, and its cost."""

    answers: ModelAnswers
    scores: Array | None  # logits (n, outputs)
    cost: dict[str, float]  # latency_ms (median of one row), size_mb

    def keeping(self, metrics: Collection[str]) -> "Judged":
        """Of a classifier's probabilities only that of each answer, where no metric of these is one of ranks."""
        kept = dict(self.answers.kept)
        if self.scores is None or CHANCES not in kept or any(ranked(name) for name in metrics):
            return self
        chances = kept.pop(CHANCES)
        kept[SCORE] = chances[np.arange(len(chances)), self.answers.predicted]
        return replace(self, answers=replace(self.answers, kept=kept))


def judge(
    settings: Settings,
    uri: str,
    digests: dict[str, str],
    raw: Any,
    labels: Labels,
    threads: int,
    past: Callable[[], list[str]] = list,
    looks: Looks | None = None,
) -> Judged:
    """Run a model, whose files are checked first, over all rows.

    Args:
        settings: of this installation.
        uri: `models:/m-…`.
        digests: sha256 of the model's files, by path.
        raw: the rows' inputs, as the dataset's type gives them.
        labels: of the rows, as the task has them: names of classes, or float64 (n,).
        threads: for ONNX Runtime.
        past: names the classes of a model that does not keep them itself, as those of earlier releases do not; [] where
            they were called as their numbers.
        looks: task and metrics of one's own.

    Raises:
        CorruptFile: a file differs from its recorded digest.
        GateError: the model does not take these rows, or its answers are none.
    """
    folder = settings.home / "cache" / "models" / artifacts.model_id(uri)
    root = artifacts.fetch_model(settings, uri, digests, folder)
    data = _program(settings, root, digests)
    has = artifacts.PROCESSING in digests
    declared = processing.parse(artifacts.read_checked(root, artifacts.PROCESSING, digests)) if has else Processing()
    golden = artifacts.read_checked(root, artifacts.GOLDEN, digests) if artifacts.GOLDEN in digests else b""
    looks = looks or Looks()
    if looks.of(labels).name == "classification" and not declared.classes:
        declared = declared.model_copy(update={"classes": past()})
    return answered(uri, data, golden, declared, raw, labels, threads, looks)


def answered(
    name: str,
    data: Program,
    golden: bytes,
    declared: Processing,
    raw: Any,
    labels: Labels,
    threads: int,
    looks: Looks | None = None,
) -> Judged:
    """The same of a model in memory.

    Args:
        name: of the model, for messages.
        data: its ONNX file, or which code answers.
        golden: its `golden.json`; empty where there is none.
        declared: what goes before and after its graph.
        raw: the rows' inputs, as the dataset's type gives them.
        labels: of the rows, as the task has them: names of classes, or float64 (n,).
        threads: for ONNX Runtime.
        looks: task and metrics of one's own.

    Raises:
        GateError: the model does not take these rows, or its answers are none.
    """
    looks = looks or Looks()
    task = looks.of(labels)
    kept = _Kept(name, task, declared, labels, len(labels), raw)
    try:
        session = _session(data, threads)
        signature = Signature.of(session)
        check(signature, declared.inputs)
        if golden:
            _repeats(name, session, Golden.parse(golden, signature), declared)
        for rows, inputs, outputs in _parts(session, signature, declared, raw, len(labels)):
            kept.add(rows, inputs, outputs, keep=bool(looks.own))
    except GateError:
        raise
    except (DataError, ConfigError) as error:
        raise GateError(f"{name} does not answer rows like these: {error.message}", error.hint) from None
    except Exception as error:  # onnxruntime has no common base of its errors
        shape = _taken(data)
        raise GateError(f"{name} does not answer rows like these: {str(error)[:200]} (it takes {shape})") from None
    answers = kept.answers()
    if looks.own:
        right = task.trained(kept.labels(slice(len(labels))), answers)
        more = own_metrics.kept(looks.own, kept.outputs(), right, looks.columns)
        answers = replace(answers, kept=answers.kept | more)
    one = declared.arrays(_some(raw, slice(1)), signature)
    cost = {
        "latency_ms": _latency(session, one),
        "size_mb": (len(data) if isinstance(data, bytes) else data.size) / 1e6,
    }
    return Judged(answers, kept.scores(), cost)


class _Kept:
    """What is kept of a model's answers, a part of the rows at a time: masks and texts of all would not fit."""

    def __init__(
        self, name: str, task: Task, declared: Processing, labels: Labels, count: int, raw: Any = None
    ) -> None:
        self._name, self._task, self._declared, self._labels, self._count = name, task, declared, labels, count
        self._raw = raw
        self._bad, self._parts, self._outputs = list[int](), list[ModelAnswers](), list[Outputs]()
        self._scores = list[Array]()

    def add(self, rows: slice, inputs: Outputs, outputs: Outputs, keep: bool) -> None:
        """The next part."""
        self._bad += (rows.start + self._task.bad_rows(outputs)).tolist()
        if self._bad:  # the largest of scores with a NaN among them would be a class, and a wrong one
            return
        self._parts.append(self._judged(rows, inputs, outputs))
        if keep:
            self._outputs.append(outputs)
        if self._task.name == "classification":
            self._scores.append(self._declared.scores(next(iter(outputs.values()))))

    def _judged(self, rows: slice, inputs: Outputs, outputs: Outputs) -> ModelAnswers:
        asked = Asked(self._name, self._declared, inputs, rows.start)
        try:
            return self._task.judge(outputs, self.labels(rows), asked)
        except AirloomError as error:
            raise GateError(error.message, error.hint) from None
        except Exception as error:  # of a task of one's own
            message = f"{type(self._task).__name__} raised {type(error).__name__}: {str(error)[:200]}"
            raise GateError(f"{message} ({own_line(error)})", "a task gets outputs and labels of some rows") from error

    def labels(self, rows: slice) -> Any:
        """Of some rows; such as lie on pictures, as the model's frame has them."""
        frame = self._declared.picture
        if frame is None or not frame.label:
            return self._labels[rows]
        return picture_labels.framed(frame, self._raw[rows], self._labels[rows], rows.start or 0)

    def answers(self) -> ModelAnswers:
        """Of all rows.

        Raises:
            GateError: some of them have no answer.
        """
        if self._bad:
            some = ", ".join(map(str, self._bad[:5]))
            raise GateError(
                f"{self._name} has no finite answer to {len(self._bad)} of {self._count} rows, among them {some}"
            )
        return self._task.joined(self._parts, self._labels)

    def outputs(self) -> Outputs:
        """All that the graph gave.

        Raises:
            GateError: parts of it have different shapes, as those of texts of different lengths.
        """
        try:
            return {name: np.concatenate([part[name] for part in self._outputs]) for name in self._outputs[0]}
        except ValueError as error:
            raise GateError(
                f"the answers of {self._name} have no common shape for evaluate.metrics: {error}",
                "write a task of your own, whose merits get a part of the rows at a time",
            ) from None

    def scores(self) -> Array | None:
        """Logits of a classifier, (n, outputs)."""
        return np.concatenate(self._scores) if self._scores else None


def _program(settings: Settings, root: Path, digests: dict[str, str]) -> Program:
    if artifacts.PYTHON not in digests:
        return artifacts.read_checked(root, artifacts.ONNX, digests)
    from airloom.training.export.session import CodedFiles

    return CodedFiles.of(root, digests, settings.project)


def _session(data: Program, threads: int) -> Any:
    if not isinstance(data, bytes):
        from airloom.training.export.session import PythonSession

        return PythonSession(data, threads)
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


def _parts(
    session: Any, signature: Signature, declared: Processing, raw: Any, rows: int
) -> Iterator[tuple[slice, Outputs, Outputs]]:
    """Inputs and outputs of the graph, a part of the rows at a time: decoded pictures take far more room than files."""
    frames = [declared.picture, *(part.picture for part in declared.inputs.values())]
    size = max(1, min(BATCH, DECODED // max(1, sum(prod(frame.shape) for frame in frames if frame))))
    at = 0
    while at < rows or at == 0:
        part = slice(at, min(at + size, rows))
        inputs = declared.arrays(_some(raw, part), signature)
        outputs = _run(session, inputs)
        for name, values in outputs.items():
            if values.ndim == 0 or len(values) != part.stop - part.start:
                raise GateError(f"output {name!a} has shape {values.shape} for {part.stop - part.start} rows")
        # Scores of each pixel or token take room by the thousand: the next part is as large as memory allows.
        values_of_row = max(1, sum(values.size for values in outputs.values()) // max(1, part.stop - part.start))
        yield part, inputs, outputs
        at, size = part.stop + (rows == 0), max(1, min(size, MOST_ANSWERS // values_of_row))


def one_answer(data: Program, declared: Processing, raw: Any, task: Task) -> Any:
    """What a model in memory would be served to say to the first row.

    Args:
        data: its ONNX file, or which code answers.
        declared: what goes before and after its graph.
        raw: rows, as the dataset's type gives them.
        task: what its answers are for.
    """
    session = _session(data, 1)
    _, inputs, outputs = next(_parts(session, Signature.of(session), declared, raw, 1))
    return task.answer(outputs, declared, inputs)[0]


def _some(raw: Any, rows: slice) -> Any:
    return {name: cells[rows] for name, cells in raw.items()} if isinstance(raw, dict) else raw[rows]


def _run(session: Any, inputs: Outputs) -> Outputs:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def _latency(session: Any, row: Outputs) -> float:
    """Median milliseconds of one row at a time."""
    taken = []
    for _ in range(CALLS):
        began = time.perf_counter()
        session.run(None, row)
        taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)


def _taken(data: Program) -> str:
    try:
        return "; ".join(f"{wanted.type} {wanted.shape}" for wanted in _session(data, 1).get_inputs())
    except Exception as error:
        return f"nothing: {type(error).__name__}"
