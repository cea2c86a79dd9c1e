"""Answers as rows of the prediction log, made in whole columns; see `airloom.monitoring.prediction_log`."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from airloom.inference.best import Best, best, joined
from airloom.inference.model import LoadedModel
from airloom.inputs.cells import Cells
from airloom.monitoring.prediction_log import CHAMPION, schema
from airloom_serving.logged_inputs import InputForm

log = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
LONGEST = 200  # characters of an answer that is a list
TOP = 3  # classes of a row, the most probable
TURN = 256  # rows that are made columns in one go: a fraction of a millisecond
TURN_BYTES = 2**18  # of the inputs of such rows
_HEX = np.full(256, 0, np.uint64)
_HEX[list(b"0123456789abcdef")] = np.arange(16)
_TIME = [*range(8), *range(9, 13)]  # where an id has the digits of its time


class Inputs(NamedTuple):
    """The rows of a request, and what is kept of them."""

    form: InputForm
    cells: Mapping[str, Cells]


class Answered(NamedTuple):
    """The answers to one request.

    Attributes:
        model: by its name in the registry.
        version: that answered.
        ids: of the predictions.
        predictions: the answers.
        latency_ms: of one row.
        rows: of the request, however many of them are kept.
        role: in which the version answered.
        best: gives the most probable classes of all rows; asked in the log's own thread.
        names: gives the classes of numbers.
        inputs: of the rows; None where nothing is kept of them.
        request: the id of the request.
        trace: that it is part of.
        places: of the rows that are kept; None for all.
    """

    model: str
    version: str
    ids: Sequence[str]
    predictions: Sequence[Any]
    latency_ms: float
    rows: int
    role: str = CHAMPION
    best: Callable[[], Best | None] | None = None
    names: Callable[[Sequence[int]], list[Any]] = list
    inputs: Inputs | None = None
    request: str = ""
    trace: str = ""
    places: Sequence[int] | None = None

    @property
    def kept(self) -> int:
        """How many rows are kept."""
        return len(self.ids) if self.places is None else len(self.places)

    @property
    def size(self) -> int:
        """About how many bytes of the rows' inputs wait with it."""
        return sum(map(_size, self.inputs.cells.values())) if self.inputs else 0


