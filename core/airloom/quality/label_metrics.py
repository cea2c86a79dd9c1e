"""The task's own metrics of answers and late labels, with an interval."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from airloom.classes import in_order
from airloom.tasks import Answered, Answers, Classification, Task


def metrics_of(task: Task, pairs: Sequence[tuple[Any, Any]]) -> tuple[dict[str, float], list[float]]:
    """The task's metrics of labels and answers, and 95 % of the first one.

    Args:
        task: classification of names, or regression of single numbers.
        pairs: label and answer, at least one.
    """
    if isinstance(task, Classification):
        classes = in_order(name for pair in pairs for name in pair)
        places = {name: place for place, name in enumerate(classes)}
        label, answer = (np.array([places[pair[side]] for pair in pairs], np.int64) for side in (0, 1))
        rows = Answered(label, Answers(answer, np.zeros(len(pairs))), tuple(classes))
        right = np.asarray(task.merit(rows, "accuracy"), bool)
        whole = task.whole("macro_f1")
        f1 = float(whole.weighted(rows)(np.ones((1, len(rows))))[0]) if whole else float("nan")
        return {"accuracy": float(right.mean()), "macro_f1": f1}, _share(int(right.sum()), len(right))
    truth, said = (np.array([pair[side] for pair in pairs], np.float64) for side in (0, 1))
    rows = Answered(truth, Answers(said, (said - truth) ** 2))
    errors = -np.asarray(task.merit(rows, "mae"))
    measured = {name: value for name, value in task.metrics(rows).items() if np.isfinite(value)}
    return measured, _mean(errors)


def _share(hits: int, rows: int) -> list[float]:
    from scipy.stats import binomtest

    interval = binomtest(hits, rows).proportion_ci(method="wilson")
    return [float(interval.low), float(interval.high)]


def _mean(values: "np.ndarray[Any, Any]") -> list[float]:
    """Of a mean, by Student's t: of very few or very skewed errors it is rough."""
    if len(values) < 2:
        return []
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return [float(values.mean()) - half, float(values.mean()) + half]
