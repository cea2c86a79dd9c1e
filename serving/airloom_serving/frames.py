"""What clients of `mlflow models serve` send, as rows of a model: frames of pandas, and lists.

The forms of `mlflow.pyfunc.scoring_server`, read without pandas. A frame's other columns are left out, as
`load_model(…).predict(frame)` and MLflow do; no cell is guessed.
"""

import csv
import re
from collections.abc import Sequence
from io import StringIO
from itertools import islice
from typing import Any

from airloom.errors import InstancesRefused
from airloom.inference.columns import ColumnSignature
from airloom.inference.instances import Instances
from airloom.names import near
from airloom_serving.asgi import Refused
from airloom_serving.limits import MOST_INSTANCES
from airloom_serving.served import ServedModel

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
Columns = dict[str, list[Any]]  # cells by column
_SPLIT = {"columns", "data", "index"}
_WHOLE = re.compile(r"[+-]?[0-9]{1,300}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MISSING = ("", "nan", "NaN")  # as pandas writes a number that is not there


def instances_of(model: ServedModel, form: str, value: Any) -> Instances:
    """The rows that stand in one of the forms.

    Args:
        model: that is asked.
        form: one of `FORMS`.
        value: of it.

    Raises:
        Refused: it has another form.
        InstancesRefused: the rows do not fit the model.
    """
    if form == "dataframe_split":
        return _of_columns(model, _split(value))
    if form == "inputs" and isinstance(value, dict):
        return _of_columns(model, _named(value))
    if not isinstance(value, list):
        raise Refused(400, f'"{form}" must be a list of rows', input=form)
    objects = bool(value) and all(isinstance(row, dict) for row in value)
    if form == "dataframe_records" and not objects:
        raise Refused(400, '"dataframe_records" must be a list of objects, one a row', input=form)
    if objects and (form == "dataframe_records" or not isinstance(model.signature, ColumnSignature)):
        return _of_columns(model, _recorded(value))
    return model.parse(value)


def of_csv(model: ServedModel, body: bytes) -> Instances:
    """The rows of a CSV file whose first line names the columns, as `DataFrame.to_csv(index=False)` writes it.

    A cell becomes what the model takes of its column; in a text nothing is taken for a gap but the empty cell.

    Raises:
        Refused: it is none.
        InstancesRefused: the rows do not fit the model.
    """
    try:
        reader = csv.reader(StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        lines = list(islice((line for line in reader if line), MOST_INSTANCES + 2))  # one more is refused anyway
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(400, f"the body is no CSV in UTF-8: {error}") from None
    if not lines:
        raise Refused(400, "the body is no CSV: the first line must name the columns")
    columns = _columns(lines[0], lines[1:], "the CSV")
    return _of_columns(model, {name: _typed(model, name, cells) for name, cells in columns.items()})


def _of_columns(model: ServedModel, columns: Columns) -> Instances:
    """The rows of a frame; what is no column of the model's is left out."""
    model.check_count(max(map(len, columns.values()), default=0))
    signature = model.signature
    if isinstance(signature, ColumnSignature):
        if not all(name in columns for name in signature.columns):
            return signature.judge_columns(columns)  # which names the one that is missing
        cells = [columns[name] for name in signature.columns]
        return model.parse([dict(zip(signature.columns, row, strict=True)) for row in zip(*cells, strict=True)])
    own, there = signature.columns, list(columns)
    table = len(signature.shape) == 1 and signature.processing.tokenise is None and signature.processing.picture is None
    if len(there) == 1 and (not table or (there == [signature.port.name] and there != own)):
        return model.parse(columns[there[0]])  # each cell is a row
    if not table:
        text = f"{model.name} takes {signature.wanted}; these are {len(there)} columns, as a model of a table has"
        raise InstancesRefused(text, "send one column")
    for name in own:
        if name not in columns:
            text = f"{model.name} takes {signature.wanted}; there is no column {name[:80]!a}"
            hint = f"{near(name, there)}there are {', '.join(map(ascii, there[:20]))}"
            raise InstancesRefused(text, hint, input=name[:80])
    chosen = [columns[name] for name in own or there]
    return model.parse([list(row) for row in zip(*chosen, strict=True)])


def _split(value: Any) -> Columns:
    """`DataFrame.to_dict(orient="split")`"""
    if not isinstance(value, dict) or not isinstance(value.get("data"), list) or value.keys() - _SPLIT:
        text = '"dataframe_split" must be {"columns": [...], "data": [[...], ...]}; "index" may stand beside it'
        raise Refused(400, text, input="dataframe_split")
    names, rows = value.get("columns"), value["data"]
    if names is None:
        names = list(range(len(rows[0]))) if rows and isinstance(rows[0], list) else []
    if not isinstance(names, list) or any(type(name) not in (str, int) for name in names):
        raise Refused(400, '"columns" of "dataframe_split" must be a list of names', input="columns")
    return _columns([str(name) for name in names], rows, '"dataframe_split"')


def _columns(names: Sequence[str], rows: list[Any], what: str) -> Columns:
    """Rows of cells by column, each of which has one name."""
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise Refused(400, f"{what} has two columns {twice[:80]!a}", input=twice[:80])
    for place, row in enumerate(rows):
        if not isinstance(row, list):
            raise Refused(400, f"{what}: row {place} is no list of cells", row=place)
        if len(row) != len(names):
            raise Refused(400, f"{what} has {len(names)} columns, and row {place} has {len(row)} cells", row=place)
    cells: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in names]
    return dict(zip(names, cells, strict=True))


def _recorded(rows: list[dict[str, Any]]) -> Columns:
    """`DataFrame.to_dict(orient="records")`: pandas would make a gap of a name that one row spells otherwise."""
    names = rows[0].keys()
    for place, row in enumerate(rows):
        if row.keys() != names:
            name = min(row.keys() ^ names)
            has = "has no" if name in names else "alone has"
            text = f"row {place} {has} {name[:80]!a}: give each row the same names, and null where a value is missing"
            raise Refused(400, text, row=place, input=name[:80])
    return {name: [row[name] for row in rows] for name in names}


def _named(value: dict[str, Any]) -> Columns:
    """Lists by name, equally long."""
    for name, cells in value.items():
        if not isinstance(cells, list):
            raise Refused(400, f'"inputs": {name[:80]!a} must be a list, one value a row', input=name[:80])
    if len({len(cells) for cells in value.values()}) > 1:
        told = ", ".join(f"{name[:80]!a} {len(cells)}" for name, cells in list(value.items())[:20])
        raise Refused(400, f'"inputs" must have as many rows of each name; these are {told}')
    return value


def _typed(model: ServedModel, name: str, cells: list[str]) -> list[Any]:
    """The cells of a CSV's column as JSON would have them."""
    signature = model.signature
    if not isinstance(signature, ColumnSignature):
        plain = signature.processing.tokenise is None and signature.processing.picture is None
        return [_number(cell) for cell in cells] if plain else cells
    kind = next((column.kind for column in signature.described if column.name == name), "text")
    known = [value for part in signature.parts.values() for value in part.categories.get(name, ())]
    if kind in ("text", "picture") or any(isinstance(value, str) for value in known):
        return [cell or None for cell in cells]
    if any(isinstance(value, bool) for value in known):
        return [{"true": True, "false": False, "": None}.get(cell.lower(), cell) for cell in cells]
    return [_number(cell) for cell in cells]


def _number(cell: str) -> Any:
    """A number, or null; a cell that is none stays a text, which is refused with its place."""
    if _WHOLE.fullmatch(cell):
        return int(cell)
    if _NUMBER.fullmatch(cell):
        return float(cell)
    return None if cell in _MISSING else cell
