"""Several labels for each row, or none."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from airloom.classes import in_order, name_of
from airloom.errors import ConfigError, GateError
from airloom.processing import Processing
from airloom.tasks import whole
from airloom.tasks.base import Asked, Outputs, Task, first, refuse_scores, sigmoid
from airloom.tasks.metrics import UNKNOWN_LOSS
from airloom.tasks.rows import Answered, Answers, Array, ModelAnswers

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.axes import Axes

CHANCES = "chances"  # kept: the probability of each label, (n, labels)
THRESHOLD = 0.5  # where `Processing(threshold=…)` says nothing


class Multilabel(Task):
    """Labels of a row are a list of names, or 0 and 1 for each; the model answers with a logit for each, (n, labels).

    A label is answered where its probability (sigmoid) reaches the threshold.
    """

    name: ClassVar[str] = "multilabel"
    unlabelled: ClassVar[bool] = False

    def check(self, label: "pa.Field | None") -> None:
        """See `Task`."""
        import pyarrow as pa

        super().check(label)
        kind = None if label is None else label.type
        if label is None or kind is None:
            return
        flags = pa.types.is_fixed_size_list(kind) and (
            pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)
        )
        names = pa.types.is_large_list(kind) and kind.value_type == pa.large_string()
        if not flags and not names:
            message = f"task multilabel needs several labels of a row; {label.name!a} is {kind}"
            raise ConfigError(message, "give a list of names (list<text>), or 0 and 1 for each label")

    def labels(self, stored: Any, rows: int) -> Any:
        """Lists of names; or 0 and 1, bool (n, labels)."""
        super().labels(stored, rows)
        if isinstance(stored, np.ndarray) and stored.dtype.kind in "biuf" and stored.ndim > 1:
            flags = stored.reshape(rows, -1)
            if len(bad := np.argwhere((flags != 0) & (flags != 1))):
                row, place = bad[0]
                raise GateError(f"label {place} of test row {row} is {flags[row, place]}", "give 0 or 1 for each label")
            return flags.astype(bool)
        cells = stored if isinstance(stored, list) else list(stored)
        for row, cell in enumerate(cells):
            if not isinstance(cell, list | tuple | np.ndarray):
                raise GateError(f"the labels of test row {row} are {str(cell)[:60]!a}", "give a list; [] for none")
        return [[name_of(label) for label in cell] for cell in cells]

    def judge(self, outputs: Outputs, labels: Any, asked: Asked) -> ModelAnswers:
        """The probability of each label, and the mean log loss over them."""
        logits = first(outputs)
        if logits.ndim != 2:
            raise GateError(
                f"{asked.model} answers with shape {logits.shape}", "give a logit for each label, (n, labels)"
            )
        width, known = logits.shape[1], len(asked.processing.classes)
        given = labels.shape[1] if isinstance(labels, np.ndarray) else known or width
        if width != given or (known and known != width):
            message = f"{asked.model} answers with {width} labels; there are {known if width == given else given}"
            raise GateError(message, "say their names in their order: Processing(classes=[…])")
        names = asked.processing.class_names(width)
        chances = sigmoid(logits)
        truth = matrix(labels, names)
        clipped = np.clip(chances, np.exp(-UNKNOWN_LOSS), 1 - np.exp(-UNKNOWN_LOSS))
        losses = -np.where(truth, np.log(clipped), np.log1p(-clipped)).mean(axis=1)
        least = asked.processing.threshold or THRESHOLD
        return ModelAnswers((chances >= least).astype(np.float64), losses, names, tuple(names), {CHANCES: chances})

    def paired(self, labels: Any, models: Sequence[ModelAnswers]) -> tuple[Array, list[Answers], tuple[str, ...]]:
        """By name; a label that a model does not know is one that it never answers."""
        if isinstance(labels, np.ndarray):  # 0 and 1 stand in the order of the first model's names
            named, truth = list(models[0].outputs), labels
        else:
            named = in_order({name for cell in labels for name in cell})
            truth = matrix(labels, named)
        classes = list(dict.fromkeys([*named, *(name for model in models for name in model.outputs)]))
        places = {name: place for place, name in enumerate(classes)}

        def spread(values: Array, names: Sequence[str]) -> Array:
            wide = np.zeros((len(values), len(classes)))
            wide[:, [places[name] for name in names]] = values
            return wide

        answers = [
            Answers(
                spread(model.predicted, model.outputs),
                model.loss,
                model.known,
                model.kept | {CHANCES: spread(model.kept[CHANCES], model.outputs)},
            )
            for model in models
        ]
        return spread(truth, named), answers, tuple(classes)

    def trained(self, labels: Any, answers: ModelAnswers) -> Array:
        """Which labels each row has, bool (n, labels), in the order of the outputs."""
        return matrix(labels, answers.outputs)

    def bad_rows(self, outputs: Outputs) -> Array:
        """See `Task`; minus infinity is a probability of 0."""
        return refuse_scores(first(outputs))

    @property
    def means(self) -> tuple[str, ...]:
        """See `Task`."""
        return ("exact_match", "label_accuracy", "log_loss")

    @property
    def wholes(self) -> tuple[str, ...]:
        """See `Task`."""
        return ("macro_f1", "micro_f1", "auc", "average_precision")

    def merit(self, rows: Answered, metric: str) -> Array | None:
        """Whether all labels are right, the share of right ones, or minus the loss."""
        right = rows.answers.predicted == rows.label
        merits = {"exact_match": right.all(axis=1).astype(np.float64), "label_accuracy": right.mean(axis=1)}
        return (merits | {"log_loss": -rows.answers.loss}).get(metric)

    def whole(self, metric: str) -> whole.Whole | None:
        """See `Task`. AUC and average precision are means over the labels."""
        if metric in ("macro_f1", "micro_f1"):
            average = metric.removesuffix("_f1")
            of = whole.f1_of if average == "macro" else whole.micro_f1_of
            return whole.OfSums(_counts, of, lambda rows: _f1(rows, average))
        functions = whole.ranked(metric)
        return (
            whole.OfScores(lambda rows: (rows.label > 0, rows.answers.kept[CHANCES]), *functions) if functions else None
        )

    def answer(self, outputs: Outputs, processing: Processing, inputs: dict[str, Array]) -> list[Any]:  # noqa: ARG002
        """The names of the labels of each row, the most probable first."""
        chances, least = sigmoid(first(outputs)), processing.threshold or THRESHOLD
        order = np.argsort(-chances, axis=1, kind="stable")
        return [
            processing.names([place for place in places if row[place] >= least])
            for row, places in zip(chances, order.tolist(), strict=True)
        ]

    def scores(self, outputs: Outputs, processing: Processing, inputs: dict[str, Array]) -> Array | None:  # noqa: ARG002
        """The probability of each label."""
        return sigmoid(first(outputs))

    def draw(self, rows: Answered) -> dict[str, Any]:
        """How well each label is told."""
        return {"labels.png": lambda axes: _labels(axes, rows)}


def matrix(labels: Any, names: Sequence[str]) -> Array:
    """Which labels each row has, bool (n, labels); a name that is not among these is left out."""
    if isinstance(labels, np.ndarray):
        return labels
    from sklearn.preprocessing import MultiLabelBinarizer

    known = set(names)
    binary = MultiLabelBinarizer(classes=list(names))
    return np.asarray(binary.fit_transform([[n for n in cell if n in known] for cell in labels])).astype(bool)


def _counts(rows: Answered) -> Array:
    said, true = rows.answers.predicted > 0, rows.label > 0
    return np.hstack([said & true, said, true])


def _f1(rows: Answered, average: str) -> float:
    from sklearn.metrics import f1_score

    said, true = rows.answers.predicted > 0, rows.label > 0
    there = said.any(axis=0) | true.any(axis=0)  # as among classes: one that nobody says is none
    if not there.any():
        return float("nan")
    if there.sum() == 1:  # which scikit-learn takes for two classes
        return float(f1_score(true[:, there][:, 0], said[:, there][:, 0], zero_division=0))
    return float(f1_score(true[:, there], said[:, there], average=average, zero_division=0))


def _labels(axes: "Axes", rows: Answered) -> None:
    counts = _counts(rows).sum(axis=0).reshape(3, -1)
    f1 = np.divide(2 * counts[0], counts[1] + counts[2], out=np.zeros(counts.shape[1]), where=counts[1] + counts[2] > 0)
    worst = np.argsort(f1, kind="stable")[:30]
    axes.barh(range(len(worst)), f1[worst])
    axes.set_yticks(range(len(worst)), [rows.classes[place][:24] for place in worst.tolist()], parse_math=False)
    axes.set(xlabel="F1", xlim=(0, 1))
