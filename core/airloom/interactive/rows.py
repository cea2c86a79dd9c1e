"""What a person has in a notebook, as the raw rows that the server takes: frames, arrays, pictures, lists."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError, DataError, InstancesRefused
from airloom.names import near

if TYPE_CHECKING:
    import numpy as np

    from airloom.inference.columns import ColumnSignature
    from airloom.inference.instances import InputSignature, Instances

_PLAIN = {int, float, str, bool, type(None)}


def judged(rows: Any, signature: "InputSignature | ColumnSignature") -> "Iterator[Instances]":
    """The rows, a part at a time: as many as the graph is given at once.

    Args:
        rows: a list (or what else can be gone through once) of raw rows, texts, arrays, pictures or paths of pictures;
            an array (n, …); a pandas series; a pandas frame or Arrow table, for a model of a table; of a model of
            several inputs dicts by column, or a frame or table.
        signature: of the model.

    Raises:
        InstancesRefused: a row does not fit the model.
        ConfigError: these are no rows.
    """
    from airloom.inference.columns import ColumnSignature
    from airloom.inference.limits import rows_at_once

    size, first = rows_at_once(signature.values), 0
    if isinstance(signature, ColumnSignature):
        yield from _by_column(rows, signature, size)
        return
    for part in _parts(rows, signature, size):
        yield signature.judge(part, first) if isinstance(part, list) else signature.judge_array(part, first)
        first += len(part)
    if not first:
        signature.judge([])


def _by_column(rows: Any, signature: "ColumnSignature", size: int) -> "Iterator[Instances]":
    """Rows with columns, or the bare values of the only one."""
    first = 0
    if _is(rows, "pyarrow", "Table"):
        rows = rows.to_pandas()
    if _is(rows, "pandas", "DataFrame"):
        for at in range(0, len(rows), size):
            part = rows.iloc[at : at + size]
            yield signature.judge_columns({name: _cells(part[name], name, signature) for name in part.columns}, at)
        first = len(rows)
    elif isinstance(rows, str | bytes | Mapping | Path) or not isinstance(rows, Iterable) or _is_picture(rows):
        kind = type(rows).__name__
        raise ConfigError(f"{signature.model} takes rows, and this is one {kind}", "of a single row give a list: [row]")
    else:
        left = iter(rows)
        while part := list(islice(left, size)):
            yield signature.judge([_object(row, first + at, signature) for at, row in enumerate(part)], first)
            first += len(part)
    if not first:
        signature.judge([])


def _cells(series: Any, name: Any, signature: "ColumnSignature") -> list[Any]:
    """The cells of a frame's column; what pandas calls missing is None, as in JSON."""
    values = [None if gap is True else cell for cell, gap in zip(series.tolist(), series.isna().tolist(), strict=True)]
    return [_cell(cell, place, name in signature.pictures) for place, cell in enumerate(values)]


def _object(row: Any, place: int, signature: "ColumnSignature") -> Any:
    if isinstance(row, Mapping):
        return {name: _cell(cell, place, name in signature.pictures) for name, cell in row.items()}
    return _cell(row, place, bool(signature.pictures))


def _cell(cell: Any, place: int, picture: bool) -> Any:
    """A value as JSON has it, an array, or the bytes of a picture."""
    if picture:
        return _file(cell, place) if isinstance(cell, str | Path) or _is_picture(cell) else cell
    if hasattr(cell, "__array__"):
        import numpy as np

        array = np.asarray(cell)
        return array if array.ndim and array.dtype.kind in "biuf" else array.tolist()
    return _plain(cell)


def _parts(rows: Any, signature: "InputSignature", size: int) -> Iterator[Any]:
    """Lists and arrays of at most `size` rows."""
    import numpy as np

    if _is(rows, "pyarrow", "Table"):
        rows = rows.to_pandas()
    if isinstance(rows, str | bytes | Mapping | Path) or not isinstance(rows, Iterable) or _is_picture(rows):
        kind = type(rows).__name__
        raise ConfigError(f"{signature.model} takes rows, and this is one {kind}", "of a single row give a list: [row]")
    if _is(rows, "pandas", "DataFrame"):
        yield from _of_frame(rows, signature, size)
    elif hasattr(rows, "__array__"):
        array = np.asarray(rows)
        if not array.ndim:
            raise ConfigError(f"{signature.model} takes rows, and this is one value", "of a single row give a list")
        yield from (array[at : at + size] for at in range(0, len(array), size))
    else:
        left, first = iter(rows), 0
        while part := [_raw(row, first + place, signature) for place, row in enumerate(islice(left, size))]:
            first += len(part)
            yield _together(part)


