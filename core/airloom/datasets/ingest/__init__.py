"""Rows from files, folders and Python, streamed in the form in which they are stored. No input is ever executed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from airloom.datasets.ingest.arrays import array_batches, read_npy, read_npy_files, read_npz
from airloom.datasets.ingest.batches import Batches, Part, Reading, Wanted
from airloom.datasets.ingest.by_class import read_classes
from airloom.datasets.ingest.csv_files import FIRST_ROW, csv_types, read_csv
from airloom.datasets.ingest.json_lines import json_types, read_json_lines
from airloom.datasets.ingest.listing import entries
from airloom.datasets.ingest.stream import stream
from airloom.datasets.ingest.tables import read_ipc, read_parquet
from airloom.datasets.storage.part_names import names_of
from airloom.datasets.storage.schema import Layout
from airloom.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np

Reader = Callable[[Path, Wanted, pa.Schema | None], Iterator[pa.RecordBatch]]
READERS: dict[str, Reader] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".parquet": read_parquet,
    ".arrow": read_ipc,
    ".arrows": read_ipc,
    ".feather": read_ipc,
    ".npz": read_npz,
    ".npy": read_npy,
}
# Of files that say no types: what they are is told by all rows of all files, before the first row is read.
TYPES: dict[str, Callable[[Sequence[Path], Wanted], pa.Schema]] = {
    ".csv": csv_types,
    ".tsv": csv_types,
    ".jsonl": json_types,
    ".ndjson": json_types,
}
FIRST_ROWS = {".csv": FIRST_ROW, ".tsv": FIRST_ROW, ".jsonl": 1, ".ndjson": 1}  # as a text editor counts; others from 0

__all__ = ["READERS", "Batches", "Reading", "Wanted", "from_arrays", "from_batches", "from_table", "open_source"]


def open_source(
    path: Path,
    *,
    type: str = "",
    label: str = "",
    key: str = "",
    split: str = "",
    parts: Mapping[str, Iterable[Any]] | None = None,
    schema: pa.Schema | None = None,
    classes: Iterable[str] = (),
    reading: Reading | None = None,
) -> Batches:
    """Rows of a file, of a folder of files of one kind, or of a folder by class (a folder a class, a file a row).

    Args:
        path: what to read; the kind is told by the suffix, in capitals or not.
        type: dataset type; "" means image or text for a folder by class, image for arrays of images, text for one
            column of text and a class, else tabular where the columns are flat, else generic.
        label: label column; "" means the column `label` where there is one.
        key: the column that says which row it is; for a folder by class only "path".
        split: the column that tells a published split.
        parts: the values of it that name each part; see `storage.part_names`.
        schema: of the dataset to which the rows go; without it the first rows say it.
        classes: the labels that rows may have, any other is refused; left out, any is good. Nothing of it is stored.
        reading: how the values are written.

    Raises:
        DataError: naming the file, the row and the value; for later rows when they are read.
        ConfigError: there is no such type, encoding, delimiter or part, or it says nothing of such files.
    """
    names = names_of(parts or {}) if split else {}
    wanted = Wanted(type, label, key, split, names, schema, tuple(classes), reading or Reading())
    if path.is_dir():
        return _open_folder(path, wanted)
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!a}", "check the path")
    return stream(_parts([path], wanted), wanted, str(path))


def from_table(table: pa.Table, layout: Layout, schema: pa.Schema | None = None) -> Batches:
    """Rows of a table; see `from_batches`."""
    return from_batches(table.to_batches(), layout, schema)


def from_batches(
    batches: Iterable[pa.RecordBatch], layout: Layout, schema: pa.Schema | None = None, source: str = "the batch"
) -> Batches:
    """Rows from Python, larger than memory if need be.

    Args:
        batches: the rows, read once.
        layout: roles of the columns.
        schema: of the dataset to which they go; None: their own.
        source: where they come from, for messages.

    Raises:
        DataError: as for `open_source`.
    """
    return stream([Part(source, lambda _: batches)], Wanted(schema=schema), source, layout)


def from_arrays(
    arrays: "Mapping[str, np.ndarray[Any, Any]]", layout: Layout, schema: pa.Schema | None = None
) -> Batches:
    """One column an array, one row an entry of the first axis; arrays that lie in one piece are not copied."""
    return from_batches(array_batches(arrays), layout, schema, "the arrays")


def read_file(path: Path) -> pa.Table:
    """All rows of a source, in memory."""
    return open_source(path).to_table()


def _open_folder(folder: Path, wanted: Wanted) -> Batches:
    files, folders = entries(folder)
    if not files and not folders:
        raise DataError(f"there is no file in {str(folder)!a}", "check the path")
    if folders and files:
        raise DataError(f"{files[0]} lies beside folders", "either a folder a class, or files of one kind")
    if folders:
        _check_options(".txt", wanted.reading)
        kind, batches = read_classes(folder, wanted)
        wanted = replace(wanted, type=wanted.type or kind, label=wanted.label or "label")
        return stream([Part(str(folder), lambda _: batches)], wanted, str(folder))
    odd = next((file for file in files if file.suffix.lower() != files[0].suffix.lower()), None)
    if odd:
        raise DataError(f"{odd} is of another kind than {files[0].name}", "put files of one kind into a folder")
    if files[0].suffix.lower() == ".npy":
        return stream([Part(str(folder), lambda _: read_npy_files(folder, files))], wanted, str(folder))
    return stream(_parts(files, wanted), wanted, str(folder))


def _parts(files: Sequence[Path], wanted: Wanted) -> list[Part]:
    kind = files[0].suffix.lower()
    if kind not in READERS:
        raise DataError(f"{files[0]}: files of kind {files[0].suffix!a} are not read", f"known: {', '.join(READERS)}")
    _check_options(kind, wanted.reading)
    read, told = READERS[kind], None
    if wanted.schema is None and kind in TYPES:
        told = TYPES[kind](files, wanted)

    def part(path: Path) -> Part:
        return Part(str(path), lambda schema: read(path, wanted, schema or told), FIRST_ROWS.get(kind, 0))

    return [part(path) for path in files]


def _check_options(kind: str, reading: Reading) -> None:
    """What is said of how values are written goes with such files.

    Raises:
        ConfigError: it would be ignored.
    """
    is_csv, is_text = kind in (".csv", ".tsv"), kind in TYPES or kind == ".txt"
    for option, said, goes in (
        ("--encoding", reading.encoding, is_text),
        ("--delimiter", reading.delimiter, is_csv),
        ("--decimal", reading.decimal.strip("."), is_csv),
    ):
        if said and not goes:
            raise ConfigError(f"{option} {said!a} says nothing of {kind} files", "leave it out")
