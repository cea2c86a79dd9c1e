"""The columns of rows as arrays for a graph: what training, evaluation, server and `load_model` all call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from airloom.errors import ConfigError, DataError
from airloom.inputs import cells as cell
from airloom.inputs.cells import CellRefused, Cells, sizes
from airloom.inputs.declared import InputProcessing
from airloom.inputs.pixels import Pixels
from airloom.names import near
from airloom.pictures import MOST_PIXELS
from airloom.signature import Port, Signature

Array = np.ndarray[Any, Any]
_PLAIN = InputProcessing()
_PAD = "say what fills up shorter ones: Processing(inputs={{{name!r}: InputProcessing(pad=0)}}); or ask row by row"


@dataclass(frozen=True)
class Rows:
    """What rows are called in messages.

    Attributes:
        kind: `row` or `instance`.
        first: the number of the first.
        most_pixels: that are decoded of one picture.
    """

    kind: str = "row"
    first: int = 0
    most_pixels: int = MOST_PIXELS

    def refused(self, place: int, name: str, problem: str, hint: str = "") -> DataError:
        """The error of one row."""
        row = int(self.first + place)
        return DataError(f"{self.kind} {row}: {name[:80]!a} {problem}", hint, row=row, input=name[:80])


def needed(signature: Signature, declared: Mapping[str, InputProcessing]) -> list[str]:
    """The columns that a row must have, each once.

    Args:
        signature: of the graph.
        declared: what goes before each input, by its name.
    """
    names = [name for port in signature.inputs for name in declared.get(port.name, _PLAIN).needs(port.name)]
    return list(dict.fromkeys(names))


def check(signature: Signature, declared: Mapping[str, InputProcessing]) -> None:
    """Refuse what does not go with the graph, before any row is there.

    Args:
        signature: of the graph.
        declared: what goes before each input, by its name.

    Raises:
        ConfigError: it is about an input that there is not, or that is of another size.
    """
    names = [port.name for port in signature.inputs]
    for name, part in declared.items():
        where = f"Processing(inputs=…): {name[:80]!a}"
        if name not in names:
            raise ConfigError(f"{where} is no input of the model", f"{near(name, names)}it takes {', '.join(names)}")
        if part.mask and (part.mask not in names or declared.get(part.mask, _PLAIN).mask):
            others = [other for other in names if not declared.get(other, _PLAIN).mask]
            hint = f"{near(part.mask, others)}name one of {', '.join(others)}"
            raise ConfigError(f"{where} is the mask of {part.mask[:80]!a}, which is no input that is given", hint)
        row = signature.input(name).row
        fixed = row[0] if row and isinstance(row[0], int) else None
        if part.pad is not None and len(row) == 0:
            raise ConfigError(f"{where} is one value a row: there is nothing to fill up", "leave `pad` out")
        if part.length and fixed and part.length > fixed:
            raise ConfigError(f"{where}: texts have up to {part.length} tokens, the model takes {fixed}", "cut there")
        count = len(part.needs(name))
        if (part.categories or part.numbers) and fixed and fixed != count:
            raise ConfigError(f"{where} is made of {count} columns, the model takes {fixed}", "name as many")
        if part.tokenizer:
            _ = part.encoder  # which says whether it can be read


def columns_of(raw: Any, signature: Signature, declared: Mapping[str, InputProcessing]) -> Mapping[str, Cells]:
    """Rows as a dataset's type gives them, by column.

    Args:
        raw: by column already, or the one thing that each row is.
        signature: of the graph.
        declared: what goes before each input, by its name.

    Raises:
        DataError: there is one thing, and the model takes several columns; or a column is missing.
    """
    names = needed(signature, declared)
    if not isinstance(raw, Mapping):
        if len(names) != 1:
            message = f"the model takes the columns {', '.join(names)}, and these rows have no columns"
            raise DataError(message, "say of which column each input is: Processing(inputs={…})")
        return {names[0]: raw}
    if missing := [name for name in names if name not in raw]:
        raise DataError(f"there is no column {', '.join(missing)}", f"there are {', '.join(raw)}")
    return raw


def prepare(
    signature: Signature, declared: Mapping[str, InputProcessing], columns: Mapping[str, Cells], rows: Rows
) -> dict[str, Array]:
    """What the graph takes, by input.

    Args:
        signature: of the graph.
        declared: what goes before each input, by its name.
        columns: cells by column, equally many of each.
        rows: how messages call them.

    Raises:
        DataError: a cell cannot be taken; names the row, the input or column, and the value.
    """
    parts, lengths = dict[str, Array | list[Array]](), dict[str, list[int]]()
    for port in signature.inputs:
        part = declared.get(port.name, _PLAIN)
        if not part.mask:
            parts[port.name] = values = _made(port, part, columns, rows)
            lengths[port.name] = [len(row) if row.ndim else 1 for row in values]
    made: dict[str, Array] = {}
    for port in signature.inputs:
        part = declared.get(port.name, _PLAIN)
        if not part.mask:
            longest = _longest(port, signature, declared, lengths)
            made[port.name] = _filled(port, part, parts[port.name], longest, rows)
    for port in signature.inputs:
        if mask := declared.get(port.name, _PLAIN).mask:
            there = np.arange(made[mask].shape[1]) < np.array(lengths[mask])[:, None]
            made[port.name] = there.astype(port.dtype)
    _check_open(signature, made)
    return {port.name: made[port.name] for port in signature.inputs}


def _made(port: Port, part: InputProcessing, columns: Mapping[str, Cells], rows: Rows) -> Array | list[Array]:
    """One array, or one a row where they have several lengths."""
    names = part.needs(port.name)
    name = names[0]
    try:
        if part.tokenizer:
            return _tokens(port, part, cell.texts(columns[name]))
        if part.picture:
            files = _files(columns[name])
            return part.picture.frames(files, rows.first, rows.kind, rows.most_pixels) / np.float32(255)
        if part.categories or part.numbers or len(names) > 1:
            stacked = []
            for name in names:
                stacked.append(_column(part, name, columns[name]))
            values = stacked[0] if len(stacked) == 1 and not port.row else np.stack(stacked, axis=1)
            return cell.tensors(values, port)
        wanted = port if part.pad is None else replace(port, shape=(port.shape[0], "length", *port.row[1:]))
        return _ranged(part, cell.tensors(columns[name], wanted), columns[name])
    except CellRefused as error:
        raise rows.refused(error.place, name, error.problem, error.hint) from None


def _column(part: InputProcessing, name: str, cells: Cells) -> Array:
    """One column as numbers, (n,)."""
    if part.categories:
        return cell.categories(cells, part.vocabularies[name])
    values = cell.numbers(cells)
    if scale := part.numbers.get(name):
        return np.nan_to_num((values - scale.mean) / scale.deviation, nan=0.0)  # a missing cell is the mean
    if len(gaps := np.flatnonzero(np.isnan(values))):
        raise CellRefused(int(gaps[0]), "is missing", "of InputProcessing(numbers=…) a missing cell is the mean")
    return values


def _tokens(port: Port, part: InputProcessing, texts: Sequence[str]) -> list[Array]:
    return [np.array(encoded.ids, port.dtype) for encoded in part.encoder.encode_batch(list(texts))]


def _files(cells: Cells) -> list[bytes]:
    for place, file in enumerate(cells):
        if not isinstance(file, bytes | memoryview):
            raise CellRefused(place, f"is {cell.called(type(file))}, and no picture file")
    return list(cells)


def _ranged(part: InputProcessing, values: Array | list[Array], cells: Cells) -> Array | list[Array]:
    """Pixels in the range that the graph takes, 0..1."""
    if part.pixels is None:
        return values
    if isinstance(cells, np.ndarray) and cells.dtype == np.uint8:
        return np.asarray(values) / np.float32(255)
    for place, row in enumerate(values):
        if not (fits := part.pixels.holds(row)).all():
            raise CellRefused(place, f"holds {row[~fits][0]:g}; {part.pixels.wanted}")
    bytes_ = part.pixels is Pixels.BYTES
    return [part.pixels.as_graph(row) for row in values] if bytes_ else values


def _longest(
    port: Port, signature: Signature, declared: Mapping[str, InputProcessing], lengths: Mapping[str, list[int]]
) -> int:
    """The length that shorter rows are filled up to: a fixed one, else the longest of all that share the dimension."""
    if not port.row or isinstance(port.row[0], int):
        return port.row[0] if port.row and isinstance(port.row[0], int) else 1
    sharing = [
        other.name
        for other in signature.inputs
        if other.row and other.row[0] == port.row[0] and declared.get(other.name, _PLAIN).pad is not None
    ]
    return max([1, *(length for name in {*sharing, port.name} if name in lengths for length in lengths[name])])


def _filled(port: Port, part: InputProcessing, values: Array | list[Array], longest: int, rows: Rows) -> Array:
    """One array (n, …)."""
    uneven = isinstance(values, list) or (values.ndim > 1 and values.shape[1] != longest)
    if not uneven or not port.row:
        return np.asarray(values)
    if part.pad is None:
        shapes = [row.shape for row in values]
        place = next((place for place, shape in enumerate(shapes) if shape != shapes[0]), None)
        if place is None:
            return np.asarray(values)
        problem = f"has the shape {sizes(shapes[place])}, and {rows.kind} {rows.first} has {sizes(shapes[0])}"
        raise rows.refused(place, port.name, problem, _PAD.format(name=port.name))
    rest = {row.shape[1:] for row in values}
    if len(rest) > 1:
        raise rows.refused(0, port.name, "differs from other rows in more than its length")
    if too := [place for place, row in enumerate(values) if len(row) > longest]:
        raise rows.refused(too[0], port.name, f"has {len(values[too[0]])} values, and the model takes {longest}")
    made = np.full((len(values), longest, *(rest.pop() if rest else ())), part.pad, port.dtype)
    for place, row in enumerate(values):
        made[place, : len(row)] = row
    return made


def _check_open(signature: Signature, made: Mapping[str, Array]) -> None:
    """A dimension that has one name has one size in all inputs."""
    known: dict[str, tuple[str, int]] = {}
    for port in signature.inputs:
        for place, name in enumerate(port.shape):
            if isinstance(name, str):
                other, size = known.setdefault(name, (port.name, made[port.name].shape[place]))
                if size != (here := made[port.name].shape[place]):
                    message = f"{port.name[:80]!a} has {here} values in the dimension {name!a}, {other[:80]!a} {size}"
                    raise DataError(message, "give both the same; or let Processing(inputs=…) fill them up with `pad`")