def _of_frame(frame: Any, signature: "InputSignature", size: int) -> Iterator["np.ndarray[Any, Any]"]:
    """The columns that the model takes, in its order; others may be there."""
    if signature.processing.tokenise or len(signature.shape) > 1:
        message = f"{signature.model} takes {signature.wanted}; a frame is for a model of a table's columns"
        raise DataError(message, "give one column of it, frame['text'], or a list of arrays or pictures")
    names, there = signature.columns or list(frame.columns), [str(name) for name in frame.columns]
    for name in names:
        if name not in frame.columns:
            message = f"{signature.model} takes the column {str(name)[:80]!a}, which the frame has not"
            raise DataError(message, f"{near(name, there)}it has {', '.join(map(ascii, there[:20]))}")
    chosen = frame[names]
    for at in range(0, len(frame), size):
        values = chosen.iloc[at : at + size].to_numpy()
        yield values[:, 0] if not signature.shape and len(names) == 1 else values


def _raw(row: Any, place: int, signature: "InputSignature") -> Any:
    """One row as JSON has it, or as an array."""
    pictures = len(signature.shape) > 1 and signature.processing.tokenise is None
    if isinstance(row, Path) or (pictures and isinstance(row, str)) or _is_picture(row):
        whole = signature.processing.picture is not None
        return _file(row, place) if whole else _pixels(row, place, signature)
    if isinstance(row, bytes):
        return row
    if hasattr(row, "__array__"):
        import numpy as np

        array = np.asarray(row)
        return array if array.ndim and array.dtype.kind in "iuf" else array.tolist()
    return _plain(row)


def _plain(row: Any) -> Any:
    """Lists in place of tuples, Python's numbers in place of numpy's."""
    if isinstance(row, list | tuple):
        return list(row) if set(map(type, row)) <= _PLAIN else [_plain(cell) for cell in row]
    return row.tolist() if hasattr(row, "tolist") else row


def _together(part: list[Any]) -> Any:
    """One array of equal arrays; else lists, so that the row that does not fit is named."""
    import numpy as np

    if all(isinstance(row, np.ndarray) for row in part) and len({(row.shape, row.dtype) for row in part}) == 1:
        return np.stack(part)
    return [row.tolist() if isinstance(row, np.ndarray) else row for row in part]


def _pixels(picture: Any, place: int, signature: "InputSignature") -> "np.ndarray[Any, Any]":
    """(c, h, w), in the range that the model takes; read as `airloom dataset create` reads pictures."""
    import numpy as np

    from airloom.datasets.ingest import pictures
    from airloom.inputs.pixels import Pixels

    try:
        if isinstance(picture, str | Path):
            values = pictures.read(Path(picture).expanduser().resolve())
        else:
            values = pictures.pixels(picture, "the picture")
    except DataError as error:
        raise InstancesRefused(f"instance {place}: {error.message}", error.hint) from None
    return values if signature.processing.pixels is Pixels.BYTES else values / np.float32(255)


def _file(picture: Any, place: int) -> bytes:
    """The file of a picture; one in memory is made one, without loss."""
    if _is_picture(picture):
        file = BytesIO()
        picture.save(file, "PNG")
        return file.getvalue()
    path = Path(picture).expanduser()
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"instance {place}: {path} cannot be read: {error.strerror or error}"
        raise InstancesRefused(message, "give the path of a picture") from None


def _is_picture(row: Any) -> bool:
    return _is(row, "PIL.Image", "Image")


def _is(value: Any, module: str, name: str) -> bool:
    """Whether it is of this class, without importing its package: who has one has imported it."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))