def turns(answered: Sequence[Answered]) -> Iterator[tuple[int, Callable[[], pa.RecordBatch]]]:
    """Parts of at most `TURN` rows: how many, and what makes columns of them.

    Args:
        answered: whose rows they are.
    """
    waiting, rows, load = list[_Part](), 0, 0.0
    for request in answered:
        once = _Once(request.best)
        step = max(1, min(TURN, TURN_BYTES * len(request.ids) // max(1, request.size)))
        for first in range(0, request.kept, step):
            part = _Part(request, first, min(first + step, request.kept), once)
            if waiting and load + part.rows / step > 1:
                yield rows, partial(_columns, waiting)
                waiting, rows, load = [], 0, 0.0
            waiting.append(part)
            rows, load = rows + part.rows, load + part.rows / step
    if waiting:
        yield rows, partial(_columns, waiting)


class _Once:
    """The most probable classes of a request's rows, computed when they are first asked for."""

    def __init__(self, make: Callable[[], Best | None] | None) -> None:
        self._make = make
        self._best: Best | None = None

    def __call__(self) -> Best | None:
        if self._make is not None:
            self._best, self._make = self._make(), None
        return self._best


class _Part(NamedTuple):
    """Some of the rows of a request that are kept."""

    request: Answered
    first: int
    end: int
    best: _Once

    @property
    def rows(self) -> int:
        return self.end - self.first

    def pick(self, values: Any) -> Any:
        """Of something with an entry for each row of the request."""
        if self.request.places is None:
            return values[self.first : self.end]
        places = self.request.places[self.first : self.end]
        return values[places] if isinstance(values, np.ndarray) else [values[place] for place in places]


def _columns(parts: Sequence[_Part]) -> pa.RecordBatch:
    """The rows of some parts."""
    columns = dict[str, list[Any]](id=[], prediction=[], value=[], score=[], top=[], inputs=[], inputs_by=[])
    for part in parts:
        answers = part.pick(part.request.predictions)
        columns["id"] += part.pick(part.request.ids)
        columns["prediction"] += map(as_text, answers)
        columns["value"] += [float(a) if isinstance(a, int | float) else None for a in answers]
        _add_best(columns, part)
        _add_inputs(columns, part)
    counts = [part.rows for part in parts]
    each = {
        "model": [part.request.model for part in parts],
        "version": [part.request.version for part in parts],
        "latency_ms": [part.request.latency_ms for part in parts],
        "rows": [part.request.rows for part in parts],
        "role": [part.request.role for part in parts],
        "request": [part.request.request or None for part in parts],
        "trace": [part.request.trace or None for part in parts],
    }
    repeat = None if max(counts) == 1 else pa.array(np.repeat(np.arange(len(counts)), counts))
    arrays = []
    for field in schema():
        if field.name in each:
            array = pa.array(each[field.name], field.type)
            arrays.append(array if repeat is None else array.take(repeat))
        elif field.name == "time":
            arrays.append(pa.array(times(columns["id"]), pa.int64()).cast(field.type))
        else:
            arrays.append(pa.array(columns[field.name], field.type))
    return pa.record_batch(arrays, schema=schema())


def times(ids: Sequence[str]) -> Array:
    """The milliseconds in some ids, int64."""
    characters = np.frombuffer("".join(ids).encode("ascii"), np.uint8).reshape(len(ids), 36)[:, _TIME]
    milliseconds = np.zeros(len(ids), np.uint64)
    for place in range(len(_TIME)):
        milliseconds = milliseconds << np.uint64(4) | _HEX[characters[:, place]]
    return milliseconds.astype(np.int64)


def as_text(answer: Any) -> str:
    """An answer, or a class, as the log has it: a text as it is; of a mask or a vector the beginning."""
    if isinstance(answer, str):
        return answer
    if not isinstance(answer, list | dict):
        return repr(answer)
    some = repr(answer[:LONGEST] if isinstance(answer, list) else answer)
    return some if len(some) <= LONGEST else f"{some[:LONGEST]}…"


def shortened(predictions: Sequence[Any]) -> Sequence[Any]:
    """The answers of a request; masks and vectors by their beginning: they would fill memory until they are written."""
    if not predictions or not isinstance(predictions[0], list | dict):  # all are of one kind
        return predictions
    return [as_text(answer) for answer in predictions]


def best_of(model: LoadedModel, parts: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> Best | None:
    """The most probable classes of all rows of a request.

    Args:
        model: that answered.
        parts: what went into its graph and what came out of it.
    """
    return joined([best(model.processing, model.task, outputs, inputs, TOP) for inputs, outputs in parts])


def _add_best(columns: dict[str, list[Any]], part: _Part) -> None:
    found = part.best()
    if found is None:
        columns["score"] += [None] * part.rows
        columns["top"] += [None] * part.rows
        return
    numbers, scores = part.pick(found.classes).tolist(), part.pick(found.scores).tolist()
    known = list({number for row in numbers for number in row})
    names = dict(zip(known, map(as_text, part.request.names(known)), strict=True))
    columns["score"] += [None] * part.rows if found.answered is None else part.pick(found.answered).tolist()
    columns["top"] += [
        [{"class": names[number], "score": score} for number, score in zip(*row, strict=True)]
        for row in zip(numbers, scores, strict=True)
    ]


def _add_inputs(columns: dict[str, list[Any]], part: _Part) -> None:
    inputs = part.request.inputs
    if inputs is None:
        columns["inputs"] += [None] * part.rows
        columns["inputs_by"] += ["drop"] * part.rows
        return
    try:
        kept = inputs.form.texts({name: part.pick(cells) for name, cells in inputs.cells.items()}, part.rows)
    except (
        Exception
    ) as error:  # the answers are worth their rows: a key that is damaged, whatever a profile stumbles on
        log.error("of the inputs of %d rows nothing is logged: %s", part.rows, str(error)[:300])
        kept = [(None, "failed")] * part.rows
    columns["inputs"] += [text for text, _ in kept]
    columns["inputs_by"] += [by for _, by in kept]


def _size(cells: Cells) -> int:
    """Bytes of the cells of a column, as far as that is quickly known."""
    if isinstance(cells, np.ndarray):
        return int(cells.nbytes)
    return sum(len(cell) if isinstance(cell, str | bytes | list) else 8 for cell in cells)
