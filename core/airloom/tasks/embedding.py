"""A vector for each row: near where rows are alike."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from airloom.classes import name_of
from airloom.errors import GateError
from airloom.tasks.base import Asked, Outputs, Task, first
from airloom.tasks.rows import Answered, Array, ModelAnswers

VECTOR, LOSS = "vector", "loss"  # kept until all rows are there; an output of this name


class Embedding(Task):
    """The model answers with a vector of each row, (n, size).

    With labels a vector is good where the nearest other one, by the cosine, has the same label. Without labels the
    model says itself how good it is: a second output `loss`, a number for each row.
    """

    name: ClassVar[str] = "embedding"

    def labels(self, stored: Any, rows: int) -> Any:
        """Names; empty where there are none."""
        if stored is None:
            return np.zeros((rows, 0))
        cells = stored.tolist() if isinstance(stored, np.ndarray) else list(stored)
        if any(isinstance(cell, list | dict | float) for cell in cells):
            raise GateError("task embedding takes classes as labels, or none", "rows of one label belong together")
        return [name_of(cell) for cell in cells]

    def judge(self, outputs: Outputs, labels: Any, asked: Asked) -> ModelAnswers:
        """The vectors; `joined` compares them."""
        vectors = next((values for name, values in outputs.items() if name != LOSS), first(outputs))
        rows = len(vectors)
        losses = outputs[LOSS].reshape(rows).astype(np.float64) if LOSS in outputs else np.zeros(rows)
        if not isinstance(labels, list) and LOSS not in outputs:
            message = f"{asked.model} answers with a vector alone, and the rows have no labels"
            raise GateError(message, "nothing says whether it is good: give labels, or a second output `loss`, (n,)")
        return ModelAnswers(np.zeros(rows), losses, kept={VECTOR: vectors.reshape(rows, -1)}, label=np.zeros(rows))

    def joined(self, parts: Sequence[ModelAnswers], labels: Any) -> ModelAnswers:
        """Whether the nearest other vector has the same label; the vectors are not kept."""
        one = super().joined(parts, labels)
        vectors, kept = one.kept[VECTOR], dict[str, Array]()
        if isinstance(labels, list):
            kept["nearest_is_same"] = _nearest_is_same(vectors, labels)
        elif one.loss.any():
            kept["log_loss"] = -one.loss
        return ModelAnswers(one.predicted, one.loss, kept=kept, label=one.label)

    def merit(self, rows: Answered, metric: str) -> Array | None:
        """What `joined` kept."""
        return rows.answers.kept.get(metric)


def _nearest_is_same(vectors: Array, labels: list[str]) -> Array:
    from sklearn.neighbors import NearestNeighbors

    if len(vectors) < 2:
        return np.zeros(len(vectors))
    near = NearestNeighbors(n_neighbors=2, metric="cosine").fit(vectors).kneighbors(vectors, return_distance=False)
    rows = np.arange(len(vectors))
    other = np.where(near[:, 0] == rows, near[:, 1], near[:, 0])  # the nearest is itself, but for equal vectors
    names = np.array(labels)
    return np.asarray(names[other] == names, np.float64)
