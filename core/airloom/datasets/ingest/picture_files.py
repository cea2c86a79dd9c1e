"""Picture files as they are: any size, mode and format of `airloom.pictures`, a row each, not decoded for good."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from airloom.datasets.ingest.batches import Wanted
from airloom.datasets.ingest.limits import BATCH_BYTES, ROW_BYTES
from airloom.datasets.ingest.listing import open_plain
from airloom.errors import DataError
from airloom.pictures import kind_of, look

COLUMN = "image"
Labelled = tuple[Path, str]  # a file and its class


def kept_as_files(files: Sequence[Labelled], wanted: Wanted) -> bool:
    """Whether pictures are stored as their files are, and not as pixels of one shape.

    The dataset to which they go says so, or `--column image=bytes`; else it is so where they are of several sizes or
    modes, or of a format that is not stored as pixels.
    """
    if wanted.schema is not None:
        return any(pa.types.is_large_binary(field.type) for field in wanted.schema)
    if wanted.reading.types.get(COLUMN) == pa.large_binary():
        return True
    kinds = {_kind(path) for path, _ in files} - {None}
    several = "of several sizes or modes" if len(kinds) > 1 else ""
    why = several or ("of WebP" if any(path.suffix.lower() == ".webp" for path, _ in files) else "")
    if why:
        wanted.notes.append(f"pictures {why}: each is kept as its file is")
    return bool(why)


def _kind(path: Path) -> tuple[int, int, str] | None:
    """Of the header; None where there is none: whoever reads the file says what is wrong with it."""
    try:
        with open_plain(path) as file:
            return kind_of(file, str(path))
    except DataError:
        return None


def read(files: Sequence[Labelled]) -> Iterator[tuple[pa.Field, pa.Array, Sequence[Labelled]]]:
    """The files' bytes, some MB at a time, with the files that they are of.

    Raises:
        DataError: a file is no whole picture; names it.
    """
    field, start, size, cells = pa.field(COLUMN, pa.large_binary()), 0, 0, list[bytes]()
    for number, (path, _) in enumerate(files, 1):
        cells.append(_whole(path))
        size += len(cells[-1])
        if number == len(files) or size >= BATCH_BYTES:
            yield field, pa.array(cells, field.type), files[start:number]
            start, size, cells = number, 0, []


def _whole(path: Path) -> bytes:
    with open_plain(path) as file:
        data = file.read(ROW_BYTES + 1)
    if len(data) > ROW_BYTES:
        raise DataError(f"{path} is larger than {ROW_BYTES >> 20} MiB", "one picture a file")
    look(data, str(path))
    return data
