"""One loaded model version: an ONNX session whose files were checked, and whose golden answers it repeats."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from airloom import agreement, processing, tasks
from airloom.errors import ConfigError, CorruptFile, InstancesRefused, RegistryError
from airloom.golden import Golden
from airloom.inference.columns import ColumnSignature
from airloom.inference.instances import InputSignature, Instances, TooMany
from airloom.inputs.prepare import check
from airloom.processing import Processing, not_finite
from airloom.registry.python_models import INSTEAD, NOT_SERVED
from airloom.signature import Signature
from airloom.tracking.artifacts import GOLDEN, ONNX, PROCESSING, PYTHON, read_checked

Array = np.ndarray[Any, Any]
# How the protobuf of a node names its operator. What only looks like it is no worse than asked in vain.
_CONTROL = tuple(bytes([0x22, len(name)]) + name.encode() for name in ("Loop", "Scan", "If"))
CPU = ("CPUExecutionProvider",)
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
    is_open: bool = True  # dimensions that the graph leaves open are; earlier releases fixed them
    steady: bool = False  # the graph has no loop and no branch, so that alike inputs take alike time

    @classmethod
    def load(
        cls,
        name: str,
        version: str,
        folder: Path,
        digests: dict[str, str],
        checked: bool = False,
        *,
        providers: Sequence[Any] = CPU,
        project: Path | None = None,
    ) -> Self:
        """Load a model, each file checked in the very bytes that are parsed, and compare its golden answers.

        Args:
            name: of the registered model.
            version: its number.
            folder: with the model's files.
            digests: the recorded sha256 of each file, by path.
            checked: its golden answers were compared already, in a process whose time and memory are limited.
            providers: of ONNX Runtime, the first that can be loaded answers.
            project: whose repository has the code of a Python model; None: such a model is refused.

        Raises:
            CorruptFile: a file is damaged, or the session answers otherwise than at registration.
            RegistryError: it is a Python model, and no project is given.
        """
        has = PROCESSING in digests
        declared = processing.parse(read_checked(folder, PROCESSING, digests)) if has else Processing()
        session, steady = _session(f"{name} version {version}", folder, digests, providers, project)
        golden = Golden.parse(read_checked(folder, GOLDEN, digests), Signature.of(session))
        check(Signature.of(session), declared.inputs)
        try:
            tasks.of_name(declared.task)
        except ConfigError as error:
            raise CorruptFile(f"{name} version {version}: {error.message}", error.hint) from None
        inputs = next(iter(golden.inputs.values()))
        whole = inputs.dtype.kind in "iu"
        model = cls(name, version, session, inputs.shape[1:], declared, whole, golden.is_named, steady)
        if not checked:
            model._repeat(golden)
        model._loaded(golden)
        return model

    def _loaded(self, golden: Golden) -> None:
        """Called once with its golden answers, for those who want to know more of it."""

    def _repeat(self, golden: Golden) -> None:
        """Compare the golden answers."""
        label, answers = f"{self.name} version {self.version}", self.outputs(golden.inputs)
        output = next(iter(answers.values()))
        plain = len(answers) == 1 and not self.processing.task
        shaped = output.ndim == 2 or output.size == golden.rows or not plain
        if len(answers) == 1 and (output.dtype.kind not in "fiu" or not shaped):
            raise CorruptFile(
                f"{label} answers {golden.rows} rows with {output.dtype} of shape {output.shape}",
                "the server answers with one number, or with a score for each class",
            )
        if problem := agreement.of_golden(golden, answers, self.processing):
            raise CorruptFile(f"{label} differs from its golden answers: {problem.message}", problem.hint)

    @cached_property
    def task(self) -> tasks.Task | None:
        """What its answers are for, where that is on record; None: a class, or a number of one output."""
        return tasks.of_name(self.processing.task) if self.processing.task else None

    @cached_property
    def signature(self) -> InputSignature | ColumnSignature:
        """What it takes."""
        has_open = self.is_open and self.graph.inputs[0].is_open and not self.processing.has_fixed_size
        if self.processing.takes_columns(self.graph) or has_open:
            return ColumnSignature(self.name, self.graph, self.processing)
        return InputSignature(self.name, self.shape, self.processing, self.whole, self.graph.inputs[0])

    @cached_property
    def graph(self) -> Signature:
        """The graph's inputs and outputs."""
        return Signature.of(self.session)

    @cached_property
    def _outputs(self) -> list[str]:
        return [port.name for port in self.graph.outputs]

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
        parts = ((values, self.run(values, options)) for values in instances)
        return self.answered(instances, parts, extras)

    def answered(
        self,
        instances: Instances,
        parts: Iterable[tuple[dict[str, Array], dict[str, Array]]],
        extras: Extras | None = None,
    ) -> Answers:
        """The same, where the graph was run already.

        Args:
            instances: as `parse` gives them.
            parts: what went into the graph and what came out of it, (n, …) by name, in the order of the instances.
            extras: what is wanted besides.

        Raises:
            NotFinite, InstancesRefused: as above.
        """
        answers, extras, first = Answers(), extras or Extras(), instances.first
        for values, outputs in parts:
            rows = _rows(values)
            self._check(outputs, rows, first)
            if isinstance(self.signature, InputSignature):
                answers.outside += self.processing.outside(next(iter(values.values())))
            if self.task is not None:
                self._add_task(answers, outputs, values, extras, instances.rows)
            else:
                self._add(answers, outputs, extras, instances.rows)
            first += rows
        answers.outside += instances.outside
        return answers

    def _check(self, outputs: dict[str, Array], rows: int, first: int) -> None:
        """Whether each output has an answer to each of so many rows."""
        for output in outputs.values():
            if output.ndim == 0 or len(output) != rows:
                raise InstancesRefused(f"{self.name} answers {rows} instances with shape {output.shape}")
        if self.task is not None:
            bad = self.task.bad_rows(outputs)
        else:
            several = len(outputs) > 1  # which are answered as they are, and JSON has no infinity
            parts = [not_finite(output, every=several) for output in outputs.values()]
            bad = np.unique(np.concatenate(parts)) if several else parts[0]
        if len(bad):
            cells = np.concatenate([output[bad[0]].reshape(-1) for output in outputs.values()])
            row, value = first + int(bad[0]), str(cells[~np.isfinite(cells)][0])
            message = f"the answer of {self.name} version {self.version} to instance {row} is not finite but {value}"
            raise NotFinite(f"{message}: the model has no answer to such an input", row=row, value=value)

    def _add(self, answers: Answers, by_name: dict[str, Array], extras: Extras, rows: int) -> None:
        """Add the answers of a part."""
        if len(by_name) > 1:
            self._add_named(answers, by_name, extras, rows)
            return
        outputs = by_name[self.graph.outputs[0].name]
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

    def _add_named(self, answers: Answers, by_name: dict[str, Array], extras: Extras, rows: int) -> None:
        """Of several outputs an object for each instance, by output; what is filled up of an input is of an output."""
        if extras.scores or extras.top:
            names = ", ".join(by_name)
            raise InstancesRefused(f"{self.name} answers with several outputs ({names}): it has no probabilities")
        wanted = sum(output[0].size for output in by_name.values())
        if extras.most is not None and rows * wanted > extras.most:
            raise TooMany(f"an answer has at most {extras.most} numbers, these were {rows} times {wanted}")
        columns = [output.tolist() for output in by_name.values()]
        answers.predictions += [dict(zip(by_name, row, strict=True)) for row in zip(*columns, strict=True)]

    def classes(self, count: int) -> list[Any]:
        """The names of the classes in the order of `scores`."""
        return self._names(range(count))

    @property
    def known_classes(self) -> list[Any]:
        """The same as far as they are known before an answer; empty where it answers with numbers."""
        if self.task is not None and self.task.name not in ("classification", "multilabel"):
            return list(self.processing.labels or self.processing.classes)
        if len(self.graph.outputs) > 1:
            return []
        width = self.graph.outputs[0].row
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

    def run(self, inputs: dict[str, Array], options: Any = None) -> dict[str, Array]:
        """What the graph answers, (n, …) of each output.

        Args:
            inputs: (n, …) by name.
            options: `onnxruntime.RunOptions`.

        Raises:
            InstancesRefused: it refuses these values.
            Ended: `terminate` was set.
        """
        try:
            return self.outputs(inputs, options)
        except Exception as error:  # onnxruntime has no common base of its errors
            if options is not None and options.terminate:
                raise Ended(f"{self.name} was ended before it answered") from None
            raise InstancesRefused(f"{self.name} cannot answer these instances: {str(error)[:300]}") from None

    def outputs(self, inputs: dict[str, Array], options: Any = None) -> dict[str, Array]:
        """The same, or the graph's own error."""
        return dict(zip(self._outputs, self.session.run(self._outputs, inputs, options), strict=True))


def _session(
    label: str, folder: Path, digests: dict[str, str], providers: Sequence[Any], project: Path | None
) -> tuple[Any, bool]:
    """What answers, and whether it is a graph without loop and branch."""
    if PYTHON in digests:
        if project is None:
            raise RegistryError(f"{label} {NOT_SERVED}", INSTEAD)
        from airloom.training.export.session import CodedFiles, PythonSession

        return PythonSession(CodedFiles.of(folder, digests, project)), False
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    data = read_checked(folder, ONNX, digests)
    session = onnxruntime.InferenceSession(data, options, providers=list(providers))
    return session, not any(word in data for word in _CONTROL)


def _rows(arrays: dict[str, Array]) -> int:
    return len(next(iter(arrays.values())))
