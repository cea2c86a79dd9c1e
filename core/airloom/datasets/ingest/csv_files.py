"""CSV: cut into cells of text by pyarrow, then made into values without changing one (`text_values`)."""

import csv as plain_csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from airloom.datasets.ingest.batches import Wanted
from airloom.datasets.ingest.encodings import HINT, encoding_of_file
from airloom.datasets.ingest.guess import Guess
from airloom.datasets.ingest.limits import CSV_BYTES
from airloom.datasets.ingest.text_values import TEXT, Misfit, convert
from airloom.datasets.ingest.type_names import type_name
from airloom.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pyarrow import csv

SAMPLE = 1 << 18  # characters in which it is looked whether a column is quoted throughout
DELIMITERS = ",;\t|"
FIRST_ROW = 2  # below the header


def csv_types(files: Sequence[Path], wanted: Wanted) -> pa.Schema:
    """The types of the columns, told by all rows of all files. A column that is quoted throughout is text.

    Raises:
        DataError: a file is no CSV.
        ConfigError: an option is none.
    """
    guesses: dict[str, Guess] = {}
    head = _head(files[0], wanted)
    quoted = _quoted(head)
    if head.encoding.startswith("utf-16") or head.encoding.startswith("utf-32"):
        wanted.notes.append(f"{files[0].name} is read as {head.encoding}")
    named = wanted.reading.types
    for path in files:
        first = FIRST_ROW
        for batch in _cells(path, wanted):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if name not in quoted and name not in named:
                    guess = guesses.setdefault(name, Guess(name == wanted.key, wanted.reading.decimal))
                    guess.see(column, first)
            first += batch.num_rows
    types = {name: TEXT for name in quoted} | {name: guess.type() for name, guess in guesses.items()} | named
    wanted.notes.extend(_reasons(quoted, guesses, types, named))
    return pa.schema(list(types.items()))


def _reasons(
    quoted: set[str], guesses: dict[str, Guess], types: dict[str, pa.DataType], named: dict[str, pa.DataType]
) -> Iterator[str]:
    """Why columns that one could take for numbers are text."""
    for name in types:
        why = "it is quoted throughout" if name in quoted else guesses[name].why if name in guesses else ""
        if why and name not in named and types[name] == TEXT:
            yield f"column {name} is text: {why} (--column {name}=TYPE says otherwise)"


