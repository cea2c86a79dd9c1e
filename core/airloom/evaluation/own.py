"""Metrics of one's own: `evaluate: {metrics: path.py:function}`.

The function gets `outputs`, what the graph gave to the rows by name, (n, …); `labels`, as the model was trained on them
(a class is the number of its output, -1 one that the model does not know); and `rows`, the dataset's flat columns by
name, (n,). It returns a value for each row, or one number of them all. More is better.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from airloom.errors import AirloomError, ConfigError, GateError
from airloom.project.functions import load_function
from airloom.project.place import own_line
from airloom.tasks.rows import Answered, Array
from airloom.tasks.whole import Weighted

VALUES, OUTPUT, LABELS, ROW = "own.", "own-output.", "own-labels", "own-row."  # names of what rows keep
LARGEST = 2**28  # bytes of all answers of a model, where a function wants all rows at once


@dataclass(frozen=True)
class OwnMetric:
    """A function of the project.

    Attributes:
        name: of the function, and so of the metric.
        reference: `path.py:function`.
        function: (outputs, labels, rows) -> a value for each row, or one number.
    """

    name: str
    reference: str
    function: Callable[..., Any]

    def __call__(self, outputs: Mapping[str, Array], labels: Any, rows: Mapping[str, Array]) -> "float | Array":
        """What the function gives, checked.

        Raises:
            GateError: it raises, or gives NaN, infinity or another number of values.
        """
        count = len(next(iter(outputs.values())))
        try:
            values = np.asarray(self.function(dict(outputs), labels, dict(rows)), np.float64)
        except AirloomError as error:
            raise GateError(f"{self.reference}: {error.message}", error.hint) from None
        except Exception as error:
            file = getattr(getattr(self.function, "__code__", None), "co_filename", "")
            message = f"{self.reference} raised {type(error).__name__}: {str(error)[:200]} ({own_line(error, file)})"
            raise GateError(message, "it is called with outputs, labels, rows; see docs/how-to/tasks.md") from error
        if values.shape not in ((), (count,)):
            message = f"{self.reference} returned values of shape {values.shape} for {count} rows"
            raise GateError(message, "return a value for each row, or one number of all")
        if not np.isfinite(values).all():
            bad = int(np.flatnonzero(~np.isfinite(values.reshape(-1)))[0])
            of = f"{values.reshape(-1)[bad]} for row {bad}" if values.ndim else f"{float(values)} for {count} rows"
            raise GateError(f"{self.reference} returned {of}", "return finite numbers")
        return values if values.ndim else float(values)

    # -- of rows that were kept, as a metric of all rows

    def value(self, rows: Answered) -> float:
        """See `airloom.tasks.whole.Whole`."""
        return self._of(rows, np.arange(len(rows)))

    def weighted(self, rows: Answered) -> Weighted:
        """See `airloom.tasks.whole.Whole`: rows come as often as they weigh, which are whole numbers."""
        places = np.arange(len(rows))
        return lambda weights: np.array([self._of(rows, places.repeat(row.astype(np.int64))) for row in weights])

    def _of(self, rows: Answered, places: Array) -> float:
        kept = rows.answers.kept
        outputs = {name.removeprefix(OUTPUT): kept[name][places] for name in kept if name.startswith(OUTPUT)}
        columns = {name.removeprefix(ROW): kept[name][places] for name in kept if name.startswith(ROW)}
        if not outputs:
            raise GateError(f"the rows keep no answers for {self.reference}", "clear `evaluate`")
        found = self(outputs, kept[LABELS][places], columns)
        if isinstance(found, float):
            return found
        message = f"{self.reference} returned one number before, and now a value for each row"
        raise GateError(message, "return always the same kind")


def load(project: Path, references: Mapping[str, str]) -> dict[str, OwnMetric]:
    """The functions by the name of their metric.

    Raises:
        ConfigError: one is not there.
    """
    found = {}
    for name, reference in references.items():
        try:
            found[name] = OwnMetric(name, reference, load_function(project, reference))
        except ConfigError as error:
            raise ConfigError(error.message.replace("train: ", "evaluate.metrics: ", 1), error.hint) from None
    return found


def kept(
    own: Mapping[str, OwnMetric], outputs: Mapping[str, Array], labels: Any, rows: Mapping[str, Array]
) -> dict[str, Array]:
    """What the rows keep for the functions: the values of each row, or else everything that the function gets.

    Raises:
        GateError: a function is refused, or it wants all rows at once and they are too large for that.
    """
    values: dict[str, Array] = {}
    wholes = list[OwnMetric]()
    for name, metric in own.items():
        found = metric(outputs, labels, rows)
        if isinstance(found, float):
            wholes.append(metric)
        else:
            values[f"{VALUES}{name}"] = found
    if not wholes:
        return values
    if not isinstance(labels, np.ndarray):
        message = f"{wholes[0].reference} returned one number of all rows, whose labels have no common shape"
        raise GateError(message, "return a value for each row")
    every = [*outputs.values(), labels, *rows.values()]
    if (size := sum(cells.nbytes for cells in every)) > LARGEST:
        message = f"{wholes[0].reference} returned one number of all rows, whose answers have {size / 1e6:.0f} MB"
        raise GateError(message, f"return a value for each row; at most {LARGEST / 1e6:.0f} MB are kept for the gate")
    values |= {f"{OUTPUT}{name}": cells for name, cells in outputs.items()}
    return values | {LABELS: labels} | {f"{ROW}{name}": cells for name, cells in rows.items()}
