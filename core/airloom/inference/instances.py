"""Raw rows for a model: what they are is judged before an array is made of them.

numpy would be judge and array at once, and takes memory by the longest text for each of ten thousand cells.
"""

from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import prod
from struct import error as struct_error
from struct import pack
from typing import Any

import numpy as np

from airloom.errors import DataError, InstancesRefused
from airloom.inference.limits import MOST_PIXELS, RUN_VALUES, rows_at_once
from airloom.inputs.cells import Cells, called, shape_of
from airloom.processing import Processing
from airloom.signature import Port

Array = np.ndarray[Any, Any]


class TooMany(InstancesRefused):
    """They would fit, and are too many at once."""


@dataclass(frozen=True)
class InputSignature:
    """What a model takes: numbers of a shape, texts where its processing has a tokeniser, or picture files."""

    model: str
    shape: tuple[int, ...]  # of one instance as the graph takes it
    processing: Processing
    whole: bool  # whole numbers only: tokens
    port: Port  # of the graph

    def judge(self, instances: Any, first: int = 0, *, no_booleans: bool = False) -> "Instances":
        """The instances, each of the right kind and shape.

        Args:
            instances: as JSON has them.
            first: the place of the first of them, where they are a part of more.
            no_booleans: whether it is known that none is among them: to look at each number costs as much as to read it

        Raises:
            InstancesRefused: one of them is not; it is named by its place, counted from 0.
        """
        if not isinstance(instances, list) or not instances:
            raise InstancesRefused(f"{self.model} takes {self.wanted}; there are none")
        if self.processing.picture is not None:
            files = [self._file(cell, place) for place, cell in enumerate(instances, first)]
            return Pictures(self.port, files, self.processing, self.values, first)
        if self.processing.tokenise is None:
            return Numbers(self.port, self._numbers(instances, first, no_booleans), first)
        for place, kind in enumerate(map(type, instances), first):
            if kind is not str:
                raise self._refused(f"instance {place} is {called(kind)}", row=place)
        return Texts(self.port, instances, self.processing, self.values, first)

    def judge_array(self, instances: Array, first: int = 0) -> "Instances":
        """The same of an array of one row or more, of which no lists are made.

        Args:
            instances: (n, …).
            first: the place of the first of them.

        Raises:
            InstancesRefused: as above, in the same words.
        """
        kind, wide = instances.dtype.kind, instances.dtype == np.uint64  # not all of which an int64 holds
        if kind in "mMV":  # numpy would give times as numbers
            raise self._refused(f"instance {first} holds {instances.dtype}", row=first)
        numbers = self.processing.tokenise is None and self.processing.picture is None
        if not numbers or instances.shape[1:] != self.shape or kind not in ("iu" if self.whole else "iuf"):
            return self.judge(instances.tolist(), first)
        if self.whole:
            return self.judge(instances.tolist(), first) if wide else self._made(instances.astype(np.int64), first)
        if instances.dtype == np.float32 and self.processing.pixels is None and np.isfinite(instances).all():
            return self._made(instances, first)  # as they came, which is what the way below makes of them
        floats = self._floats(instances.reshape(-1).astype(np.float64), len(instances), first)
        return self._made(floats.reshape(instances.shape), first)

    def _made(self, values: Array, first: int) -> "Numbers":
        return Numbers(self.port, values, first)

    @cached_property
    def values(self) -> int:
        """How many numbers an instance becomes; at least 1."""
        return max(1, prod(self.shape))

    @property
    def wanted(self) -> str:
        """For a message."""
        if self.processing.tokenise is not None:
            return "a list of texts"
        if self.processing.picture is not None:
            return "a list of pictures: PNG, JPEG or WebP files, in base64 where JSON has them"
        shape = ", ".join(map(str, ("n", *self.shape))) + ("" if self.shape else ",")
        return f"instances of shape ({shape}) of {'whole ' if self.whole else ''}numbers"

    def _file(self, cell: Any, place: int) -> bytes:
        """The bytes of a picture file."""
        if isinstance(cell, bytes):
            return cell
        if type(cell) is not str:
            raise self._refused(f"instance {place} is {called(type(cell))}", row=place)
        try:
            return b64decode(cell, validate=True)
        except ValueError:
            raise self._refused(f"instance {place} is no base64", row=place) from None

    def _numbers(self, instances: list[Any], first: int, no_booleans: bool) -> Array:
        """float32, or int64 for tokens, (n, *shape)."""
        if len(instances) * self.values <= RUN_VALUES:  # nearly always
            return self._part(instances, first, no_booleans).reshape(len(instances), *self.shape)
        made = np.empty((len(instances), *self.shape), np.int64 if self.whole else np.float32)
        size = max(1, RUN_VALUES // self.values)
        for at in range(0, len(instances), size):
            part = made[at : at + size]
            part[...] = self._part(instances[at : at + size], first + at, no_booleans).reshape(part.shape)
        return made

    def _part(self, instances: list[Any], first: int, no_booleans: bool) -> Array:
        """The numbers of some instances in one row."""
        cells: list[Any] = instances
        for size in self.shape:
            if set(map(type, cells)) != {list} or set(map(len, cells)) != {size}:
                raise self._misfit(instances, first)
            cells = cells[0] if len(cells) == 1 else list(chain.from_iterable(cells))
        if no_booleans and not self.whole and (packed := _packed(cells)) is not None:
            return self._floats(packed, len(instances), first)
        if not set(map(type, cells)) <= ({int} if self.whole else {int, float}):  # bool is another type than int
            raise self._misfit(instances, first)
        try:
            values = np.array(cells, np.int64 if self.whole else np.float64)
        except OverflowError:
            raise InstancesRefused(f"{self.model} takes whole numbers of 64 bits; these hold a larger one") from None
        return values if self.whole else self._floats(values, len(instances), first)

    def _floats(self, values: Array, rows: int, first: int) -> Array:
        """As float32, pixels as the graph takes them."""
        with np.errstate(over="ignore"):
            made = values.astype(np.float32)
        pixels = self.processing.pixels
        fits = pixels.holds(values) if pixels else np.isfinite(made)
        if not fits.all():
            place = int(np.argmin(fits))
            size = len(values) // rows
            where = f"instance {first + place // size} holds {values[place]:g}{self._column(place % size)}"
            known: dict[str, Any] = {"row": first + place // size, "input": self._input(place % size)}
            known["value"] = f"{values[place]:g}"
            if pixels:
                raise InstancesRefused(f"{where}; {pixels.wanted}", **known)
            raise InstancesRefused(f"{where}, which is NaN, infinity or too large for float32", **known)
        return pixels.as_graph(made) if pixels else made

    def _misfit(self, instances: list[Any], first: int) -> InstancesRefused:
        """What is wrong with the first instance that does not fit."""
        for place, instance in enumerate(instances):
            shape, kinds = shape_of(instance)
            name = self.port.name
            if shape is None:
                problem = f"instance {first + place} is ragged"
            elif shape != self.shape:
                problem = f"instance {first + place} has shape ({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
            elif wrong := kinds - ({int} if self.whole else {int, float}):
                kind = wrong.pop()
                column = ""
                if len(shape) == 1:
                    at = [type(cell) for cell in instance].index(kind)
                    column, name = self._column(at), self._input(at)
                problem = f"instance {first + place} holds {called(kind)}{column}"
            else:
                continue
            return self._refused(problem, row=first + place, input=name)
        raise AssertionError("each instance fits by itself")

    def _refused(self, problem: str, **known: Any) -> InstancesRefused:
        return InstancesRefused(f"{self.model} takes {self.wanted}; {problem}", **{"input": self.port.name, **known})

    def _column(self, place: int) -> str:
        """Of a table's cell, for a message; empty where the columns have no names."""
        return f" in the column {self._input(place)!a}" if self._has_columns else ""

    def _input(self, place: int) -> str:
        """The same name for programs; that of the input where the columns have none."""
        return self.columns[place][:80] if self._has_columns else self.port.name

    @property
    def _has_columns(self) -> bool:
        return len(self.columns) == self.values and len(self.shape) == 1

    @property
    def columns(self) -> list[str]:
        """The names of a table's columns in their order; empty where the model keeps none."""
        return list(self.processing.columns or self.processing.observed)


class Instances:
    """Judged instances, as arrays for the graph by input, a part at a time.

    Args:
        rows: how many.
        first: the place of the first of them.
        width: how many numbers the longest of them becomes.
    """

    heavy = False  # making their arrays takes far longer than reading them did

    def __init__(self, rows: int, first: int, width: int) -> None:
        self.rows, self.first, self.width = rows, first, width

    @property
    def outside(self) -> int:
        """How many have a column that is not as any in training was; asked when all of them were made arrays."""
        return 0

    @property
    def cells(self) -> Mapping[str, Cells]:
        """The rows by column, as they were judged."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[dict[str, Array]]:
        raise NotImplementedError


class Numbers(Instances):
    """An array that is there already: JSON takes more room than float32."""

    def __init__(self, port: Port, values: Array, first: int) -> None:
        super().__init__(len(values), first, values[0].size)
        self._port, self.values = port, values

    @property
    def cells(self) -> Mapping[str, Cells]:
        """See `Instances`."""
        return {self._port.name: self.values}

    def __iter__(self) -> Iterator[dict[str, Array]]:
        size = rows_at_once(self.width)
        for at in range(0, self.rows, size):
            part = self.values if self.rows <= size else self.values[at : at + size]
            yield {self._port.name: part if part.dtype == self._port.dtype else part.astype(self._port.dtype)}


class Texts(Instances):
    """Texts, which become token numbers only when their turn comes: those take far more room."""

    def __init__(self, port: Port, texts: list[str], processing: Processing, length: int, first: int) -> None:
        super().__init__(len(texts), first, length)
        self._port, self._texts, self._processing = port, texts, processing

    @property
    def cells(self) -> Mapping[str, Cells]:
        """See `Instances`."""
        return {self._port.name: self._texts}

    def __iter__(self) -> Iterator[dict[str, Array]]:
        size = rows_at_once(self.width)
        for at in range(0, self.rows, size):
            tokens = self._processing.single(self._texts[at : at + size])
            yield {self._port.name: tokens.astype(self._port.dtype, copy=False)}


class Pictures(Instances):
    """Picture files, which are decoded only when their turn comes: pixels take far more room."""

    heavy = True

    def __init__(self, port: Port, files: list[bytes], processing: Processing, values: int, first: int) -> None:
        super().__init__(len(files), first, values)
        self._port, self._files, self._processing = port, files, processing

    @property
    def cells(self) -> Mapping[str, Cells]:
        """See `Instances`."""
        return {self._port.name: self._files}

    def __iter__(self) -> Iterator[dict[str, Array]]:
        size = rows_at_once(self.width)
        for at in range(0, self.rows, size):
            try:
                part = self._processing.pictures(self._files[at : at + size], self.first + at, "instance", MOST_PIXELS)
            except DataError as error:
                raise InstancesRefused(error.message, error.hint) from None
            yield {self._port.name: part}


def _packed(cells: list[Any]) -> Array | None:
    """Numbers as float64, three times as fast as numpy reads a list; None where one is none, or too large."""
    try:
        return np.frombuffer(pack(f"{len(cells)}d", *cells))
    except (struct_error, OverflowError):
        return None
