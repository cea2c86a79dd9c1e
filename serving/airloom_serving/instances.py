"""The instances of a request: what they are is judged before an array is made of them.

numpy would be judge and array at once, and takes memory by the longest text for each of ten thousand cells.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from airloom.processing import Processing
from airloom_serving.limits import MOST_INSTANCES, MOST_VALUES, RUN_ROWS, RUN_VALUES

Array = np.ndarray[Any, Any]
DEEPEST = 32  # lists in lists that a message tells the shape of


class BadRequest(ValueError):
    """The request's instances do not fit the model; the message says which one, and what was expected."""

    status = 422


class TooMany(BadRequest):
    """They would fit, and are too many at once."""

    status = 413


@dataclass(frozen=True)
class InputSignature:
    """What a model takes: numbers of a shape, or texts where its processing has a tokeniser."""

    model: str
    shape: tuple[int, ...]  # of one instance as the graph takes it
    processing: Processing
    whole: bool  # whole numbers only: tokens

    def judge(self, instances: Any) -> "Instances":
        """The instances, each of the right kind and shape.

        Raises:
            BadRequest: one of them is not; it is named by its place, counted from 0.
            TooMany: a request may hold fewer.
        """
        if not isinstance(instances, list) or not instances:
            raise BadRequest(f"{self.model} takes {self.wanted}; there are none")
        if len(instances) > MOST_INSTANCES:
            raise TooMany(f"at most {MOST_INSTANCES} instances a request; these are {len(instances)}")
        values = max(1, prod(self.shape))
        if len(instances) * values > MOST_VALUES:
            raise TooMany(
                f"at most {max(1, MOST_VALUES // values)} instances a request, as each becomes {values} numbers; "
                f"these are {len(instances)}"
            )
        if self.processing.tokenise is None:
            return Numbers(self._numbers(instances))
        for place, kind in enumerate(map(type, instances)):
            if kind is not str:
                raise BadRequest(f"{self.model} takes {self.wanted}; instance {place} is {_called(kind)}")
        return Texts(instances, self.processing, values)

    @property
    def wanted(self) -> str:
        """For a message."""
        if self.processing.tokenise is not None:
            return "a list of texts"
        shape = ", ".join(map(str, ("n", *self.shape))) + ("" if self.shape else ",")
        return f"instances of shape ({shape}) of {'whole ' if self.whole else ''}numbers"

    def _numbers(self, instances: list[Any]) -> Array:
        """float32, or int64 for tokens, (n, *shape)."""
        made = np.empty((len(instances), *self.shape), np.int64 if self.whole else np.float32)
        size = max(1, RUN_VALUES // max(1, prod(self.shape)))
        for at in range(0, len(instances), size):
            part = made[at : at + size]
            part[...] = self._part(instances[at : at + size], at).reshape(part.shape)
        return made

    def _part(self, instances: list[Any], first: int) -> Array:
        """The numbers of some instances in one row."""
        cells: list[Any] = instances
        for size in self.shape:
            if set(map(type, cells)) != {list} or set(map(len, cells)) != {size}:
                raise self._misfit(instances, first)
            cells = list(chain.from_iterable(cells))
        if not set(map(type, cells)) <= ({int} if self.whole else {int, float}):  # bool is another type than int
            raise self._misfit(instances, first)
        try:
            values = np.array(cells, np.int64 if self.whole else np.float64)
        except OverflowError:
            raise BadRequest(f"{self.model} takes whole numbers of 64 bits; these hold a larger one") from None
        return values if self.whole else self._floats(values, len(instances), first)

    def _floats(self, values: Array, rows: int, first: int) -> Array:
        """As float32, pixels as the graph takes them."""
        with np.errstate(over="ignore"):
            made = values.astype(np.float32)
        pixels = self.processing.pixels
        fits = pixels.holds(values) if pixels else np.isfinite(made)
        if not fits.all():
            place = int(np.argmin(fits))
            where = f"instance {first + place // (len(values) // rows)} holds {values[place]:g}"
            if pixels:
                raise BadRequest(f"{where}; {pixels.wanted}")
            raise BadRequest(f"{where}, which is NaN, infinity or too large for float32")
        return pixels.as_graph(made) if pixels else made

    def _misfit(self, instances: list[Any], first: int) -> BadRequest:
        """What is wrong with the first instance that does not fit."""
        for place, instance in enumerate(instances):
            shape, kinds = _shape(instance)
            if shape is None:
                problem = f"instance {first + place} is ragged"
            elif shape != self.shape:
                problem = f"instance {first + place} has shape ({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
            elif wrong := kinds - ({int} if self.whole else {int, float}):
                problem = f"instance {first + place} holds {_called(wrong.pop())}"
            else:
                continue
            return BadRequest(f"{self.model} takes {self.wanted}; {problem}")
        raise AssertionError("each instance fits by itself")


class Instances:
    """Judged instances, as arrays for the graph, a part at a time."""

    rows: int

    def __iter__(self) -> Iterator[Array]:
        raise NotImplementedError


class Numbers(Instances):
    """An array that is there already: JSON takes more room than float32."""

    def __init__(self, values: Array) -> None:
        self.rows, self.values = len(values), values

    def __iter__(self) -> Iterator[Array]:
        size = _rows_at_once(self.values[0].size)
        return (self.values[at : at + size] for at in range(0, self.rows, size))


class Texts(Instances):
    """Texts, which become token numbers only when their turn comes: those take far more room."""

    def __init__(self, texts: list[str], processing: Processing, length: int) -> None:
        self.rows, self._texts, self._processing, self._length = len(texts), texts, processing, length

    def __iter__(self) -> Iterator[Array]:
        size = _rows_at_once(self._length)
        return (self._processing.inputs(self._texts[at : at + size]) for at in range(0, self.rows, size))


def _rows_at_once(values: int) -> int:
    return min(RUN_ROWS, max(1, RUN_VALUES // max(1, values)))


def _shape(instance: Any) -> tuple[tuple[int, ...] | None, set[type]]:
    """Its shape, None where it is ragged, and the types of its cells."""
    shape: list[int] = []
    cells = [instance]
    while len(shape) < DEEPEST:
        kinds = set(map(type, cells))
        if list not in kinds:
            return tuple(shape), kinds
        if kinds != {list} or len(sizes := set(map(len, cells))) != 1:
            return None, kinds
        shape.append(sizes.pop())
        cells = list(chain.from_iterable(cells))
    return tuple(shape), {list}


def _called(kind: type) -> str:
    names = {str: "text", bool: "true or false", type(None): "null", dict: "an object", list: "a list"}
    return names.get(kind, "a number with a fraction" if kind is float else "a number")
