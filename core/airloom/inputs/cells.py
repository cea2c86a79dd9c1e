"""The cells of one column as numbers, each judged first: numpy would turn text, null and lists into something."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from airloom.classes import name_of
from airloom.signature import Port

Array = np.ndarray[Any, Any]
Cells: TypeAlias = "Array | Sequence[Any]"
UNKNOWN = 0  # the number of a category never seen, and of a missing cell
DEEPEST = 32  # lists in lists that a message tells the shape of


class CellRefused(Exception):
    """One cell cannot be taken.

    Attributes:
        place: of its row, counted from 0.
        problem: what is wrong with it, in the form `is null`.
        hint: what to do.
    """

    def __init__(self, place: int, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.place, self.problem, self.hint = place, problem, hint


def plain(cells: Any) -> Cells:
    """Cells without torch: a tensor as an array."""
    return cells.numpy() if hasattr(cells, "numpy") else cells  # type: ignore[no-any-return]


def texts(cells: Cells) -> list[str]:
    """Texts; a missing one is empty."""
    made = []
    for place, cell in enumerate(cells):
        if not isinstance(cell, str | None):
            raise CellRefused(place, f"is {called(type(cell))}, and no text")
        made.append(cell or "")
    return made


def numbers(cells: Cells) -> Array:
    """float64 (n,), NaN for a missing cell."""
    if isinstance(cells, np.ndarray) and cells.ndim == 1 and cells.dtype.kind in "biuf":
        made: Array = cells.astype(np.float64)
    else:
        made = np.empty(len(cells))
        for place, cell in enumerate(cells):
            made[place] = _number(cell, place)
    if len(infinite := np.flatnonzero(np.isinf(made))):
        raise CellRefused(int(infinite[0]), f"holds {made[infinite[0]]:g}", "give a finite number, or null")
    return made


def categories(cells: Cells, places: Mapping[str, int]) -> Array:
    """int64 (n,): the place of each in a vocabulary, `UNKNOWN` for others and for a missing cell.

    Args:
        cells: text, whole numbers or booleans.
        places: by the name of the category.
    """
    made = np.full(len(cells), UNKNOWN, np.int64)
    for place, cell in enumerate(cells):
        value = category(cell, place)
        made[place] = UNKNOWN if value is None else places.get(name_of(value), UNKNOWN)
    return made


def category(cell: Any, place: int) -> str | int | None:
    """A cell as a category; None where it is missing. A whole number in a column with gaps came as a fraction."""
    value = cell.item() if isinstance(cell, np.generic) else cell
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if value is not None and not isinstance(value, str | int):
        raise CellRefused(place, f"is {called(type(cell))}, and no category")
    return value


def tensors(cells: Cells, port: Port) -> Array | list[Array]:
    """The cells in the type of an input: one array (n, …), or one array a row where they have several sizes."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "biuf":
        if len(cells) and not _fits(cells.shape[1:], port):
            raise CellRefused(0, _shaped(cells.shape[1:], port))
        return _typed(cells, port)
    rows = [_tensor(cell, port, place) for place, cell in enumerate(cells)]
    return np.stack(rows) if rows and len({row.shape for row in rows}) == 1 else rows


def shape_of(instance: Any) -> tuple[tuple[int, ...] | None, set[type]]:
    """The shape of a nest of lists, None where it is ragged, and the types of its cells."""
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


def called(kind: type) -> str:
    """A type for a message, as JSON calls it."""
    names = {str: "text", bool: "true or false", type(None): "null", dict: "an object", list: "a list"}
    names |= {float: "a number with a fraction", int: "a number"}
    return names.get(kind) or f"a value of the type {kind.__name__}"  # which no JSON has


def sizes(shape: Sequence[int | str]) -> str:
    """A shape for a message."""
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"


def _number(cell: Any, place: int) -> float:
    if cell is None:
        return np.nan
    if isinstance(cell, bool | np.bool_) or not isinstance(cell, int | float | np.number):
        raise CellRefused(place, f"is {called(type(cell))}, and no number")
    try:
        return float(cell)
    except OverflowError:
        raise CellRefused(place, "is too large a number") from None


def _fits(shape: Sequence[int], port: Port) -> bool:
    return len(shape) == len(port.row) and all(
        isinstance(wanted, str) or size == wanted for size, wanted in zip(shape, port.row, strict=True)
    )


def _shaped(shape: Sequence[int], port: Port) -> str:
    return f"has the shape {sizes(shape)}, and the model takes {sizes(port.row)}"


def _tensor(cell: Any, port: Port, place: int) -> Array:
    """One row's values."""
    if isinstance(cell, np.ndarray) and cell.dtype.kind in "biuf":
        if not _fits(cell.shape, port):
            raise CellRefused(place, _shaped(cell.shape, port))
        return _typed(cell, port, place)
    shape, kinds = shape_of(cell)
    if shape is None:
        raise CellRefused(place, "is ragged")
    wanted = {bool, int} if port.dtype == "bool" else {int} if port.is_whole else {int, float}
    empty = shape[-1:] == (0,) and len(shape) <= len(port.row)
    if not empty and (wrong := kinds - wanted):
        holds = "is" if not shape else "holds"
        raise CellRefused(place, f"{holds} {called(min(wrong, key=str))}, and the model takes {port.dtype}")
    if empty:
        shape = (*shape, *(size if isinstance(size, int) else 0 for size in port.row[len(shape) :]))
    if not _fits(shape, port):
        raise CellRefused(place, _shaped(shape, port))
    try:
        made = np.array(cell, np.int64 if port.is_whole or port.dtype == "bool" else np.float64).reshape(shape)
    except OverflowError:
        raise CellRefused(place, "holds a number of more than 64 bits") from None
    return _typed(made, port, place)


def _typed(values: Array, port: Port, place: int | None = None) -> Array:
    """The values in the type of the input, where nothing but digits of a fraction is lost."""
    if str(values.dtype) == port.dtype and values.dtype.kind != "f":
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        made = values.astype(port.dtype)
    wrong = ~np.isfinite(made) if made.dtype.kind == "f" else made != values
    if wrong.any():
        at = np.argwhere(wrong)[0]
        row, value = (int(at[0]) if place is None else place), values[tuple(at)]
        raise CellRefused(row, f"holds {value.item()}" + (f", which is no {port.dtype}" if np.isfinite(value) else ""))
    return made
