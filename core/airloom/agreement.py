"""Whether two programs of one model answer alike: torch and ONNX, the server now and the training then.

Float32 keeps about seven digits, and two programs add in different orders. So answers are compared by their size, and
by what is decided with them: a price of 500,000 may be 0.03 off, a class may not become another one. The trainer, the
evaluation and the server ask this one function; the tolerance stands in `golden.json`, beside the answers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from airloom.golden import RTOL, Golden
from airloom.processing import Processing

Array = np.ndarray[Any, Any]
TIE = 1e-5  # of the answers' size: scores that are closer than this have no order
BEST = 5  # classes whose order counts: those that a person is shown
_BEYOND = 1e30  # stands for infinity, such as the score of a class that is masked out
_ATOL = 1e-6  # what float32 leaves where an answer near 0 is the difference of larger numbers
_CHANGED = "the answer would change, so no tolerance is wide enough: compute in float32"
_AXES = {"segmentation": (1, 4), "tokens": (2, 3), "language_model": (2, 3)}  # where the classes lie, of how many axes
_NUMBERS = Processing(task="custom")  # of an output that its task does not look at: no class of it is answered
_ATOL_BEFORE = 1e-4  # of golden answers that earlier releases wrote, without a tolerance of their own


@dataclass(frozen=True)
class Disagreement:
    """Two answers that are not the same.

    Attributes:
        message: which, and by how much.
        hint: what to do about it.
    """

    message: str
    hint: str


def disagreement(
    expected: Array, actual: Array, processing: Processing | None = None, rtol: float = RTOL, atol: float = _ATOL
) -> Disagreement | None:
    """Where two programs of one model differ by more than float32 explains; None where they do not.

    What is decided must be the same, but for ties within 1e-5 of the scores' size: of a classifier, (n, C) or one
    output with a threshold, the best class and the order of the five best; of masks, tokens and language models the
    best class of each place; of several labels whether each is given.

    Every answer must lie within `rtol` of its size: of a classifier's row that of its two best scores, of several
    numbers that of the largest in its column, of a vector its length, else that of the largest answer.

    Args:
        expected: (n, …).
        actual: of the same rows.
        processing: has the task, and the threshold, where there is one.
        rtol: of the answers' size.
        atol: in addition.
    """
    if expected.shape != actual.shape:
        hint = "have forward return one row of answers for each row of inputs"
        return Disagreement(f"answers of shape {actual.shape} instead of {expected.shape}", hint)
    if expected.dtype.kind not in "fc" and actual.dtype.kind not in "fc":
        wrong = np.argwhere(expected != actual)
        return _at(wrong[0], expected, actual, "whole answers are to be equal") if len(wrong) else None
    before, now = expected.astype(np.float64), actual.astype(np.float64)
    odd = ~(np.isfinite(before) & np.isfinite(now))
    if not np.array_equal(before[odd], now[odd], equal_nan=True):
        hint = "look at what forward divides by, or takes a root or logarithm of"
        return _at(np.argwhere(odd)[0], before, now, "one of them is no finite number", hint)
    before, now = (np.nan_to_num(answers, posinf=_BEYOND, neginf=-_BEYOND) for answers in (before, now))
    processing = processing or Processing()
    scores, others = processing.scores(before), processing.scores(now)
    if processing.classifies and scores.ndim == 2 and scores.shape[1] > 1:
        size = np.sort(np.abs(np.sort(scores, axis=1)[:, -2:]), axis=1)[:, -1:]
        if problem := _decided(scores, others, TIE * size + _ATOL, processing):
            return problem
    else:
        if problem := _decided_of_task(before, now, processing):
            return problem
        scores, others, size = before, now, _size(before, processing.task)
    allowed = rtol * np.maximum(np.abs(scores), size) + atol
    beyond = np.abs(others - scores) - allowed
    if not beyond.size or beyond.max() <= 0:
        return None
    worst = np.unravel_index(int(beyond.argmax()), beyond.shape)
    share = float(np.abs(others - scores)[worst] / max(float(np.broadcast_to(size, scores.shape)[worst]), 1e-300))
    needed = 10.0 ** math.ceil(math.log10(share))
    hint = f"where that is close enough, say so: run.save_model(model, example, rtol={needed:.0e})"
    if needed > 0.1:
        hint = "the two programs do not compute the same: look at dropout, random numbers and custom operations"
    text = f"that is {share:.1e} of the answers' size, and rtol is {rtol:.0e}"
    return _at(worst, scores, others, text, hint)


def of_golden(golden: Golden, actual: Mapping[str, Array], processing: Processing | None = None) -> Disagreement | None:
    """The same for the answers to the inputs of a `golden.json`, output by output.

    Args:
        golden: its values.
        actual: what is answered to its `inputs` now, by output.
        processing: of the model.
    """
    rtol, atol = (RTOL, _ATOL_BEFORE) if golden.rtol is None else (golden.rtol, _ATOL)
    return first_disagreement(golden.outputs, actual, processing, rtol, atol)


def first_disagreement(
    expected: Mapping[str, Array],
    actual: Mapping[str, Array],
    processing: Processing | None = None,
    rtol: float = RTOL,
    atol: float = _ATOL,
) -> Disagreement | None:
    """See `disagreement`, of each output; the message names the one that differs, where there are several.

    Args:
        expected: by output.
        actual: likewise.
        processing: of the model. Of several outputs a task decides by the first; without one nothing is said of them.
        rtol: of the answers' size.
        atol: in addition.
    """
    for place, (name, answers) in enumerate(expected.items()):
        has_task = processing is not None and processing.task
        about = processing if len(expected) == 1 or (has_task and not place) else _NUMBERS if has_task else None
        if problem := disagreement(answers, actual[name], about, rtol, atol):
            where = f"output {name[:80]!a}, " if len(expected) > 1 else ""
            return Disagreement(where + problem.message, problem.hint)
    return None


def share(expected: Array, actual: Array) -> float:
    """The largest difference of two programs' answers, as a share of the largest answer."""
    if not expected.size or expected.dtype.kind not in "fiu":
        return 0.0
    before, now = (np.nan_to_num(answers.astype(np.float64)) for answers in (expected, actual))
    size = float(np.abs(before).max())
    return float(np.abs(before - now).max()) / size if size else float(np.abs(now).max())


