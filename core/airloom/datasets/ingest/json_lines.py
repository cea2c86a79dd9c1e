"""JSON lines: one object a line, parsed by pyarrow a few MB at a time."""

import io
import json
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import json as arrow

from airloom.datasets.ingest.batches import Wanted
from airloom.datasets.ingest.limits import DEPTH, LINE_BYTES
from airloom.errors import DataError


def read_json_lines(path: Path, _wanted: Wanted, schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    """Objects with the fields of the first 16 MB; a known schema says how to take them.

    Raises:
        DataError: naming the line (from 1) and its text.
    """
    line = 1
    known = arrow.ParseOptions(explicit_schema=schema and pa.schema([field for field in schema if _plain(field.type)]))
    for block in _blocks(path):
        table = _parse(path, block, known, line)
        known = arrow.ParseOptions(explicit_schema=table.schema, unexpected_field_behavior="error")
        yield from table.to_batches()
        line += block.count(b"\n")


def _blocks(path: Path) -> Iterator[bytes]:
    """Whole lines, about 16 MB at a time."""
    with path.open("rb") as file:
        rest, line = b"", 1
        while read := file.read(LINE_BYTES):
            block, newline, tail = read.rpartition(b"\n")
            if not newline and len(rest) + len(tail) > LINE_BYTES:
                message = f"{path}: line {line} is longer than {LINE_BYTES >> 20} MiB"
                raise DataError(message, "is it JSON lines, one object a line?")
            if newline:
                yield rest + block + newline
                line += block.count(b"\n") + 1
                rest = b""
            rest += tail
        if rest.strip():
            yield rest


def _plain(kind: pa.DataType) -> bool:
    """Types that JSON values can have; for others, they are parsed as what they look like and then cast."""
    return bool(pa.types.is_primitive(kind) and not pa.types.is_date(kind)) or kind == pa.large_string()


def _parse(path: Path, block: bytes, known: arrow.ParseOptions, first: int) -> pa.Table:
    _check_depth(path, block, first)
    try:
        block.decode()
        return _table(block, known)
    except UnicodeDecodeError as error:
        number = block.count(b"\n", 0, error.start)
        reason = f"byte {block[error.start]:#x} is no UTF-8"
    except pa.ArrowInvalid as error:
        lines = block.split(b"\n")
        number = bisect_left(range(len(lines) - 1), True, key=lambda n: not _parses(lines[: n + 1], known))
        reason = str(error).partition(" in row")[0][:200]
    text = block.split(b"\n")[number][:120]
    raise DataError(f"{path}, line {first + number}: {reason}: {text!a}", "one JSON object a line, all with one schema")


def _table(block: bytes, known: arrow.ParseOptions) -> pa.Table:
    read = arrow.ReadOptions(block_size=len(block) + 1, use_threads=False)
    return arrow.read_json(io.BytesIO(block), read_options=read, parse_options=known)


def _parses(lines: list[bytes], known: arrow.ParseOptions) -> bool:
    block = b"\n".join(lines)
    try:
        return not block.strip() or bool(_table(block, known))
    except pa.ArrowInvalid:
        return False


def _check_depth(path: Path, block: bytes, first: int) -> None:
    """Arrow's parser overflows the stack on deep nesting; Python's does not, so it reads suspicious lines first."""
    for number, line in enumerate(block.split(b"\n")):
        if line.count(b"[") + line.count(b"{") > DEPTH:
            try:
                json.loads(line)
            except RecursionError:
                message = f"{path}, line {first + number}: nested too deep: {line[:60]!a}"
                raise DataError(message, f"nest at most {DEPTH} deep") from None
            except ValueError:
                pass  # Arrow stops at the same place, and says it better
