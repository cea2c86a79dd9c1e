"""The answers to some rows of a dataset version, as a table. What a model takes and says is `airloom.inference`'s."""

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from airloom.classes import name_of
from airloom.errors import DataError
from airloom.inference.instances import Instances
from airloom.inference.limits import rows_at_once
from airloom.inference.model import Answers, Extras, LoadedModel
from airloom.lineage.batches import BatchRecord

Array = np.ndarray[Any, Any]


@dataclass
class Given:
    """What a model said of some rows.

    Attributes:
        predictions: an entry each.
        scores: float64 (n, classes) where they were wanted, in parts.
    """

    predictions: list[Any] = field(default_factory=list)
    scores: list[Array] = field(default_factory=list)


class StoredRows(Instances):
    """Rows as their dataset's type gives them: what the graph takes is made of them as in training and evaluation."""

    def __init__(self, model: LoadedModel, raw: Any, rows: int, first: int) -> None:
        super().__init__(rows, first, 1)
        self._model, self._raw = model, raw

    def __iter__(self) -> Iterator[dict[str, Array]]:
        yield arrays(self._model, self._raw)


def arrays(model: LoadedModel, raw: Any) -> dict[str, Array]:
    """What the graph takes of some rows, by input.

    Raises:
        DataError: they are of another kind than the model was trained on.
    """
    return model.processing.arrays(raw, model.graph)


def answers(
    model: LoadedModel,
    raw: Any,
    numbers: Array,
    dataset: str,
    extras: Extras,
    pool: Executor | None = None,
) -> Given:
    """What a model says of rows, as the server says it: as many at a time as a graph is given at once.

    Args:
        model: that is asked.
        raw: the rows' inputs, as the dataset's type gives them.
        numbers: of the rows in the dataset version, int64 (n,).
        dataset: digits@v3.
        extras: what is wanted besides the predictions.
        pool: threads that share the work.

    Raises:
        DataError: the model does not take the rows, or has no answer to one of them, which is named.
    """
    try:
        size = rows_at_once(_values(arrays(model, _some(raw, 0, 1))))
    except DataError:
        size = 1  # the first row is refused below, by its number

    def ask(first: int) -> Answers:
        part = _some(raw, first, first + size)
        count = min(size, len(numbers) - first)
        try:
            return model.answers(StoredRows(model, part, count, int(numbers[first])), extras)
        except DataError as error:
            for place, number in enumerate(numbers[first : first + count].tolist()):
                _ask_one(model, _some(part, place, place + 1), number, dataset, extras)
            raise DataError(f"{dataset}: {error.message}", error.hint) from None

    together = Given()
    for part in (pool.map if pool else map)(ask, range(0, len(numbers), size)):
        together.predictions += part.predictions
        if part.scores:
            together.scores.append(np.asarray(part.scores, np.float64))  # as lists they take far more room
    return together


def _ask_one(model: LoadedModel, raw: Any, number: int, dataset: str, extras: Extras) -> None:
    """Ask of a single row, to name it where it is the one that is refused."""
    try:
        model.answers(StoredRows(model, raw, 1, number), extras)
    except DataError as error:
        message = error.message.removeprefix("row 0: ")
        raise DataError(f"row {number} of {dataset}: {message}", error.hint) from None


def type_of(model: LoadedModel, first: Given) -> pa.DataType:
    """The type of all predictions: that of the classes, text where these differ; else that of the first answers."""
    nested = isinstance(first.predictions[0], list | dict)
    known = first.predictions if nested else model.known_classes or first.predictions
    kinds = set(map(type, known))
    return pa.string() if len(kinds) > 1 and kinds <= {int, bool, str} else pa.array(known).type


def table(
    record: BatchRecord, model: LoadedModel, kind: pa.DataType, numbers: Array, given: Given, beside: pa.Table
) -> pa.Table:
    """The rows of a part.

    Args:
        record: whose ids the rows get.
        model: that answered.
        kind: of the predictions; see `type_of`.
        numbers: of the rows in the dataset version.
        given: the answers.
        beside: the key and the chosen columns of the same rows.
    """
    said = [name_of(label) for label in given.predictions] if kind == pa.string() else given.predictions
    columns: dict[str, Any] = {
        "prediction_id": pa.array(record.ids(numbers), pa.string()),
        "model": pa.repeat(pa.scalar(f"{model.name}/{model.version}"), len(numbers)),
        "dataset": pa.repeat(pa.scalar(record.dataset), len(numbers)),
        "row": pa.array(numbers, pa.int64()),
    }
    columns |= {name: beside.column(name) for name in beside.column_names}
    columns["prediction"] = pa.array(said, kind)
    if given.scores:
        scores = np.concatenate(given.scores).T
        names = [name_of(label) for label in model.classes(len(scores))]
        columns["scores"] = pa.StructArray.from_arrays([pa.array(np.ascontiguousarray(s)) for s in scores], names)
    return pa.table(columns)


def _some(raw: Any, start: int, stop: int) -> Any:
    return {name: cells[start:stop] for name, cells in raw.items()} if isinstance(raw, dict) else raw[start:stop]


def _values(made: dict[str, Array]) -> int:
    """How many numbers the graph takes of a row."""
    return sum(array.size for array in made.values())
