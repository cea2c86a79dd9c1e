"""JSON lines: one object a line, parsed by pyarrow a few MB at a time. Strings stay text, whatever they look like."""

import io
import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import json as arrow

from airloom.datasets.ingest.batches import Wanted
from airloom.datasets.ingest.encodings import HINT, encoding_of_file, utf8_chunks
from airloom.datasets.ingest.json_numbers import first_changed, may_have_changed, unsigned
from airloom.datasets.ingest.limits import DEPTH, LINE_BYTES
from airloom.datasets.ingest.text_values import TEXT, Misfit, convert, narrow
from airloom.datasets.ingest.type_names import type_name
from airloom.errors import DataError


def json_types(files: Sequence[Path], wanted: Wanted) -> pa.Schema:
    """The fields of the objects and their types, told by all lines of all files.

    Raises:
        DataError: naming the line (from 1) whose types do not go with those before it.
    """
    merged, wide = pa.schema([]), set[str]()
    for path in files:
        line = 1
        for block in _blocks(path, wanted.reading.encoding):
            found = _parse(path, block, pa.schema([]), line).schema
            try:
                merged = pa.unify_schemas([merged, found], promote_options="permissive")
            except pa.ArrowException as error:
                _parse(path, block, merged, line)  # says the line, where Arrow can
                raise DataError(f"{path}, from line {line}: {str(error)[:200]}", "one type a field") from None
            wide |= unsigned(block)
            line += block.count(b"\n")
    for place, field in enumerate(merged):
        if field.name in wide and field.type == pa.float64():
            merged = merged.set(place, field.with_type(pa.uint64()))
    return merged


