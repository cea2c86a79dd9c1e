"""The most probable classes of rows, for those who keep a few of many."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from airloom.processing import Processing
from airloom.tasks import Task

Array = np.ndarray[Any, Any]
_CLASSES = ("classification", "multilabel")  # tasks whose answers are classes


class Best(NamedTuple):
    """The most probable classes of some rows.

    Attributes:
        classes: the numbers of the best, (n, k), best first.
        scores: their probabilities.
        answered: the probability of the class that was answered, (n,); None where several may be.
    """

    classes: Array
    scores: Array
    answered: Array | None


def tells_classes(task: Task | None, outputs: int) -> bool:
    """Whether `best` may have something to say.

    Args:
        task: of the model.
        outputs: how many its graph has.
    """
    return task.name in _CLASSES if task is not None else outputs == 1


def best(
    processing: Processing, task: Task | None, outputs: dict[str, Array], inputs: dict[str, Array], most: int
) -> Best | None:
    """The most probable classes, as `LoadedModel.answers` tells them; None where the answers are no classes.

    Args:
        processing: of the model.
        task: of the model.
        outputs: of the graph, (n, …) by name, found to be answers.
        inputs: what went into it.
        most: so many a row at most.
    """
    output = next(iter(outputs.values()))
    if not tells_classes(task, len(outputs)):
        return None
    if task is not None:
        found = task.scores(outputs, processing, inputs)
    else:
        is_number = output.size == len(output) and processing.threshold is None
        found = None if is_number else processing.probabilities(output)
    if found is None:
        return None
    most = min(most, found.shape[1])
    places = np.argpartition(-found, most - 1, axis=1)[:, :most]
    order = np.argsort(-np.take_along_axis(found, places, 1), axis=1, kind="stable")
    places = np.take_along_axis(places, order, 1)
    answered = None
    if task is None or task.name == "classification":
        answered = np.take_along_axis(found, processing.scores(output).argmax(axis=1)[:, None], 1)[:, 0]
    return Best(places, np.take_along_axis(found, places, 1), answered)


def joined(parts: Sequence[Best | None]) -> Best | None:
    """The same of all parts of a request; None where the answers are no classes."""
    whole = [part for part in parts if part is not None]
    if not whole or len(whole) < len(parts):
        return None
    if len(whole) == 1:
        return whole[0]
    answered = [part.answered for part in whole if part.answered is not None]
    return Best(
        np.concatenate([part.classes for part in whole]),
        np.concatenate([part.scores for part in whole]),
        np.concatenate(answered) if answered else None,
    )
