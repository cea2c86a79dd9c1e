"""Rows with columns, for a model of several named inputs: a list of objects, as JSON or Python have them."""

from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from airloom.errors import DataError, InstancesRefused
from airloom.inference.instances import Instances
from airloom.inference.limits import MOST_PIXELS, rows_at_once
from airloom.inputs.cells import DEEPEST, Cells, called, sizes
from airloom.inputs.declared import InputProcessing
from airloom.inputs.observed import outside
from airloom.inputs.prepare import Rows, needed, prepare
from airloom.names import near
from airloom.processing import Processing
from airloom.signature import Port, Signature

Array = np.ndarray[Any, Any]
_PLAIN = InputProcessing()


@dataclass(frozen=True)
class Column:
    """What a row has under one name.

    Attributes:
        name: of it.
        kind: `text`, `picture`, `category`, `number`, or the type of the input that it is as it stands.
        shape: of its value; an open dimension has a name.
    """

    name: str
    kind: str
    shape: tuple[int | str, ...] = ()

    def __str__(self) -> str:
        """For a message."""
        return f"{self.name}: {self.kind}{' ' + sizes(self.shape) if self.shape else ''}"


@dataclass(frozen=True)
class ColumnSignature:
    """What a model takes whose rows have columns."""

    model: str
    graph: Signature
    processing: Processing

    @cached_property
    def parts(self) -> dict[str, InputProcessing]:
        """What goes before each input of the graph."""
        return self.processing.parts(self.graph)

    @cached_property
    def columns(self) -> list[str]:
        """The names of a row's columns."""
        return needed(self.graph, self.parts)

    @cached_property
    def described(self) -> list[Column]:
        """The columns with what they hold, each once."""
        found: dict[str, Column] = {}
        for port in self.graph.inputs:
            part = self._part(port)
            for name in part.needs(port.name):
                found.setdefault(name, Column(name, *_kind(port, part)))
        return list(found.values())

    @cached_property
    def pictures(self) -> set[str]:
        """The columns that hold picture files."""
        return {column.name for column in self.described if column.kind == "picture"}

    @property
    def values(self) -> int:
        """How many numbers an instance becomes at least."""
        return sum(port.values * (self._part(port).length or 1 if port.is_open else 1) for port in self.graph.inputs)

    @property
    def wanted(self) -> str:
        """For a message."""
        told = ", ".join(map(str, self.described[:20])) + (", …" if len(self.described) > 20 else "")
        return f"a list of objects with {told}" if len(self.columns) > 1 else f"a list of {told}"

    def judge(self, instances: Any, first: int = 0) -> "ColumnInstances":
        """The instances, each with the columns that the model takes and no others.

        Args:
            instances: as JSON has them; of a model of one column also its bare values.
            first: the place of the first of them, where they are a part of more.

        Raises:
            InstancesRefused: one of them is not; it is named by its place, counted from 0.
        """
        if not isinstance(instances, list) or not instances:
            raise InstancesRefused(f"{self.model} takes {self.wanted}; there are none")
        columns: dict[str, list[Any]] = {name: [] for name in self.columns}
        for place, instance in enumerate(instances, first):
            row = instance
            if not isinstance(instance, Mapping):
                if len(self.columns) > 1:
                    raise self._refused(f"instance {place} is {called(type(instance))}", row=place)
                row = {self.columns[0]: instance}
            elif instance.keys() != columns.keys():
                raise self._misfit(instance, place)
            for name, cells in columns.items():
                cells.append(self._file(row[name], place, name) if name in self.pictures else row[name])
        return self.judge_columns(columns, first)

    def judge_columns(self, columns: Mapping[str, Cells], first: int = 0) -> "ColumnInstances":
        """The same of rows that stand by column.

        Args:
            columns: cells by column; others may be there.
            first: the place of the first row.

        Raises:
            InstancesRefused: a column is missing.
        """
        for name in self.columns:
            if name not in columns:
                there = [str(other) for other in columns]
                hint = f"{near(name, there)}there are {', '.join(map(ascii, there[:20]))}"
                raise self._refused(f"there is no column {name[:80]!a}", hint, input=name[:80])
        return ColumnInstances(self, {name: columns[name] for name in self.columns}, first)

    def width(self, columns: Mapping[str, Cells]) -> int:
        """How many numbers the longest of these rows becomes; at least 1."""
        width = 0
        for port in self.graph.inputs:
            part = self._part(port)
            length = part.length or 1
            if port.is_open and not part.tokenizer:
                source = part.mask or port.name
                names = self.parts.get(source, _PLAIN).needs(source)
                length = max([1, *(_count(cell) for cell in columns.get(names[0], ()))]) if names else 1
                width += length
            else:
                width += port.values * (length if port.is_open else 1)
        return max(1, width)

    def _part(self, port: Port) -> InputProcessing:
        return self.parts.get(port.name, _PLAIN)

    def _refused(self, problem: str, hint: str = "", **known: Any) -> InstancesRefused:
        return InstancesRefused(f"{self.model} takes {self.wanted}; {problem}", hint, **known)

    def _misfit(self, instance: Mapping[str, Any], place: int) -> InstancesRefused:
        """Which column one instance lacks, or has too many."""
        extra = [str(name) for name in instance if name not in self.columns]
        for name in self.columns:
            if name not in instance:
                hint, name = near(name, extra).rstrip(), name[:80]
                return self._refused(f"instance {place} has no {name!a}", hint, row=place, input=name)
        hint, name = near(extra[0], self.columns).rstrip() or "leave it out", extra[0][:80]
        problem = f"instance {place} has {name!a}, which the model does not take"
        return self._refused(problem, hint, row=place, input=name)

    def _file(self, cell: Any, place: int, name: str) -> Any:
        """The bytes of a picture file, which JSON has in base64."""
        if not isinstance(cell, str):
            return cell
        try:
            return b64decode(cell, validate=True)
        except ValueError:
            problem = f"instance {place}: {name[:80]!a} is no base64"
            raise self._refused(problem, row=place, input=name[:80]) from None


