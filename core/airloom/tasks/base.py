"""What a model's answers are for: the base of all tasks."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from airloom.errors import ConfigError, GateError
from airloom.processing import Processing, not_finite
from airloom.tasks.rows import Answered, Answers, Array, ModelAnswers
from airloom.tasks.whole import Whole, sign

if TYPE_CHECKING:
    import pyarrow as pa

Outputs = dict[str, Array]  # of a graph by name, each (n, …)


@dataclass(frozen=True)
class Asked:
    """What a model was asked, for the messages and for tasks that need its inputs.

    Attributes:
        model: its name.
        processing: what goes before and after its graph.
        inputs: what its graph was given, (n, …) by name.
        first: the place of the first row.
    """

    model: str
    processing: Processing
    inputs: dict[str, Array] = field(default_factory=dict)
    first: int = 0


class Task:
    """A task of one's own: a subclass in a file of the project, `task: path.py:Class`, writes `merits`.

    What serves runs no code of a project. A subclass of one of our tasks is served as that one is; a subclass of this
    class as what its graph gives: lists of numbers.

    Attributes:
        name: of the task, as `processing.json` keeps it.
        unlabelled: whether it takes rows without labels.
    """

    name: ClassVar[str] = "custom"
    unlabelled: ClassVar[bool] = True

    # -- labels

    def check(self, label: "pa.Field | None") -> None:
        """Refuse a dataset whose labels are of the wrong kind.

        Args:
            label: the field of the label column; None where the dataset has none.

        Raises:
            ConfigError: says what it is, and what the task needs.
        """
        if label is None and not self.unlabelled:
            raise ConfigError(f"task {self.name} needs labels, and the dataset declares none", "commit with --label")

    def labels(self, stored: Any, rows: int) -> Any:
        """Labels as the evaluation keeps them, of what was gathered; None where the dataset has none.

        Raises:
            GateError: a label is of the wrong kind.
        """
        if stored is None and not self.unlabelled:
            raise GateError(f"task {self.name} needs labels, and the test split has none", "declare the label column")
        return np.zeros((rows, 0)) if stored is None else stored

    # -- one model's answers

    def merits(self, outputs: Outputs, labels: Any) -> dict[str, Array]:  # noqa: ARG002 - one's own writes it
        """For each row how good its answer is, (n,) by the metric's name; more is better.

        Args:
            outputs: of the graph by name, (n, …) each.
            labels: of these rows, as the dataset stores them.
        """
        raise ConfigError(
            f"{type(self).__name__} says of no answer how good it is", "write merits(self, outputs, labels)"
        )

    def judge(self, outputs: Outputs, labels: Any, asked: Asked) -> ModelAnswers:  # noqa: ARG002 - ours say its name
        """What is kept of a part of the rows: enough to compute every metric again.

        Raises:
            GateError: the answers do not go with the labels.
        """
        values = self.merits(outputs, labels)
        rows = len(first(outputs))
        kept = {name: per_row(f"{type(self).__name__}.merits: {name}", cell, rows) for name, cell in values.items()}
        if not kept:
            raise GateError(f"{type(self).__name__}.merits gives no metric", 'return {"name": a value for each row}')
        return ModelAnswers(np.zeros(rows), -next(iter(kept.values())), kept=kept, label=np.zeros(rows))

    def joined(self, parts: Sequence[ModelAnswers], labels: Any) -> ModelAnswers:  # noqa: ARG002 - for tasks that look
        """The parts as one."""
        if len(parts) == 1:
            return parts[0]
        names = parts[0].kept
        return replace(
            parts[0],
            predicted=np.concatenate([part.predicted for part in parts]),
            loss=np.concatenate([part.loss for part in parts]),
            kept={name: np.concatenate([part.kept[name] for part in parts]) for name in names},
            label=None if parts[0].label is None else np.concatenate([p.label for p in parts if p.label is not None]),
        )

    def paired(self, labels: Any, models: Sequence[ModelAnswers]) -> tuple[Array, list[Answers], tuple[str, ...]]:
        """Labels and answers of models in one order of classes, and the names of these."""
        label = labels if models[0].label is None else models[0].label
        return np.asarray(label), [Answers(m.predicted, m.loss, m.known, m.kept) for m in models], ()

    def incomparable(self, one: ModelAnswers, other: ModelAnswers) -> str:  # noqa: ARG002 - for the subclasses
        """Why the answers of a champion, the other, cannot be compared with a candidate's; empty where they can."""
        return ""

    def trained(self, labels: Any, answers: ModelAnswers) -> Any:  # noqa: ARG002 - for the subclasses
        """The labels as the model was trained on them, which a metric of one's own gets."""
        return labels

    def bad_rows(self, outputs: Outputs) -> Array:
        """The rows, (k,), with an answer that is none: NaN or infinite in any output."""
        floats = [values for values in outputs.values() if values.dtype.kind == "f"]
        bad = [~np.isfinite(values.reshape(len(values), -1)).all(axis=1) for values in floats]
        return np.flatnonzero(np.logical_or.reduce(bad)) if bad else np.zeros(0, np.int64)

    # -- metrics

    @property
    def means(self) -> tuple[str, ...]:
        """The metrics that are a mean of what each row has; of a task of one's own those that `merits` gives."""
        return ()

    def whole(self, metric: str) -> Whole | None:  # noqa: ARG002 - for the subclasses
        """A metric of all rows; None where it is none."""
        return None

    @property
    def wholes(self) -> tuple[str, ...]:
        """The metrics of all rows that are always shown."""
        return ()

    def merit(self, rows: Answered, metric: str) -> Array | None:
        """What a metric says of each row, turned so that more is better; None where it is no mean over rows."""
        return rows.answers.kept.get(metric)

    def metrics(self, rows: Answered) -> dict[str, float]:
        """The means over the rows; empty without rows."""
        names = self.means or tuple(name for name in rows.answers.kept if "." not in name)
        merits = {name: self.merit(rows, name) for name in names} if len(rows) else {}
        return {name: sign(name) * float(merit.mean()) for name, merit in merits.items() if merit is not None}

    # -- for people, and for who asks

    def answer(self, outputs: Outputs, processing: Processing, inputs: dict[str, Array]) -> list[Any]:  # noqa: ARG002
        """What is answered to each row, as JSON takes it: of one output its numbers, of several a dict by name."""
        if len(outputs) == 1:
            return list(first(outputs).tolist())
        columns = {name: values.tolist() for name, values in outputs.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def scores(self, outputs: Outputs, processing: Processing, inputs: dict[str, Array]) -> Array | None:  # noqa: ARG002
        """A probability of each class, (n, C); None where the answers have none."""
        return None

    def draw(self, rows: Answered) -> dict[str, Any]:  # noqa: ARG002
        """Pictures by file name: functions that paint on matplotlib's axes."""
        return {}


def first(outputs: Outputs) -> Array:
    """The output of a task that takes one."""
    return next(iter(outputs.values()))


def per_row(what: str, values: Any, rows: int) -> Array:
    """A value for each row, float64 (n,).

    Raises:
        GateError: there is another number of values, or one of them is not finite.
    """
    try:
        cells = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, np.float64)
    except (TypeError, ValueError):
        raise GateError(f"{what} gives {type(values).__name__}", "give a number for each row") from None
    if cells.shape != (rows,):
        raise GateError(f"{what} gives {cells.shape} values for {rows} rows", "give one number for each row")
    if len(bad := np.flatnonzero(~np.isfinite(cells))):
        raise GateError(f"{what} is {cells[bad[0]]} of row {bad[0]}", "give a finite number for each row")
    return cells


def refuse_scores(outputs: Array) -> Array:
    """The rows, (k,), whose scores (n, …) are no answer; minus infinity among them is one."""
    return not_finite(outputs)


def sigmoid(logits: Array) -> Array:
    """Probabilities, float64, without overflow."""
    from scipy.special import expit

    return np.asarray(expit(logits.astype(np.float64)))


def log_softmax(logits: Array, axis: int) -> Array:
    """The logarithms of probabilities, float64."""
    from scipy.special import log_softmax as of

    return np.asarray(of(logits.astype(np.float64), axis=axis))
