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
    """Objects with the fields of the first few MB; a known schema says how to take them.

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
    """Whole lines, some MB at a time."""
    with path.open("rb") as file:
        rest, line = b"", 1
        while read := file.read(LINE_BYTES):
            cut = read.rfind(b"\n") + 1
            if not cut and len(rest) + len(read) > LINE_BYTES:
                message = f"{path}: line {line} is longer than {LINE_BYTES >> 20} MiB"
                raise DataError(message, "is it JSON lines, one object a line?")
            block, rest = (rest + read[:cut], read[cut:]) if cut else (b"", rest + read)
            del read
            if block:
                line += block.count(b"\n")
                yield block
        if rest.strip():
            yield rest


def _plain(kind: pa.DataType) -> bool:
    """Types that JSON values can have; for others, they are parsed as what they look like and then cast."""
    return bool(pa.types.is_primitive(kind) and not pa.types.is_date(kind)) or kind == pa.large_string()


def _parse(path: Path, block: bytes, known: arrow.ParseOptions, first: int) -> pa.Table:
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


def _table(block: bytes, known: arrow.ParseOptions) -> pa.Table:
    read = arrow.ReadOptions(block_size=len(block) + 1, use_threads=False)
    return arrow.read_json(pa.BufferReader(block), read_options=read, parse_options=known)


def _parses(lines: list[bytes], known: arrow.ParseOptions) -> bool:
    block = b"\n".join(lines)
    try:
        return not block.strip() or bool(_table(block, known))
    except pa.ArrowInvalid:
        return False