class ColumnInstances(Instances):
    """Rows by column, which become arrays only when their turn comes: those take far more room.

    Args:
        signature: of the model.
        columns: cells by column.
        first: the place of the first row.
    """

    def __init__(self, signature: ColumnSignature, columns: Mapping[str, Cells], first: int) -> None:
        width = signature.width(columns)
        super().__init__(len(next(iter(columns.values()))), first, width)
        self._signature, self._columns = signature, columns
        self.heavy = bool(signature.pictures)

    @property
    def cells(self) -> Mapping[str, Cells]:
        """See `Instances`."""
        return self._columns

    @property
    def outside(self) -> int:
        """See `Instances`."""
        return outside(self._columns, self._signature.parts, self._signature.processing.observed)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        size, asked = rows_at_once(self.width), self._signature
        for at in range(0, self.rows, size):
            part = {name: cells[at : at + size] for name, cells in self._columns.items()}
            rows = Rows("instance", self.first + at, MOST_PIXELS)
            try:
                yield prepare(asked.graph, asked.parts, part, rows)
            except DataError as error:
                message = f"{asked.model} takes {asked.wanted}; {error.message}"
                raise InstancesRefused(message, error.hint, **error.where) from None


def _kind(port: Port, part: InputProcessing) -> tuple[str, tuple[int | str, ...]]:
    if part.tokenizer:
        return "text", ()
    if part.picture:
        return "picture", ()
    if part.categories:
        return "category", ()
    if part.numbers or len(part.columns) > 1:
        return "number", ()
    return port.dtype, port.row


def _count(cell: Any) -> int:
    """How many values a nest of lists holds."""
    if isinstance(cell, np.ndarray):
        return cell.size
    count, level = 0, [cell]
    for _ in range(DEEPEST):  # what is deeper is refused anyway
        lists = [part for part in level if isinstance(part, list)]
        count += len(level) - len(lists)
        level = list(chain.from_iterable(lists))
    return count + len(level)
