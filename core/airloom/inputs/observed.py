"""What the rows of a training were like, and which rows that are asked for are not."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from airloom.classes import name_of
from airloom.inputs.cells import Cells, category, numbers
from airloom.inputs.declared import InputProcessing

Ranges = Mapping[str, tuple[float, float]]


def ranged(parts: Mapping[str, InputProcessing]) -> list[str]:
    """The columns that may have a range: those that become numbers by themselves.

    Args:
        parts: what goes before each input, by its name.
    """
    plain = [
        (name, part)
        for name, part in parts.items()
        if not (part.tokenizer or part.categories or part.picture or part.mask or part.pixels)
    ]
    return list(dict.fromkeys(column for name, part in plain for column in part.needs(name)))


def outside(columns: Mapping[str, Cells], parts: Mapping[str, InputProcessing], observed: Ranges) -> int:
    """How many rows have a number beyond those of the training, or a category that it has not seen.

    A missing cell is none of both. The cells were judged before.

    Args:
        columns: cells by column, equally many of each.
        parts: what goes before each input, by its name.
        observed: smallest and largest value by column.
    """
    rows = np.zeros(len(next(iter(columns.values()))), bool)
    for name, bounds in observed.items():
        if name in columns:
            low, high = np.array(bounds, np.float32)  # as the graph gets it: the data may have no more digits
            values = numbers(columns[name]).astype(np.float32)
            rows |= (values < low) | (values > high)
    for part in parts.values():
        for name, places in part.vocabularies.items():
            rows |= [_is_new(cell, place, places) for place, cell in enumerate(columns[name])]
    return int(rows.sum())


def _is_new(cell: Any, place: int, places: Mapping[str, int]) -> bool:
    value = category(cell, place)
    return value is not None and name_of(value) not in places
