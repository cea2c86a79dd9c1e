"""What the prediction log keeps of a row, as the pipeline's `log` says: JSON by column, made in its own thread."""

import logging
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import orjson

from airloom.errors import DataError
from airloom.inference.columns import ColumnSignature
from airloom.inference.instances import InputSignature
from airloom.inputs.cells import Cells
from airloom.monitoring.log_key import hashed
from airloom.pictures import look
from airloom.spec.log import LogSection

log = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
Row = dict[str, Any]
Kept = tuple[str | None, str]  # the JSON of a row, and how it was made
LARGEST = 65_536  # bytes of a row's JSON; of one that is larger its hash is kept
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY


@dataclass(frozen=True)
class InputForm:
    """Makes of rows what is kept of them.

    Attributes:
        signature: of the model.
        policy: of its version.
        key: gives the key of the hashes.
    """

    signature: InputSignature | ColumnSignature
    policy: LogSection
    key: Callable[[], bytes] = field(compare=False)

    def texts(self, cells: Mapping[str, Cells], rows: int) -> list[Kept]:
        """A JSON object of each row.

        Args:
            cells: as `Instances.cells` gives them.
            rows: how many.
        """
        columns = {name: values for name, values in self._named(cells).items() if name not in self.policy.drop}
        hashed = {name: columns.pop(name) for name in self.policy.hash if name in columns}
        if self.policy.inputs == "profile":
            measured = [self._profile(name, values) for name, values in columns.items()]
            columns = {name: values for measures in measured for name, values in measures.items()}
        made = {name: _plain(values) for name, values in columns.items()}
        made |= {name: [self._hash(_json(value)) for value in values] for name, values in hashed.items()}
        if not made:
            return [self._kept({})] * rows
        return [self._kept(dict(zip(made, row, strict=True))) for row in zip(*made.values(), strict=True)]

    def _kept(self, row: Row) -> Kept:
        data = _json(row)
        if self.policy.inputs == "hash" or len(data) > LARGEST:
            return orjson.dumps({"hash": self._hash(data)}).decode(), "hash"
        return data.decode(), self.policy.inputs

    def _hash(self, data: bytes) -> str:
        return hashed(self.key(), data)

    @cached_property
    def columns(self) -> list[str]:
        """The names that a row's columns have here."""
        if isinstance(self.signature, ColumnSignature):
            return list(self.signature.columns)
        return self._table or [self.signature.port.name]

    @cached_property
    def _table(self) -> list[str]:
        """The columns of a table whose row the graph takes as one list of numbers; empty for anything else."""
        signature = self.signature
        if isinstance(signature, ColumnSignature) or len(signature.shape) != 1:
            return []
        return signature.columns if len(signature.columns) == signature.shape[0] else []

    @cached_property
    def _kinds(self) -> dict[str, str]:
        if isinstance(self.signature, ColumnSignature):
            return {column.name: column.kind for column in self.signature.described}
        processing = self.signature.processing
        kind = "picture" if processing.picture else "text" if processing.tokenise else "array"
        return dict.fromkeys(self.columns, "number" if self._table else kind)

    def _named(self, cells: Mapping[str, Cells]) -> Mapping[str, Cells]:
        if not self._table:
            return cells
        (values,) = cells.values()
        return {name: values[:, place] for place, name in enumerate(self._table)}  # type: ignore[call-overload]

    def _profile(self, name: str, cells: Cells) -> Mapping[str, Cells]:
        """The dataset types' few numbers of a column; where a row has several, `name.` stands before each."""
        kind, alone = self._kinds.get(name, ""), len(self.columns) == 1
        if kind in ("number", "category"):
            return {name: cells}
        if kind in ("text", "string"):
            measures = _of_texts(cells)
            return measures if alone else {f"{name}.{key}": values for key, values in measures.items()}
        if kind == "picture":
            measures = _of_files(cells)
            return measures if alone else {f"{name}.{key}": values for key, values in measures.items()}
        return _of_arrays(name, cells, alone)


