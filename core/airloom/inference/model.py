"""One loaded model version: an ONNX session whose files were checked, and whose golden answers it repeats."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from airloom import agreement, processing, tasks
from airloom.errors import ConfigError, CorruptFile, InstancesRefused
from airloom.inference.instances import InputSignature, Instances, TooMany
from airloom.processing import Processing, not_finite
from airloom.tracking.artifacts import GOLDEN, ONNX, PROCESSING, read_checked

Array = np.ndarray[Any, Any]
_SHORT = ("classification", "multilabel")  # tasks whose answer is much smaller than what the graph gives
_MOST_VALUES = 16  # numbers of a graph's answers for each probability that an answer may hold


class NotFinite(InstancesRefused):
    """The model answered, and the answer to some instance is no number."""


class Ended(Exception):
    """Whoever asked had the graph ended before it answered."""


@dataclass(frozen=True)
class Extras:
    """What is wanted besides the predictions."""

    scores: bool = False  # the probability of each class
    top: int = 0  # the so many most probable classes
    most: int | None = None  # probabilities that an answer may hold; None: as many as there are


@dataclass
class Answers:
    """What a model says of some instances, one entry each."""

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

    @classmethod
    def load(cls, name: str, version: str, folder: Path, digests: dict[str, str], checked: bool = False) -> Self:
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
        has = PROCESSING in digests
        declared = processing.parse(read_checked(folder, PROCESSING, digests)) if has else Processing()
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        golden = json.loads(read_checked(folder, GOLDEN, digests))
        whole = "int" in golden.get("dtype", "")
        inputs = np.asarray(golden["inputs"], np.int64 if whole else np.float32)
        try:
            tasks.of_name(declared.task)
        except ConfigError as error:
            raise CorruptFile(f"{name} version {version}: {error.message}", error.hint) from None
        model = cls(name, version, session, inputs.shape[1:], declared, whole)
        if not checked:
            model._repeat(golden, inputs)
        return model

    def _repeat(self, golden: dict[str, Any], inputs: Array) -> None:
        """Compare the golden answers."""
        label, answers = f"{self.name} version {self.version}", self.scores(inputs)
        plain = not self.processing.task
        if answers.dtype.kind not in "fiu" or (plain and answers.ndim != 2 and answers.size != len(inputs)):
            raise CorruptFile(
                f"{label} answers {len(inputs)} rows with {answers.dtype} of shape {answers.shape}",
                "the server answers with one number, or with a score for each class",
            )
        if problem := agreement.of_golden(golden, answers, self.processing):
            raise CorruptFile(f"{label} differs from its golden answers: {problem.message}", problem.hint)

    @cached_property
    def task(self) -> tasks.Task | None:
        """What its answers are for, where that is on record; None: a class, or a number of one output."""
        return tasks.of_name(self.processing.task) if self.processing.task else None

    @cached_property
    def signature(self) -> InputSignature:
        """What it takes."""
        return InputSignature(self.name, self.shape, self.processing, self.whole)

    def parse(self, instances: Any) -> Instances:
        """Judge rows as JSON has them.

        Raises:
            InstancesRefused: another shape, other types, or numbers that the model does not take.
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
            InstancesRefused: the graph refuses these instances, or has no probabilities.
            Ended: `terminate` was set.
        """
        answers, extras, first = Answers(), extras or Extras(), instances.first
        for values in instances:
            outputs = self.run(values, options)
            if len(outputs) != len(values):
                raise InstancesRefused(f"{self.name} answers {len(values)} instances with shape {outputs.shape}")
            bad = self.task.bad_rows({"output": outputs}) if self.task else not_finite(outputs)
            if len(bad):
                worst = outputs.reshape(len(outputs), -1)[bad[0]]
                value = worst[~np.isfinite(worst)][0]
                raise NotFinite(
                    f"the answer of {self.name} version {self.version} to instance {first + int(bad[0])} is not "
                    f"finite but {value}: the model has no answer to such an input"
                )
            answers.outside += self.processing.outside(values)
            if self.task is not None:
                self._add_task(answers, {"output": outputs}, {"input": values}, extras, instances.rows)
            else:
                self._add(answers, outputs, extras, instances.rows)
            first += len(values)
        return answers

    def _add(self, answers: Answers, outputs: Array, extras: Extras, rows: int) -> None:
        """Add the answers of a part."""
        if outputs.size == len(outputs) and self.processing.threshold is None:
            if extras.scores or extras.top:
                raise InstancesRefused(f"{self.name} answers with numbers, not classes: it has no probabilities")
            answers.predictions += outputs.reshape(len(outputs)).tolist()
            return
        scores = self.processing.scores(outputs)
        answers.predictions += self._names(scores.argmax(axis=1).tolist())
        if extras.scores or extras.top:
            self._add_scores(answers, self.processing.probabilities(outputs), extras, rows)

    def _add_task(
        self, answers: Answers, outputs: dict[str, Array], inputs: dict[str, Array], extras: Extras, rows: int
    ) -> None:
        """Add the answers of a part, as the model's task has them."""
        task = self.task
        assert task is not None  # noqa: S101 - asked before
        values = sum(output.size for output in outputs.values()) // max(1, len(next(iter(outputs.values()))))
        if extras.most is not None and task.name not in _SHORT and rows * values > extras.most * _MOST_VALUES:
            raise TooMany(f"{rows} instances have {values} numbers of an answer each; ask for fewer at once")
        answers.predictions += task.answer(outputs, self.processing, inputs)
        if extras.scores or extras.top:
            probabilities = task.scores(outputs, self.processing, inputs)
            if probabilities is None:
                raise InstancesRefused(f"{self.name} is of the task {task.name}: its answers have no probabilities")
            self._add_scores(answers, probabilities, extras, rows)

    def _add_scores(self, answers: Answers, probabilities: Array, extras: Extras, rows: int) -> None:
        """Add probabilities, all of them or the best."""
        classes = probabilities.shape[1]
        wanted = (classes if extras.scores else 0) + min(extras.top, classes)
        if extras.most is not None and rows * wanted > extras.most:
            raise TooMany(f"an answer has at most {extras.most} probabilities, these were {rows} times {wanted}")
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

    @property
    def known_classes(self) -> list[Any]:
        """The same as far as they are known before an answer; empty where it answers with numbers."""
        width = self.session.get_outputs()[0].shape[1:]
        if self.task is not None and self.task.name not in ("classification", "multilabel"):
            return list(self.processing.labels or self.processing.classes)
        if self.task is not None and self.task.name == "multilabel" and len(width) == 1 and isinstance(width[0], int):
            return self.classes(width[0])
        if self.processing.threshold is not None:
            return self.classes(2)
        if len(width) == 1 and isinstance(width[0], int):
            return self.classes(width[0]) if width[0] > 1 else []
        return list(self.processing.labels or self.processing.classes)

    def extras(self, answers: Answers) -> dict[str, Any]:
        """What was wanted besides the predictions, by its name in the server's answer."""
        found: dict[str, Any] = {}
        if answers.scores:
            found |= {"classes": self.classes(len(answers.scores[0])), "scores": answers.scores}
        return found | ({"top": answers.top} if answers.top else {})

    def _names(self, numbers: Sequence[int]) -> list[Any]:
        return self.processing.names(numbers)

    def run(self, values: Array, options: Any = None) -> Array:
        """What the graph answers, (n, …).

        Raises:
            InstancesRefused: it refuses these values.
            Ended: `terminate` was set.
        """
        try:
            return self.scores(values, options)
        except Exception as error:  # onnxruntime has no common base of its errors
            if options is not None and options.terminate:
                raise Ended(f"{self.name} was ended before it answered") from None
            raise InstancesRefused(f"{self.name} cannot answer these instances: {str(error)[:300]}") from None

    def scores(self, values: Array, options: Any = None) -> Array:
        """The graph's own outputs, or its own error."""
        return self.session.run(None, {self.session.get_inputs()[0].name: values}, options)[0]  # type: ignore[no-any-return]
