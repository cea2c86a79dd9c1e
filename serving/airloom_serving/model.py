"""One loaded model version: an ONNX session whose files were checked, and whose golden answers it repeats."""

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from airloom import agreement, processing
from airloom.errors import CorruptFile
from airloom.processing import Processing, not_finite
from airloom.tracking.artifacts import GOLDEN, ONNX, PROCESSING, read_checked
from airloom_serving.instances import BadRequest, InputSignature, Instances, TooMany
from airloom_serving.limits import MOST_SCORES, RUN_SECONDS, RUNS_A_MODEL, WAITING_A_MODEL

Array = np.ndarray[Any, Any]
T = TypeVar("T")


class NotFinite(BadRequest):
    """The model answered, and the answer to some instance is no number."""


class TookTooLong(Exception):
    """The graph was ended at its deadline."""

    status = 504


class Busy(Exception):
    """So many requests wait for this model that one more would only wait in vain."""

    status = 503


class Threads:
    """The few threads of one model. No graph runs on the event loop, and a slow one takes no other's threads."""

    def __init__(self, name: str) -> None:
        self._name, self._asked = name, 0
        self._pool = ThreadPoolExecutor(RUNS_A_MODEL, thread_name_prefix=f"model-{name[:40]}")

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work when its turn comes.

        Raises:
            Busy: too many wait already.
        """
        if self._asked >= RUNS_A_MODEL + WAITING_A_MODEL:
            raise Busy(f"{self._asked} requests wait for {self._name}; ask again later")
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._asked -= 1


@dataclass(frozen=True)
class Extras:
    """What a request wants besides the predictions."""

    scores: bool = False  # the probability of each class
    top: int = 0  # the so many most probable classes


@dataclass
class Answers:
    """What a model says of the instances of a request, one entry each."""

    predictions: list[Any] = field(default_factory=list)  # a class, by name where there are names, or a number
    outside: int = 0  # instances with a value beyond what was observed in training
    scores: list[list[float]] = field(default_factory=list)  # where they were wanted
    top: list[list[dict[str, Any]]] = field(default_factory=list)  # likewise, the most probable first


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

    @cached_property
    def threads(self) -> "Threads":
        """Where it answers."""
        return Threads(self.name)

    @cached_property
    def signature(self) -> InputSignature:
        """What it takes."""
        return InputSignature(self.name, self.shape, self.processing, self.whole)

    def parse(self, instances: Any) -> Instances:
        """Judge what came as JSON.

        Raises:
            BadRequest: another shape, other types, or numbers that the model does not take.
        """
        return self.signature.judge(instances)

    def answers(self, instances: Instances, extras: Extras | None = None, options: Any = None) -> Answers:
        """A class for each instance, by name where the model has names; a number where it has one output only.

        Args:
            instances: as `parse` gives them.
            extras: what is wanted besides.
            options: `onnxruntime.RunOptions`; its `terminate` ends the work soon.

        Raises:
            NotFinite: the answer to an instance is NaN or infinite; names the first of them.
            BadRequest: the graph refuses these instances, or has no probabilities.
            TookTooLong: `terminate` was set.
        """
        answers, extras, first = Answers(), extras or Extras(), 0
        for values in instances:
            outputs = self.run(values, options)
            if len(outputs) != len(values):
                raise BadRequest(f"{self.name} answers {len(values)} instances with shape {outputs.shape}")
            if len(bad := not_finite(outputs)):
                worst = outputs.reshape(len(outputs), -1)[bad[0]]
                value = worst[~np.isfinite(worst)][0]
                raise NotFinite(
                    f"the answer of {self.name} version {self.version} to instance {first + int(bad[0])} is not "
                    f"finite but {value}: the model has no answer to such an input"
                )
            answers.outside += self.processing.outside(values)
            self._add(answers, outputs, extras, instances.rows)
            first += len(values)
        return answers

    def _add(self, answers: Answers, outputs: Array, extras: Extras, rows: int) -> None:
        """Add the answers of a part."""
        if outputs.size == len(outputs) and self.processing.threshold is None:
            if extras.scores or extras.top:
                raise BadRequest(f"{self.name} answers with numbers, not classes: it has no probabilities")
            answers.predictions += outputs.reshape(len(outputs)).tolist()
            return
        scores = self.processing.scores(outputs)
        answers.predictions += self._names(scores.argmax(axis=1).tolist())
        if not extras.scores and not extras.top:
            return
        probabilities = self.processing.probabilities(outputs)
        classes = probabilities.shape[1]
        wanted = (classes if extras.scores else 0) + min(extras.top, classes)
        if rows * wanted > MOST_SCORES:
            raise TooMany(f"an answer has at most {MOST_SCORES} probabilities, these were {rows} times {wanted}")
        if extras.scores:
            answers.scores += probabilities.tolist()
        if extras.top:
            order = np.argsort(-probabilities, axis=1, kind="stable")[:, : extras.top]
            for row, places in zip(probabilities, order.tolist(), strict=True):
                names = self._names(places)
                answers.top.append(
                    [{"class": name, "score": float(row[at])} for name, at in zip(names, places, strict=True)]
                )

    def classes(self, count: int) -> list[Any]:
        """The names of the classes in the order of `scores`."""
        return self._names(range(count))

    def _names(self, numbers: Sequence[int]) -> list[Any]:
        return self.processing.names(numbers)

    def run(self, values: Array, options: Any = None) -> Array:
        """What the graph answers, (n, …).

        Raises:
            BadRequest: it refuses these values.
            TookTooLong: `terminate` was set.
        """
        try:
            return self.scores(values, options)
        except Exception as error:  # onnxruntime has no common base of its errors
            if options is not None and options.terminate:
                raise TookTooLong(f"{self.name} did not answer within {RUN_SECONDS:g} s") from None
            raise BadRequest(f"{self.name} cannot answer these instances: {str(error)[:300]}") from None

    def scores(self, values: Array, options: Any = None) -> Array:
        """The graph's own outputs, or its own error."""
        return self.session.run(None, {self.session.get_inputs()[0].name: values}, options)[0]  # type: ignore[no-any-return]


def load(name: str, version: str, folder: Path, digests: dict[str, str], checked: bool = False) -> LoadedModel:
    """Load a model, each file checked in the very bytes that are parsed, and compare its golden answers.

    Args:
        name: of the registered model.
        version: its number.
        folder: with the model's files.
        digests: the recorded sha256 of each file, by path.
        checked: its golden answers were compared already, in a process whose time and memory are limited.

    Raises:
        CorruptFile: a file is damaged, or the session answers otherwise than at registration.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    data = read_checked(folder, ONNX, digests)
    declared = processing.parse(read_checked(folder, PROCESSING, digests)) if PROCESSING in digests else Processing()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    golden = json.loads(read_checked(folder, GOLDEN, digests))
    whole = "int" in golden.get("dtype", "")
    inputs = np.asarray(golden["inputs"], np.int64 if whole else np.float32)
    model = LoadedModel(name, version, session, inputs.shape[1:], declared, whole)
    if checked:
        return model
    answers = model.scores(inputs)
    if answers.dtype.kind not in "fiu" or (answers.ndim != 2 and answers.size != len(inputs)):
        raise CorruptFile(
            f"{name} version {version} answers {len(inputs)} rows with {answers.dtype} of shape {answers.shape}",
            "the server answers with one number, or with a score for each class",
        )
    if problem := agreement.of_golden(golden, answers, declared):
        raise CorruptFile(f"{name} version {version} differs from its golden answers: {problem.message}", problem.hint)
    return model