def form_of(
    signature: InputSignature | ColumnSignature, text: str, key: Callable[[], bytes], label: str
) -> InputForm | None:
    """What a version's policy makes of rows; None where it keeps nothing of them.

    What cannot be read as it was meant keeps nothing: a name that the model has not may be a misspelt secret.

    Args:
        signature: of the model.
        text: the version's tag, JSON; empty where its pipeline file had no `log`.
        key: gives the key of the hashes.
        label: of the version, for the log.
    """
    try:
        policy = LogSection.model_validate_json(text) if text else LogSection()
    except ValueError as error:
        log.error("of the inputs of %s nothing is logged, its policy cannot be read: %s", label, str(error)[:300])
        return None
    if policy.inputs == "drop":
        return None
    form = InputForm(signature, policy, key)
    if unknown := sorted({*policy.drop, *policy.hash} - {*form.columns}):
        there = ", ".join(map(ascii, form.columns[:20]))
        log.error("of the inputs of %s nothing is logged: `log` names %a, the columns are %s", label, unknown[0], there)
        return None
    return form


def _plain(cells: Cells) -> Cells:
    """Python's own numbers, which are quicker; a float32 stays one, to be written as the shortest number that it is."""
    wide = isinstance(cells, np.ndarray) and cells.ndim == 1 and cells.dtype.itemsize == 8
    return cells.tolist() if wide else cells  # type: ignore[union-attr]


def _json(value: Any) -> bytes:
    return orjson.dumps(value, default=_bytes, option=_OPTIONS)


def _bytes(value: Any) -> Any:
    """What orjson does not know: files, and arrays that do not lie in one piece."""
    if isinstance(value, bytes | bytearray | memoryview):
        return b64encode(value).decode()
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _of_texts(cells: Cells) -> Mapping[str, Sequence[Any]]:
    import pyarrow as pa

    from airloom.datasets.types.text import text_measures

    column = pa.chunked_array([pa.array([_text(cell) for cell in cells], pa.large_string())])
    return {name: values.to_pylist() for name, values in text_measures(column).items()}


def _text(cell: Any) -> str | None:
    return cell if isinstance(cell, str) else cell.decode("utf-8", "replace") if isinstance(cell, bytes) else None


def _of_files(cells: Cells) -> Mapping[str, Sequence[Any]]:
    seen = [_look(cell) for cell in cells]
    return {
        "width": [width for width, _, _ in seen],
        "height": [height for _, height, _ in seen],
        "aspect": [width / height if width and height else None for width, height, _ in seen],
        "mean_intensity": [mean for _, _, mean in seen],
        "bytes": [len(cell) if isinstance(cell, bytes) else None for cell in cells],
    }


def _look(cell: Any) -> tuple[int | None, int | None, float | None]:
    try:
        width, height, mean = look(cell, "the picture")
    except (DataError, TypeError):  # a missing one; others were refused before they came here
        return None, None, None
    return width, height, mean


def _of_arrays(name: str, cells: Cells, alone: bool) -> Mapping[str, Cells]:
    """Of an image what the type `image` says, of other arrays what `generic` does."""
    from airloom.datasets.types.image import pixel_measures

    if not isinstance(cells, np.ndarray):
        flat = all(cell is None or isinstance(cell, bool | int | float) for cell in cells)
        return {name: cells} if flat else {f"{name}.items": [_items(cell) for cell in cells]}
    if cells.ndim == 1:
        return {name: cells}
    rows = cells.reshape(len(cells), -1)
    mean, lowest, highest = (values.astype(np.float64) for values in pixel_measures(rows, 1))
    if alone and cells.ndim == 4:
        return {
            "pixels": np.full(len(rows), rows.shape[1]),
            "mean_intensity": mean,
            "lowest": lowest,
            "highest": highest,
        }
    return {f"{name}.mean": mean, f"{name}.lowest": lowest, f"{name}.highest": highest}


def _items(cell: Any) -> int | None:
    return len(cell) if isinstance(cell, list) else None
