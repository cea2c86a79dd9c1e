"""A class for each token of each row."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from airloom.classes import in_order, name_of
from airloom.errors import ConfigError, GateError
from airloom.inputs.tokenise import PADDING
from airloom.processing import Processing
from airloom.tasks import whole
from airloom.tasks.base import Asked, Outputs, Task, first, log_softmax, refuse_scores
from airloom.tasks.metrics import UNKNOWN_LOSS
from airloom.tasks.rows import Answered, Answers, Array, ModelAnswers

if TYPE_CHECKING:
    import pyarrow as pa


class Tokens(Task):
    """Labels of a row are a list with one class for each token; the model answers with scores (n, length, classes).

    The labels belong to the first tokens; what the model says of tokens behind them counts for nothing. Labels are
    whole numbers or names. Of each row counts of tokens are kept: of each class the right, the predicted, the labelled.

    Attributes:
        ignore: the label of tokens that count for nothing.
    """

    name: ClassVar[str] = "tokens"
    unlabelled: ClassVar[bool] = False
    ignore: ClassVar[int] = -100

    def check(self, label: "pa.Field | None") -> None:
        """See `Task`."""
        import pyarrow as pa

        super().check(label)
        kind = None if label is None else label.type
        is_list = kind is not None and (pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind))
        inner = kind.value_type if is_list and kind is not None else None
        if label is not None and not (is_list and (pa.types.is_integer(inner) or inner == pa.large_string())):
            message = f"task tokens needs a list of classes as the label of a row; {label.name!a} is {label.type}"
            raise ConfigError(message, "give a list with a whole number or a name for each token")

    def labels(self, stored: Any, rows: int) -> Any:
        """A list of names for each row."""
        super().labels(stored, rows)
        cells = stored.tolist() if isinstance(stored, np.ndarray) else list(stored)
        for row, cell in enumerate(cells):
            if not isinstance(cell, list | tuple | np.ndarray):
                raise GateError(f"the labels of test row {row} are {str(cell)[:60]!a}", "give one for each token")
        return [[name_of(label) for label in cell] for cell in cells]

    def judge(self, outputs: Outputs, labels: list[list[str]], asked: Asked) -> ModelAnswers:
        """Counts of tokens by class, and their mean log loss."""
        scores = first(outputs)
        if scores.ndim != 3:
            raise GateError(f"{asked.model} answers with shape {scores.shape}", "give scores (n, length, classes)")
        names = asked.processing.class_names(scores.shape[2])
        places, classes = {name: place for place, name in enumerate(names)}, len(names)
        hits, said, losses = np.zeros((len(labels), 2, classes)), np.zeros((len(labels), 2)), np.zeros(len(labels))
        for row, cell in enumerate(labels):
            if len(cell) > scores.shape[1]:
                message = f"row {asked.first + row} has {len(cell)} labels"
                message = f"{message}, and {asked.model} answers {scores.shape[1]} tokens"
                raise GateError(message, "give as many tokens as labels; pad the tokens, not the labels")
            counted = [at for at, name in enumerate(cell) if name != str(self.ignore)]
            truth = np.array([places.get(cell[at], -1) for at in counted], np.int64)
            logs, best = log_softmax(scores[row, counted], 1), scores[row, counted].argmax(axis=1)
            gained = np.where(truth >= 0, logs[np.arange(len(truth)), np.maximum(truth, 0)], -UNKNOWN_LOSS)
            hits[row, 0] = np.bincount(best[best == truth], minlength=classes)
            hits[row, 1] = np.bincount(best, minlength=classes)
            losses[row] = -gained.mean() if len(gained) else 0.0
            said[row] = len(counted), (best == truth).sum()
        return ModelAnswers(
            hits, losses, names, tuple(names), {"tokens.counted": said[:, 0], "tokens.right": said[:, 1]}
        )

    def paired(
        self, labels: list[list[str]], models: Sequence[ModelAnswers]
    ) -> tuple[Array, list[Answers], tuple[str, ...]]:
        """By name: two models may number the classes differently."""
        said = {name for cell in labels for name in cell if name != str(self.ignore)}
        classes = in_order([*said, *(name for model in models for name in model.outputs)])
        places = {name: place for place, name in enumerate(classes)}
        label = np.zeros((len(labels), len(classes)))
        for row, cell in enumerate(labels):
            for name in cell:
                if name != str(self.ignore):
                    label[row, places[name]] += 1
        answers = []
        for model in models:
            wide = np.zeros((len(labels), 2, len(classes)))
            wide[..., [places[name] for name in model.outputs]] = model.predicted
            answers.append(Answers(wide, model.loss, model.known, model.kept))
        return label, answers, tuple(classes)

    def bad_rows(self, outputs: Outputs) -> Array:
        """See `Task`; minus infinity is a probability of 0."""
        return refuse_scores(first(outputs))

    @property
    def means(self) -> tuple[str, ...]:
        """See `Task`."""
        return ("token_accuracy", "log_loss")

    @property
    def wholes(self) -> tuple[str, ...]:
        """See `Task`."""
        return ("macro_f1",)

    def merit(self, rows: Answered, metric: str) -> Array | None:
        """The share of right tokens of a row, 1 where none counts; or minus the loss."""
        if metric == "log_loss":
            return -rows.answers.loss
        counted, right = rows.answers.kept["tokens.counted"], rows.answers.kept["tokens.right"]
        return np.where(counted > 0, right / np.maximum(counted, 1), 1.0) if metric == "token_accuracy" else None

    def whole(self, metric: str) -> whole.Whole | None:
        """See `Task`. Of all tokens of all rows."""
        return whole.OfSums(_counts, whole.f1_of) if metric == "macro_f1" else None

    def answer(self, outputs: Outputs, processing: Processing, inputs: dict[str, Array]) -> list[Any]:
        """The class of each token; where a tokenizer padded the row, of those that are no padding."""
        best, tokens = first(outputs).argmax(axis=2).tolist(), next(iter(inputs.values()), None)
        padded = (
            tokens is not None and tokens.ndim == 2 and tokens.dtype.kind == "i" and processing.tokenise is not None
        )
        lengths = (tokens != PADDING).sum(axis=1).tolist() if padded and tokens is not None else [len(r) for r in best]
        return [processing.names(row[:length]) for row, length in zip(best, lengths, strict=True)]


def _counts(rows: Answered) -> Array:
    return np.hstack([rows.answers.predicted[:, 0], rows.answers.predicted[:, 1], rows.label])
