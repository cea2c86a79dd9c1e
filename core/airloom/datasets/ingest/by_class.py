"""A folder a class, a file a row: images through Pillow, or texts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from airloom.datasets.ingest import picture_files, pictures
from airloom.datasets.ingest.batches import Wanted
from airloom.datasets.ingest.encodings import decode
from airloom.datasets.ingest.limits import ROW_BYTES, batch_rows
from airloom.datasets.ingest.listing import class_of, entries, open_plain
from airloom.errors import DataError

IMAGES = (".png", ".jpg", ".jpeg", ".webp")
TEXTS = (".txt",)


def read_classes(folder: Path, wanted: Wanted) -> tuple[str, Iterator[pa.RecordBatch]]:
    """The dataset type and its batches: columns image or text, label (the folder's name), path if it is the key.

    Raises:
        DataError: a folder or file that does not belong there.
    """
    files = [(path, class_of(inner)) for inner in entries(folder)[1] for path in _files(inner)]
    kinds = {path.suffix.lower() for path, _ in files}
    for name, suffixes, read in (("image", IMAGES, _pictures), ("text", TEXTS, _texts)):
        if kinds and kinds <= set(suffixes):
            return name, read(folder, files, wanted)
    if not files:
        raise DataError(
            f"there is no file in the folders of {folder}", "put the files of a class into a folder of its name"
        )
    first = files[0][0].suffix.lower()
    odd = next((p for p, _ in files if p.suffix.lower() not in (*IMAGES, *TEXTS)), None)
    odd = odd or next(p for p, _ in files if (p.suffix.lower() in IMAGES) != (first in IMAGES))
    raise DataError(f"{odd} does not go with the others", f"either images ({', '.join(IMAGES)}) or {TEXTS[0]}")


def _files(folder: Path) -> list[Path]:
    files, folders = entries(folder)
    if folders:
        raise DataError(f"{folders[0]} is a folder within a class", "a class is one folder of files")
    return files


def _pictures(root: Path, files: Sequence[tuple[Path, str]], wanted: Wanted) -> Iterator[pa.RecordBatch]:
    if not picture_files.kept_as_files(files, wanted):
        yield from _images(root, files, wanted)
        return
    for field, column, part in picture_files.read(files):
        yield _with_label(field, column, part, root, wanted)


def _images(root: Path, files: Sequence[tuple[Path, str]], wanted: Wanted) -> Iterator[pa.RecordBatch]:
    import numpy as np

    shape: tuple[int, ...] = ()
    step, start = 1, 0
    while start < len(files):
        part = files[start : start + step]
        pixels = []
        for path, _ in part:
            pixels.append(pictures.read(path, shape))
            shape = shape or pixels[0].shape
        flat = pa.FixedSizeListArray.from_arrays(pa.array(np.stack(pixels).reshape(-1)), pixels[0].size)
        field = pa.field("image", flat.type, metadata={"shape": ",".join(map(str, shape))})
        yield _with_label(field, flat, part, root, wanted)
        start += len(part)
        step = batch_rows(pixels[0].size)


def _texts(root: Path, files: Sequence[tuple[Path, str]], wanted: Wanted) -> Iterator[pa.RecordBatch]:
    limit = batch_rows(1)
    start, size, texts = 0, 0, []
    for number, (path, _) in enumerate(files, 1):
        texts.append(_text(path, wanted.reading.encoding))
        size += len(texts[-1])
        if number == len(files) or batch_rows(size / len(texts)) <= len(texts) or len(texts) == limit:
            field = pa.field("text", pa.large_string())
            yield _with_label(field, pa.array(texts, field.type), files[start:number], root, wanted)
            start, size, texts = number, 0, []


def _text(path: Path, encoding: str) -> str:
    with open_plain(path) as file:
        data = file.read(ROW_BYTES + 1)
    if len(data) > ROW_BYTES:
        raise DataError(f"{path} is larger than {ROW_BYTES >> 20} MiB", "one text a file")
    return decode(data, encoding, path)


def _with_label(
    field: pa.Field, column: pa.Array, files: Sequence[tuple[Path, str]], root: Path, wanted: Wanted
) -> pa.RecordBatch:
    label = pa.field(wanted.label or "label", pa.large_string())
    columns = {field: column, label: pa.array([name for _, name in files], label.type)}
    if wanted.key == "path":
        paths = [path.relative_to(root).as_posix() for path, _ in files]
        columns[pa.field("path", pa.large_string())] = pa.array(paths, pa.large_string())
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=pa.schema(list(columns)))