def read_csv(path: Path, wanted: Wanted, schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    """Rows below a header line, in the types of the schema; what is not in it stays text.

    Raises:
        DataError: naming the row (the header is row 1), the column and the value.
        ConfigError: an option is none.
    """
    types = {field.name: field.type for field in schema or ()}
    first = FIRST_ROW
    for batch in _cells(path, wanted):
        columns = []
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            kind, exact = types.get(name, TEXT), name not in wanted.reading.columns
            try:
                columns.append(convert(column, kind, exact=exact, decimal=wanted.reading.decimal))
            except Misfit as misfit:
                raise _misfit(path, name, kind, misfit, first, not exact) from None
        yield pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
        first += batch.num_rows


def _misfit(path: Path, name: str, kind: pa.DataType, misfit: Misfit, first: int, named: bool) -> DataError:
    called = type_name(kind)
    message = f"{path}: row {first + misfit.row}, column {name!a}: {misfit.value!a} is no {called}"
    message += f": {misfit.reason}" if misfit.reason else ""
    if misfit.curable:
        return DataError(message, f"mend it, or let it become that: --column '{name}={called}'")
    return DataError(
        message, f"mend it, or say another type: --column {name}=text" if named else f"mend it; the column is {called}"
    )


@dataclass(frozen=True)
class _Head:
    """How a file is written, told by its beginning."""

    encoding: str
    delimiter: str
    sample: str
    names: list[str]


def _head(path: Path, wanted: Wanted) -> _Head:
    """Raises as `csv_types`."""
    encoding = encoding_of_file(path, wanted.reading.encoding)
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        sample = file.read(SAMPLE)
    delimiter = _delimiter(path, wanted, encoding, sample.lstrip("\r\n").partition("\n")[0].rstrip("\r"))
    try:
        rows = plain_csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
        names = next((row for row in rows if row), [])
    except plain_csv.Error:
        names = []  # Arrow says why
    if "" in names:
        hint = "name it; pandas writes its index so, and `to_csv(index=False)` leaves it out"
        raise DataError(f"{path}: column {names.index('') + 1} of the header has no name", hint)
    return _Head(encoding, delimiter, sample, names)


def _cells(path: Path, wanted: Wanted) -> Iterator[pa.RecordBatch]:
    """Batches of text; a cell without anything, not even quotes, is null."""
    head = _head(path, wanted)
    try:
        reader = _reader(path, head, head.names)
        if reader.schema.types != [TEXT] * len(reader.schema):
            reader = _reader(path, head, reader.schema.names)  # Arrow and Python read the header in two ways
        yield from reader
    except pa.ArrowInvalid as error:
        raise _csv_error(path, str(error), head.names) from None
    except UnicodeError as error:
        raise DataError(f"{path} is no {head.encoding}: {str(error)[:200]}", HINT) from None


def _reader(path: Path, head: _Head, names: Sequence[str]) -> "csv.CSVStreamingReader":
    from pyarrow import csv

    encoding = head.encoding.removesuffix("-sig")
    return csv.open_csv(
        path,  # one thread: only then do Arrow's messages say the row
        read_options=csv.ReadOptions(use_threads=False, block_size=CSV_BYTES, encoding=encoding),
        parse_options=csv.ParseOptions(
            newlines_in_values=True,
            delimiter=head.delimiter,
            ignore_empty_lines=len(names) != 1,  # of one column, they are its empty cells
        ),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(names, TEXT),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _csv_error(path: Path, problem: str, names: Sequence[str]) -> DataError:
    """Arrow says the row, but only the number of the column."""
    if "straddling" in problem:
        message = f"{path}: a row is longer than {CSV_BYTES >> 20} MiB, or a quote is not closed"
        return DataError(message, "shorten the row, or close the quote")
    if column := re.match(r"In CSV column #(\d+): (?:Row #(\d+): )?", problem):
        name = names[int(column[1])] if names else f"number {column[1]}"
        row = f"row {column[2]}, " if column[2] else ""
        why = problem[column.end() :].rpartition(": ")[2]
        return DataError(f"{path}: {row}column {name!a}: {why[:300]}", HINT)
    return DataError(f"{path}: {problem[:500]}", "mend that row, or say how the file is cut: --delimiter ';'")


def _delimiter(path: Path, wanted: Wanted, encoding: str, header: str) -> str:
    """The one that was named, else that of the suffix, unless the header speaks against it.

    Raises:
        ConfigError: it is not one character.
        DataError: the header has only one column, and another delimiter in it.
    """
    named = "\t" if wanted.reading.delimiter in ("\\t", "tab") else wanted.reading.delimiter
    if named and (len(named) > 1 or not named.isascii() or named in '"\r\n'):
        raise ConfigError(f"--delimiter {named[:20]!a} is not one character", "for example ';', '|' or tab")
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    if named:
        return named
    if header.count("\0") * 3 > len(header):
        raise DataError(f"{path}: the header is no {encoding}: every other byte of it is NUL", HINT)
    others = [other for other in DELIMITERS if other in header]
    if usual not in header and others:
        likely = max(others, key=header.count)
        shown = "tab" if likely == "\t" else likely
        message = (
            f"{path}: cut at {usual!a}, the header {header[:80]!a} is one column; it seems to be cut at {likely!a}"
        )
        raise DataError(message, f"say --delimiter '{shown}', or --delimiter '{usual}' where it is one column")
    return usual


def _quoted(head: _Head) -> set[str]:
    """The columns of which each cell at the beginning of the file stands in quotes."""
    cut = head.sample.rfind("\n") + 1 if len(head.sample) == SAMPLE else len(head.sample)
    between = re.escape(head.delimiter)
    cell = re.compile(rf'("(?:[^"]|"")*"|[^{between}\r\n]*)({between}|\r\n|\n|\r|\Z)')
    seen: dict[int, bool] = {}
    row = column = 0
    for found in cell.finditer(head.sample, 0, cut):
        text, end = found.groups()
        if row and text:
            seen[column] = seen.get(column, True) and text.startswith('"')
        column += 1
        if end != head.delimiter:
            row, column = row + 1, 0
    return {head.names[place] for place, quoted in seen.items() if quoted and place < len(head.names)}
