"""Classification metrics from class scores; numpy only."""

from typing import Any

import numpy as np

from airloom.errors import GateError

Array = np.ndarray[Any, Any]


def classification(scores: Array, labels: Array) -> dict[str, float]:
    """Accuracy, log loss and the recall of each class that occurs.

    Args:
        scores: logits, float, shape (n, classes).
        labels: int64, shape (n,).

    Raises:
        GateError: there are no rows, or a score is not finite, or a label is no class of the model.
    """
    if len(labels) == 0 or scores.ndim != 2 or len(scores) != len(labels):
        raise GateError(f"scores of shape {scores.shape} for {len(labels)} labels cannot be evaluated")
    if not np.isfinite(scores).all():
        raise GateError("the model's scores hold NaN or infinity", "look at the training curves in MLflow")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise GateError(f"labels {labels.min()} to {labels.max()} do not fit a model of {scores.shape[1]} classes")
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    correct = scores.argmax(axis=1) == labels
    found = {
        "accuracy": float(correct.mean()),
        "log_loss": float(-log_probability[np.arange(len(labels)), labels].mean()),
    }
    return found | {f"recall_{label}": float(correct[labels == label].mean()) for label in np.unique(labels)}


def confusion(predicted: Array, labels: Array, classes: int) -> Array:
    """Counts, shape (classes, classes): rows are labels, columns predictions."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)