def _decided(scores: Array, others: Array, tie: Array, processing: Processing) -> Disagreement | None:
    """Of which row another class would be answered, or the best ones in another order."""
    rows = np.arange(len(scores))
    best, chosen = scores.argmax(axis=1), others.argmax(axis=1)
    if len(wrong := np.flatnonzero(scores[rows, best] - scores[rows, chosen] > tie[:, 0])):
        row = wrong[0]
        margin = scores[row, best[row]] - scores[row, chosen[row]]
        now, before = processing.names([int(chosen[row]), int(best[row])])
        message = f"row {row} is class {now!r} instead of {before!r}, whose score is {margin:.3g} higher"
        return Disagreement(message, _CHANGED)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :BEST]
    first, second = np.take_along_axis(scores, order, 1), np.take_along_axis(others, order, 1)
    for better in range(order.shape[1] - 1):
        clear = first[:, better, None] - first[:, better + 1 :] > tie
        turned = clear & (second[:, better, None] < second[:, better + 1 :])
        if turned.any():
            row, place = np.argwhere(turned)[0]
            pair = processing.names([int(order[row, better]), int(order[row, better + 1 + place])])
            message = f"row {row} ranks class {pair[1]!r} before class {pair[0]!r}, and not behind it"
            return Disagreement(message, _CHANGED)
    return None


def _decided_of_task(before: Array, now: Array, processing: Processing) -> Disagreement | None:
    """Of which place of a row another class would be answered, or which label would be given or not."""
    if processing.task == "multilabel" and before.ndim == 2:
        return _given(before, now, processing)
    if processing.task not in _AXES or before.ndim != _AXES[processing.task][1]:
        return None
    scores, others = (np.moveaxis(answers, _AXES[processing.task][0], -1) for answers in (before, now))
    best, chosen = scores.argmax(axis=-1), others.argmax(axis=-1)
    margin = (np.take_along_axis(scores, at[..., None], -1)[..., 0] for at in (best, chosen))
    lost = np.subtract(*margin)
    # Of the row, and not of the place: a picture has places by the thousand, some of them close to a tie.
    tie = TIE * np.abs(scores).reshape(len(scores), -1).max(axis=1) + _ATOL
    wrong = np.argwhere(lost > tie.reshape(-1, *[1] * (lost.ndim - 1)))
    if not len(wrong):
        return None
    where = tuple(int(number) for number in wrong[0])
    is_now, was = processing.names([int(chosen[where]), int(best[where])])
    spot = f"row {where[0]}, {'pixel' if lost.ndim == 3 else 'token'} {', '.join(map(str, where[1:]))}"
    message = f"{spot} is class {is_now!r} instead of {was!r}, whose score is {lost[where]:.3g} higher"
    return Disagreement(message, _CHANGED)


def _given(before: Array, now: Array, processing: Processing) -> Disagreement | None:
    """The label that one program gives to a row, and the other does not."""
    least = processing.threshold or 0.5
    shift = np.log(least / (1 - least))
    tie = TIE * max(float(np.abs(before).max(initial=0.0)), abs(shift)) + _ATOL
    turned = ((before >= shift) != (now >= shift)) & (np.maximum(np.abs(before - shift), np.abs(now - shift)) > tie)
    if not turned.any():
        return None
    row, place = np.argwhere(turned)[0]
    label = processing.names([int(place)])[0]
    verb = "has no longer" if before[row, place] >= shift else "has now"
    return Disagreement(f"row {row} {verb} the label {label!r}, whose score was {before[row, place]:.3g}", _CHANGED)


def _size(answers: Array, task: str) -> Any:
    """That a difference is judged by: a column of small numbers is not hidden by one of large ones."""
    if task == "embedding" and answers.ndim == 2:
        return np.linalg.norm(answers, axis=1, keepdims=True)
    each = 0 if task == "regression" and answers.ndim == 2 else None
    return np.abs(answers).max(axis=each, keepdims=each is not None, initial=0.0)


def _at(place: Any, expected: Array, actual: Array, text: str, hint: str = "") -> Disagreement:
    where = tuple(int(number) for number in place)
    message = f"row {where[0]}: {_said(actual[where])} instead of {_said(expected[where])}; {text}"
    return Disagreement(message, hint or "have forward return the same in both")


def _said(value: Any) -> str:
    return str(bool(value)) if isinstance(value, np.bool_) else f"{value:.9g}"
