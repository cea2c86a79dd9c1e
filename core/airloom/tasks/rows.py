"""Rows with what models said of them: what passes between a task and those who ask it."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Answers:
    """Of one model, for each test row.

    Attributes:
        predicted: int64 places in the names of the rows' classes, or float64 values; (n,), or (n, …) where a task keeps
            several numbers of a row.
        loss: float64 (n,): log loss, or squared error.
        known: the classes that the model knows; empty where that is not on record.
        kept: what else metrics are computed of, (n, …) by name.
    """

    predicted: Array
    loss: Array
    known: tuple[str, ...] = ()
    kept: dict[str, Array] = field(default_factory=dict)

    def take(self, places: Array) -> "Answers":
        """To these rows, in this order."""
        kept = {name: values[places] for name, values in self.kept.items()}
        return replace(self, predicted=self.predicted[places], loss=self.loss[places], kept=kept)


@dataclass(frozen=True)
class ModelAnswers:
    """Of one model, before its classes are compared with those of others.

    Attributes:
        predicted: numbers of its outputs, int64 (n,), or float64 values.
        loss: as `Answers.loss`.
        outputs: the name of each output's class; [] where it predicts numbers.
        known: as `Answers.known`.
        kept: as `Answers.kept`.
        label: what the task keeps of the labels in the model's own order of classes; None: the labels themselves.
    """

    predicted: Array
    loss: Array
    outputs: list[str] = field(default_factory=list)
    known: tuple[str, ...] = ()
    kept: dict[str, Array] = field(default_factory=dict)
    label: Array | None = None


@dataclass(frozen=True)
class Answered:
    """Rows with the answers of one model, of which metrics are computed.

    Attributes:
        label: (n, …), as the task keeps it.
        answers: of the model.
        classes: the names of all classes that a label or an answer says; () where there are none.
    """

    label: Array
    answers: Answers
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.label)
