"""Rows of the prediction log in whole columns: what is alike in several requests is computed at once."""

import logging
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from airloom.inference.best import Best, best, joined
from airloom.inputs.cells import Cells
from airloom.monitoring.prediction_log import schema
from airloom_serving.logged_rows import TOP, Part, as_text

log = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
_HEX = np.full(256, 0, np.uint64)
_HEX[list(b"0123456789abcdef")] = np.arange(16)
_NUMBER = (int, float)
_TIME = [*range(8), *range(9, 13)]  # where an id has the digits of its time
_OF_A_REQUEST = ("model", "version", "latency_ms", "rows", "role", "request", "trace")


def columns(turn: Sequence[Part]) -> pa.RecordBatch:
    """The rows of some parts; their order is no matter.

    Args:
        turn: the parts.
    """
    groups = dict[Any, list[Part]]()
    for part in turn:
        groups.setdefault(_kind(part), []).append(part)
    made = dict[str, list[Any]](id=[], prediction=[], value=[], score=[], inputs=[], inputs_by=[])
    top = _Top()
    for group in groups.values():
        answers = list[Any]()
        for part in group:
            answers += part.pick(part.request.predictions)
            made["id"] += part.pick(part.request.ids)
        rows = len(answers)
        made["prediction"] += map(as_text, answers)
        made["value"] += [float(answer) if isinstance(answer, _NUMBER) else None for answer in answers]
        made["score"] += top.add(group, rows)
        for text, by in _inputs(group, rows):
            made["inputs"].append(text)
            made["inputs_by"].append(by)
    arrays = _of_requests(list(chain.from_iterable(groups.values())))
    for field in schema():
        if field.name == "time":
            arrays["time"] = pa.array(times(made["id"]), pa.int64()).cast(field.type)
        elif field.name == "top":
            arrays["top"] = top.array(field.type)
        elif field.name in made:
            arrays[field.name] = pa.array(made[field.name], field.type)
    return pa.record_batch([arrays[name] for name in schema().names], schema=schema())


def times(ids: Sequence[str]) -> Array:
    """The milliseconds in some ids, int64."""
    characters = np.frombuffer("".join(ids).encode("ascii"), np.uint8).reshape(len(ids), 36)[:, _TIME]
    milliseconds = np.zeros(len(ids), np.uint64)
    for place in range(len(_TIME)):
        milliseconds = milliseconds << np.uint64(4) | _HEX[characters[:, place]]
    return milliseconds.astype(np.int64)


def _kind(part: Part) -> Any:
    """Parts of one kind are computed together: of one model, one policy, and rows of one shape."""
    request = part.request
    scored, inputs = request.scored, request.inputs
    of_scores = None
    if scored is not None:
        alone = scored.best
        of_scores = (id(scored.processing), scored.outputs[0].shape[1:]) if alone is None else (id(alone), ())
    return of_scores, (id(inputs.form), *map(_shape, inputs.cells.values())) if inputs is not None else None


def _shape(cells: Cells) -> Any:
    return cells.shape[1:] if isinstance(cells, np.ndarray) else None


def _of_requests(parts: Sequence[Part]) -> dict[str, pa.Array]:
    """The columns that all rows of a request share."""
    requests = [part.request for part in parts]
    counts = [part.rows for part in parts]
    repeat = None if max(counts) == 1 else pa.array(np.repeat(np.arange(len(counts)), counts))
    arrays = {}
    for name in _OF_A_REQUEST:
        values = [getattr(request, name) for request in requests]
        if name in ("request", "trace"):
            values = [value or None for value in values]
        array = pa.array(values, schema().field(name).type)
        arrays[name] = array if repeat is None else array.take(repeat)
    return arrays


class _Top:
    """The column of the most probable classes, while it is made."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._scores: list[Array] = []
        self._counts: list[Array] = []  # of each row; 0 for none

    def add(self, group: Sequence[Part], rows: int) -> list[Any]:
        """Add the classes of a group's rows; returns the scores of their answers."""
        found = _best(group)
        if found is None:
            self._counts.append(np.zeros(rows, np.int32))
            return [None] * rows
        scored = group[0].request.scored
        assert scored is not None  # noqa: S101 - it was found by it
        numbers = found.classes.ravel().tolist()
        known = list(set(numbers))
        names = dict(zip(known, map(as_text, scored.processing.names(known)), strict=True))
        self._names += [names[number] for number in numbers]
        self._scores.append(found.scores.ravel())
        self._counts.append(np.full(rows, found.classes.shape[1], np.int32))
        return [None] * rows if found.answered is None else found.answered.tolist()

    def array(self, kind: pa.DataType) -> pa.Array:
        """All of them."""
        counts = np.concatenate(self._counts)
        scores = np.concatenate([np.zeros(0), *self._scores]).astype(np.float32)
        classes = pa.StructArray.from_arrays([pa.array(self._names, pa.string()), pa.array(scores)], ["class", "score"])
        ends = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
        return pa.ListArray.from_arrays(ends, classes, type=kind, mask=pa.array(counts == 0))


def _best(group: Sequence[Part]) -> Best | None:
    """The most probable classes of a group's rows."""
    scored = group[0].request.scored
    if scored is None:
        return None
    if (whole := scored.best) is not None:  # of one request: its kind is its own
        return joined([_picked(part, whole) for part in group])
    outputs = [_output(part) for part in group]
    output = outputs[0] if len(outputs) == 1 else np.concatenate(outputs)
    return best(scored.processing, scored.task, {"output": output}, {}, TOP)


def _picked(part: Part, whole: Best) -> Best:
    answered = None if whole.answered is None else part.pick(whole.answered)
    return Best(part.pick(whole.classes), part.pick(whole.scores), answered)


def _output(part: Part) -> Array:
    scored = part.request.scored
    assert scored is not None  # noqa: S101 - all of a kind have it
    outputs = scored.outputs
    return part.pick(outputs[0] if len(outputs) == 1 else np.concatenate(outputs))  # type: ignore[no-any-return]


def _inputs(group: Sequence[Part], rows: int) -> Sequence[tuple[str | None, str]]:
    """What is kept of the inputs of a group's rows, and how it was made."""
    inputs = group[0].request.inputs
    if inputs is None:
        return [(None, "drop")] * rows
    try:
        cells = {name: _together(group, name) for name in inputs.cells}
        return inputs.form.texts(cells, rows)
    except (
        Exception
    ) as error:  # a key that is damaged, whatever a profile stumbles on: the answers are worth their rows
        log.error("of the inputs of %d rows nothing is logged: %s", rows, str(error)[:300])
        return [(None, "failed")] * rows


def _together(group: Sequence[Part], name: str) -> Cells:
    picked = [part.pick(part.request.inputs.cells[name]) for part in group if part.request.inputs]
    if len(picked) == 1:
        return picked[0]  # type: ignore[no-any-return]
    if all(isinstance(cells, np.ndarray) for cells in picked):
        return np.concatenate(picked)
    return list(chain.from_iterable(picked))
