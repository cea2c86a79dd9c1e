"""Answers that wait for the prediction log, and their parts that are made columns in one go."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from airloom.inference.best import Best
from airloom.inputs.cells import Cells
from airloom.monitoring.prediction_log import CHAMPION
from airloom.processing import Processing
from airloom.tasks import Task
from airloom_serving.logged_inputs import InputForm

Array = np.ndarray[Any, Any]

LONGEST = 200  # characters of an answer that is a list
TOP = 3  # classes of a row, the most probable
TURN = 256  # rows that are made columns in one go, of few requests
TURN_REQUESTS = 128  # each of which costs about what two rows do
TURN_BYTES = 2**18  # of their inputs and scores
_NESTED, _LEAST = (list, dict), 1 / TURN_REQUESTS


class Inputs(NamedTuple):
    """The rows of a request, and what is kept of them."""

    form: InputForm
    cells: Mapping[str, Cells]


class Scored(NamedTuple):
    """What tells the most probable classes of a request's rows: what the graph gave, or they themselves.

    Attributes:
        processing: of the model.
        task: of the model.
        outputs: of the graph's first output, (n, …), a part after the other; empty where `best` is there.
        best: of all rows.
    """

    processing: Processing
    task: Task | None
    outputs: Sequence[Array] = ()
    best: Best | None = None


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
        scored: tells the most probable classes of the rows; None where the answers are no classes.
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
    scored: Scored | None = None
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
        """About how many bytes of inputs and scores wait with it."""
        scores = sum(output.nbytes for output in self.scored.outputs) if self.scored else 0
        return scores + (sum(map(_size, self.inputs.cells.values())) if self.inputs else 0)


class Part(NamedTuple):
    """Some of the rows of a request that are kept."""

    request: Answered
    first: int
    end: int

    @property
    def rows(self) -> int:
        """How many."""
        return self.end - self.first

    def pick(self, values: Any) -> Any:
        """Of something with an entry for each row of the request."""
        request, first, end = self
        if request.places is None:
            return values if end - first == len(values) else values[first:end]
        places = request.places[first:end]
        return values[places] if isinstance(values, np.ndarray) else [values[place] for place in places]


def turns(answered: Sequence[Answered]) -> Iterator[list[Part]]:
    """Parts of requests, so few that making columns of them takes about a millisecond.

    Args:
        answered: whose rows they are.
    """
    turn, load = list[Part](), 0.0
    for request in answered:
        kept, size = request.kept, request.size / max(1, len(request.ids))
        step = max(1, int(min(TURN, TURN_BYTES / size))) if size else TURN
        for first in range(0, kept, step):
            end = min(first + step, kept)
            costs = max((end - first) / TURN, (end - first) * size / TURN_BYTES, _LEAST)
            if turn and load + costs > 1:
                yield turn
                turn, load = [], 0.0
            turn.append(Part(request, first, end))
            load += costs
    if turn:
        yield turn


def as_text(answer: Any) -> str:
    """An answer, or a class, as the log has it: a text as it is; of a mask or a vector the beginning."""
    if isinstance(answer, str):
        return answer
    if not isinstance(answer, _NESTED):
        return repr(answer)
    some = repr(answer[:LONGEST] if isinstance(answer, list) else answer)
    return some if len(some) <= LONGEST else f"{some[:LONGEST]}…"


def shortened(predictions: Sequence[Any]) -> Sequence[Any]:
    """The answers of a request; masks and vectors by their beginning: they would fill memory until they are written."""
    if not predictions or not isinstance(predictions[0], _NESTED):  # all are of one kind
        return predictions
    return [as_text(answer) for answer in predictions]


def _size(cells: Cells) -> int:
    """Bytes of the cells of a column, as far as that is quickly known."""
    if isinstance(cells, np.ndarray):
        return int(cells.nbytes)
    return sum(len(cell) if isinstance(cell, str | bytes | list) else 8 for cell in cells)
