"""Metrics; numpy only."""

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from airloom.errors import GateError

Array = np.ndarray[Any, Any]
RECALL = "recall_"  # of a class, by its name
WORST = 10  # classes whose recall is shown where people look; a file has them all
UNKNOWN_LOSS = -math.log(np.finfo(np.float64).eps)  # loss of a label that the model does not know, as in scikit-learn


def log_losses(scores: Array, labels: Array) -> Array:
    """Minus the log of the probability that a classifier gives each label, float64 (n,).

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
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]  # type: ignore[no-any-return]


def classification(scores: Array, labels: Array) -> dict[str, float]:
    """Accuracy, log loss and the recall of each class that occurs; see `log_losses` for arguments and errors."""
    losses = log_losses(scores, labels)
    return of_classification(labels, scores.argmax(axis=1), losses)


def of_classification(labels: Array, predicted: Array, losses: Array, classes: Sequence[str] = ()) -> dict[str, float]:
    """The same from each row's prediction and loss; empty without rows.

    Args:
        labels: places in `classes`, int64 (n,).
        predicted: the same.
        losses: float64 (n,).
        classes: names; without them a class is called as its place.
    """
    if len(labels) == 0:
        return {}
    correct = predicted == labels
    metrics = {"accuracy": float(correct.mean()), "log_loss": float(losses.mean())}
    rows, hits = np.bincount(labels), np.bincount(labels, weights=correct)
    return metrics | {
        f"{RECALL}{classes[place] if classes else place}": float(hits[place] / rows[place])
        for place in np.flatnonzero(rows).tolist()
    }


def shown(metrics: dict[str, float], also: Collection[str] = ()) -> dict[str, float]:
    """The metrics without the recall of classes that are not among the worst ten, nor in `also`."""
    recalls = {name: value for name, value in metrics.items() if name.startswith(RECALL)}
    worst = sorted(recalls, key=lambda name: recalls[name])[:WORST]
    return {name: value for name, value in metrics.items() if name not in recalls or name in worst or name in also}


def of_regression(labels: Array, predicted: Array) -> dict[str, float]:
    """Mean absolute and mean squared error, its root, and the share of the variance that is explained."""
    if len(labels) == 0:
        return {}
    error = predicted - labels
    mse, variance = float((error**2).mean()), float(labels.var())
    metrics = {"mae": float(np.abs(error).mean()), "mse": mse, "rmse": mse**0.5}
    return metrics | ({"r2": 1 - mse / variance} if variance > 0 else {})


def confusion(predicted: Array, labels: Array, classes: int) -> Array:
    """Counts, shape (classes, classes): rows are labels, columns predictions."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)
