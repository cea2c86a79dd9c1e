"""One class of several for each row."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from airloom.classes import in_order, name_of
from airloom.errors import ConfigError, GateError
from airloom.processing import Processing
from airloom.tasks import metrics, whole
from airloom.tasks.base import Asked, Outputs, Task, first, refuse_scores
from airloom.tasks.metrics import UNKNOWN_LOSS, log_losses
from airloom.tasks.rows import Answered, Answers, Array, ModelAnswers

if TYPE_CHECKING:
    import pyarrow as pa

CHANCES = "chances"  # kept: the probability of each class, (n, classes)
SCORE = "score"  # kept instead where nothing needs all of them: that of the answer, (n,)


class Classification(Task):
    """Labels are text, whole numbers or booleans; the model answers with a score for each class, (n, classes)."""

    name: ClassVar[str] = "classification"
    unlabelled: ClassVar[bool] = False

    def check(self, label: "pa.Field | None") -> None:
        """See `Task`."""
        from airloom.datasets.types.labels import is_class

        super().check(label)
        if label is not None and not is_class(label.type):
            message = f"task classification needs classes as labels; {label.name!a} is {label.type}"
            raise ConfigError(message, "classes are text, whole numbers or booleans; numbers are task: regression")

    def labels(self, stored: Any, rows: int) -> Any:
        """Names of classes."""
        from airloom.datasets.types.labels import label_names

        super().labels(stored, rows)
        names = label_names(stored)
        if names is None:
            raise GateError("the test split has no labels that are classes", "classes are text, numbers or booleans")
        return names

    def judge(self, outputs: Outputs, labels: list[str], asked: Asked) -> ModelAnswers:
        """The class of each row. A label that the model does not know has the loss of a probability of 0."""
        declared, output = asked.processing, first(outputs)
        scores = declared.scores(output)
        if scores.ndim != 2 or scores.shape[1] < len(declared.classes):
            scores_of = scores.shape[1] if scores.ndim == 2 else scores.shape
            which = f", in {next(iter(outputs))!a}, the first of {len(outputs)} outputs" if len(outputs) > 1 else ""
            message = f"{asked.model}: {len(declared.classes)} classes do not fit a model of {scores_of} classes{which}"
            hint = (
                "have it answer with a score for each of run.classes; whole numbers that are no classes, but are to be"
            )
            raise GateError(message, f"{hint} predicted, are committed as fractions: `--column LABEL=float64`")
        names = declared.class_names(scores.shape[1])
        known = [name_of(label) for label in declared.classes] or [n for n in names if n in set(labels)]
        right = self.numbers(labels, names)
        losses, knows = np.full(len(labels), UNKNOWN_LOSS), right >= 0
        if knows.any() or not len(labels):
            losses[knows] = log_losses(scores[knows], right[knows])
        kept = {CHANCES: declared.probabilities(output).astype(np.float32)}
        return ModelAnswers(scores.argmax(axis=1).astype(np.int64), losses, names, tuple(known), kept)

    @staticmethod
    def numbers(labels: Sequence[str], names: Sequence[str]) -> Array:
        """The model's own number of each label, int64 (n,); -1 where it knows none."""
        places = {name: number for number, name in enumerate(names)}
        return np.array([places.get(label, -1) for label in labels], np.int64)

    def joined(self, parts: Sequence[ModelAnswers], labels: Any) -> ModelAnswers:
        """What the model knows is what any part says; see `Task`."""
        one, said = super().joined(parts, labels), {name for part in parts for name in part.known}
        return ModelAnswers(
            one.predicted, one.loss, one.outputs, tuple(n for n in one.outputs if n in said) or one.known, one.kept
        )

    def paired(
        self, labels: Sequence[str], models: Sequence[ModelAnswers]
    ) -> tuple[Array, list[Answers], tuple[str, ...]]:
        """By name: two models that number the classes differently are compared by what they say."""
        classes = in_order([*labels, *(name for model in models for name in model.outputs)])
        numbers = {name: place for place, name in enumerate(classes)}
        answers = []
        for model in models:
            own = np.array([numbers[name] for name in model.outputs], np.int64)
            kept = dict(model.kept)
            if CHANCES in kept:
                kept[CHANCES] = np.zeros((len(labels), len(classes)), np.float32)
                kept[CHANCES][:, own] = model.kept[CHANCES]
            answers.append(Answers(own[model.predicted], model.loss, model.known, kept))
        return np.array([numbers[name] for name in labels], np.int64), answers, tuple(classes)

    def trained(self, labels: Any, answers: ModelAnswers) -> Array:
        """The number of each label's output; -1 of one that the model does not know."""
        return self.numbers(labels, answers.outputs)

    def bad_rows(self, outputs: Outputs) -> Array:
        """See `Task`; the score of a class that cannot be is minus infinity."""
        return refuse_scores(first(outputs))

    @property
    def means(self) -> tuple[str, ...]:
        """See `Task`."""
        return ("accuracy", "log_loss")

    @property
    def wholes(self) -> tuple[str, ...]:
        """See `Task`."""
        return ("macro_f1",)

    def merit(self, rows: Answered, metric: str) -> Array | None:
        """Whether it is right, bool; or minus the loss."""
        right: Array = rows.answers.predicted == rows.label
        return {"accuracy": right, "log_loss": -rows.answers.loss}.get(metric)

    def metrics(self, rows: Answered) -> dict[str, float]:
        """Accuracy, log loss, and the recall of each class that occurs."""
        who = rows.answers
        return metrics.of_classification(rows.label, who.predicted, who.loss, rows.classes)

    def whole(self, metric: str) -> whole.Whole | None:
        """See `Task`."""
        if metric == "macro_f1":
            return whole.OfSums(_counts, whole.f1_of, _macro_f1)
        functions = whole.ranked(metric)
        return whole.OfScores(_one_against_the_rest, *functions) if functions else None

    def answer(self, outputs: Outputs, processing: Processing, inputs: dict[str, Array]) -> list[Any]:  # noqa: ARG002
        """The class of each row."""
        return processing.names(processing.scores(first(outputs)).argmax(axis=1).tolist())

    def scores(self, outputs: Outputs, processing: Processing, inputs: dict[str, Array]) -> Array | None:  # noqa: ARG002
        """The probability of each class."""
        return processing.probabilities(first(outputs))


def of_classes(label: Array, predicted: Array, classes: int) -> Array:
    """Of each row and class, (n, 3 classes): hit, predicted, labelled."""
    places = np.arange(classes)
    said, true = predicted[:, None] == places, label[:, None] == places
    return np.hstack([said & true, said, true])


def _counts(rows: Answered) -> Array:
    top = max(len(rows.classes), int(max(rows.label.max(initial=0), rows.answers.predicted.max(initial=0))) + 1)
    return of_classes(rows.label, rows.answers.predicted, top)


def _macro_f1(rows: Answered) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(rows.label, rows.answers.predicted, average="macro", zero_division=0))


def _one_against_the_rest(rows: Answered) -> tuple[Array, Array]:
    """Of two classes the second one's; of more each one's."""
    chances = rows.answers.kept.get(CHANCES)
    if chances is None:
        raise GateError("the rows keep no probabilities", "clear `evaluate`, which keeps what the gate's metric needs")
    places = np.arange(chances.shape[1])[1 if chances.shape[1] == 2 else 0 :]
    return rows.label[:, None] == places, chances[:, places]