def read_json_lines(path: Path, wanted: Wanted, schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    """Objects in the types of the schema.

    Raises:
        DataError: naming the line (from 1) and its text.
    """
    line, named = 1, wanted.reading.columns
    given = [field for field in schema or () if field.name not in named]
    known = pa.schema([pa.field(field.name, _parsed_as(field.type)) for field in given if _plain(field.type)])
    for block in _blocks(path, wanted.reading.encoding):
        table = _parse(path, block, known, line)
        _check_numbers(path, block, table, line)
        for field in given:
            table = _typed(path, table, field, line)
        for field in schema or ():
            if field.name in named and field.name not in table.schema.names:
                table = table.append_column(field.name, pa.nulls(table.num_rows))
        yield from table.to_batches()
        line += block.count(b"\n")


def _parsed_as(kind: pa.DataType) -> pa.DataType:
    """Times are written as text, and narrow fractions are looked at before they are narrowed."""
    if pa.types.is_temporal(kind):
        return TEXT
    return pa.float64() if pa.types.is_floating(kind) else kind


def _plain(kind: pa.DataType) -> bool:
    """Types that JSON values can have; for others, they are parsed as what they look like and then cast."""
    if pa.types.is_struct(kind):
        return all(_plain(field.type) and not pa.types.is_temporal(field.type) for field in kind)
    if pa.types.is_list(kind):
        return _plain(kind.value_type) and not pa.types.is_temporal(kind.value_type)
    return bool(pa.types.is_primitive(kind) or pa.types.is_decimal(kind)) or kind in (TEXT, pa.string())


def _typed(path: Path, table: pa.Table, field: pa.Field, line: int) -> pa.Table:
    """The table with times made of text, and with narrower fractions."""
    place = table.schema.get_field_index(field.name)
    kind = field.type
    if (
        place < 0
        or table.schema.field(place).type == kind
        or not (pa.types.is_temporal(kind) or pa.types.is_floating(kind))
    ):
        return table
    column = table.column(place).combine_chunks()
    try:
        values = narrow(column, kind) if pa.types.is_floating(kind) else convert(column, kind)
    except Misfit as misfit:
        called = type_name(kind)
        message = f"{path}, row {line + misfit.row}, field {field.name!a}: {misfit.value!a} is no {called}"
        why = f": {misfit.reason}" if misfit.reason else ""
        raise DataError(message + why, f"mend it, or let it be converted: --column '{field.name}={called}'") from None
    return table.set_column(place, pa.field(field.name, kind), values)


def _blocks(path: Path, encoding: str) -> Iterator[bytes]:
    """Whole lines, some MB at a time."""
    named = encoding_of_file(path, encoding)
    rest, line = b"", 1
    with path.open("rb") as file:
        try:
            for read in utf8_chunks(file, named, LINE_BYTES):
                cut = read.rfind(b"\n") + 1
                if not cut and len(rest) + len(read) > LINE_BYTES:
                    message = f"{path}: line {line} is longer than {LINE_BYTES >> 20} MiB"
                    raise DataError(message, "is it JSON lines, one object a line?")
                block, rest = (rest + read[:cut], read[cut:]) if cut else (b"", rest + read)
                if block:
                    line += block.count(b"\n")
                    yield block
        except UnicodeError as error:
            raise DataError(f"{path} is no {named}: {str(error)[:200]}", HINT) from None
    if rest.strip():
        yield rest


def _parse(path: Path, block: bytes, known: pa.Schema, first: int) -> pa.Table:
    for number, line in enumerate(io.BytesIO(block)):
        reason = _unfit(line)
        if reason:
            raise _error(path, first + number, reason, line)
    try:
        return _table(block, known)
    except pa.ArrowInvalid as error:
        lines = block.split(b"\n")
        number = bisect_left(range(len(lines) - 1), True, key=lambda n: not _parses(lines[: n + 1], known))
        raise _error(path, first + number, str(error).partition(" in row")[0][:200], lines[number]) from None


def _error(path: Path, line: int, reason: str, text: bytes) -> DataError:
    return DataError(f"{path}, line {line}: {reason}: {text[:120]!a}", "one JSON object a line, all with one schema")


def _unfit(line: bytes) -> str:
    """Why a line must not reach Arrow's parser: it does not look at UTF-8, and overflows the stack on deep nesting.

    Python's parser stops by itself there, so it reads the suspicious lines first.
    """
    try:
        if not line.isascii():
            line.decode()
        if line.count(b"[") + line.count(b"{") > DEPTH:
            json.loads(line)
    except UnicodeDecodeError as error:
        return f"byte {line[error.start]:#x} is no UTF-8"
    except RecursionError:
        return f"nested more than {DEPTH} deep"
    except ValueError:
        pass  # Arrow stops at the same place, and says it better
    return ""


def _table(block: bytes, known: pa.Schema) -> pa.Table:
    """The block's objects. Arrow takes text like a time for one, and forgets its zone: we read it as text."""
    read = arrow.ReadOptions(block_size=len(block) + 1, use_threads=False)

    def parse(schema: pa.Schema) -> pa.Table:
        return arrow.read_json(pa.BufferReader(block), read, arrow.ParseOptions(explicit_schema=schema))

    table = parse(known)
    told = pa.schema([pa.field(field.name, _timeless(field.type)) for field in table.schema])
    return table if told.equals(table.schema) else parse(told)


def _timeless(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_timeless(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _timeless(field.type)) for field in kind])
    return kind


def _parses(lines: list[bytes], known: pa.Schema) -> bool:
    block = b"\n".join(lines)
    try:
        return not block.strip() or bool(_table(block, known))
    except pa.ArrowInvalid:
        return False


def _check_numbers(path: Path, block: bytes, table: pa.Table, first: int) -> None:
    """Whole numbers that were read as fractions are the same numbers still.

    Raises:
        DataError: naming the line, the field and the number.
    """
    if not may_have_changed(table):
        return
    row = 0
    for number, line in enumerate(io.BytesIO(block)):
        if not line.strip():
            continue
        stored: dict[str, Any] = table.slice(row, 1).to_pylist()[0] if table.num_rows else {}
        changed = first_changed(json.loads(line), stored)
        if changed:
            message = f"{path}, line {first + number}, field {changed[0]!a}: {changed[1]} would become {changed[2]!r}"
            raise DataError(message, "write such numbers as text, or no fractions into their field")
        row += 1
