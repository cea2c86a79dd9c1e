"""CSV, Parquet and Arrow IPC, streamed by pyarrow."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from airloom.datasets.ingest.batches import Wanted
from airloom.datasets.ingest.limits import CSV_BYTES, batch_rows
from airloom.errors import ConfigError, DataError


def read_csv(path: Path, wanted: Wanted, schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    """Rows below a header line; types by the first 2 MiB, or by the schema. `.tsv` is cut at tabs.

    Raises:
        DataError: naming the row (the header is row 1) and the value or the row's text.
    """
    types = {field.name: field.type for field in schema or ()}
    try:
        yield from _open_csv(path, wanted, types)
    except pa.ArrowInvalid as error:
        raise _csv_error(path, str(error)) from None
    except LookupError:
        raise ConfigError(f"there is no encoding {wanted.encoding!a}", "for example utf-8 or latin-1") from None


def _open_csv(path: Path, wanted: Wanted, types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    from pyarrow import csv

    # One thread: only then do Arrow's messages say the row.
    reader = csv.open_csv(
        path,
        read_options=csv.ReadOptions(use_threads=False, block_size=CSV_BYTES, encoding=wanted.encoding),
        parse_options=csv.ParseOptions(newlines_in_values=True, delimiter="\t" if path.suffix == ".tsv" else ","),
        convert_options=csv.ConvertOptions(column_types=types),
    )
    broken = {field.name: pa.large_string() for field in reader.schema if pa.types.is_binary(field.type)}
    if broken and not types:  # text that is no UTF-8 is taken for bytes; ask for text, to be told the row
        yield from _open_csv(path, wanted, broken)
    else:
        yield from reader


def _csv_error(path: Path, problem: str) -> DataError:
    """Arrow says the row and the value, but only the number of the column."""
    if "straddling" in problem:
        message = f"{path}: a row is longer than {CSV_BYTES >> 20} MiB, or a quote is not closed"
        return DataError(message, "shorten the row, or close the quote")
    if problem.startswith("In CSV column #"):
        number, _, rest = problem.removeprefix("In CSV column #").partition(": ")
        with path.open(errors="replace") as file:
            header = file.readline(4096).strip()
        problem = f"column {number} of the header {header[:200]!a}: {rest}"
    hint = "mend that row; a column has one type, told from its first rows"
    return DataError(f"{path}: {problem[:500]}", hint)


def read_parquet(path: Path, _wanted: Wanted, _schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    """A few MB at a time, however large the row groups are; checksums of pages are verified where there are any."""
    from pyarrow import parquet

    with parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True) as file:
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        size = sum(group.total_byte_size for group in groups) / max(1, file.metadata.num_rows)
        yield from file.iter_batches(batch_size=batch_rows(size))


def read_ipc(path: Path, _wanted: Wanted, _schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    """An IPC file or stream, mapped into memory: nothing is copied that needs no change."""
    with path.open("rb") as file:
        is_file = file.read(6) == b"ARROW1"
    with pa.memory_map(str(path)) as source:
        if not is_file:
            yield from pa.ipc.open_stream(source)
            return
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)
