"""NumPy: arrays in memory, mapped `.npy`, and `.npz` whose members are inflated a few MB at a time."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa

from airloom.datasets.ingest.batches import Wanted
from airloom.datasets.ingest.limits import BOMB_BYTES, BOMB_RATIO, ROW_BYTES, batch_rows, check_columns
from airloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, "np.ndarray[Any, Any]"]

SINGULAR = {"images": "image", "labels": "label", "texts": "text"}  # arrays hold many, a cell holds one


def array_batches(arrays: "Arrays") -> Iterator[pa.RecordBatch]:
    """One column an array, one row an entry of the first axis.

    Raises:
        DataError: the arrays are of different lengths, or of a type that is no data.
    """
    rows = _common_rows({name: array.shape for name, array in arrays.items()})
    size = sum(_row_bytes(name, array.dtype, array.shape) for name, array in arrays.items())
    step = batch_rows(size)
    for start in range(0, rows, step):
        yield _batch({name: array[start : start + step] for name, array in arrays.items()})


def read_npy(path: Path, _wanted: Wanted, _schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    """A column named as the file, or one a field of a structured array; mapped into memory."""
    array = _mapped(path)
    names = array.dtype.names
    yield from _located({name: array[name] for name in names} if names else {path.stem: array}, path)


def read_npy_files(folder: Path, files: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    """A column a file; mapped into memory."""
    yield from _located({file.stem: _mapped(file) for file in files}, folder)


def _mapped(path: Path) -> "np.ndarray[Any, Any]":
    import numpy as np

    try:
        array: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        reason = "it holds Python objects, or is cut off" if "pickle" in str(error) else str(error)[:200]
        raise DataError(f"{path} is no .npy file of numbers: {reason}", "save it with numpy.save") from None
    return array


def _located(arrays: "Arrays", path: Path) -> Iterator[pa.RecordBatch]:
    try:
        yield from array_batches(arrays)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", error.hint) from None


def read_npz(path: Path, _wanted: Wanted, _schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    """A column a member. Objects are never unpickled, and nothing is inflated beyond its declared size.

    Raises:
        DataError: it is no .npz file of plain arrays of one length.
    """
    import zlib

    try:
        with ExitStack() as opened:
            archive = opened.enter_context(zipfile.ZipFile(path))
            yield from _lockstep(
                [_Member(opened.enter_context(archive.open(info)), info) for info in archive.infolist()]
            )
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} is no .npz file of numbers: {str(error)[:200]}", "save it with numpy.savez") from None
    except DataError as error:
        raise DataError(f"{path}: {error.message}", error.hint) from None


class _Member:
    """One array of a `.npz`, read from its start."""

    def __init__(self, file: IO[bytes], info: zipfile.ZipInfo) -> None:
        self._file = file
        self.name = info.filename.removesuffix(".npy")
        ratio = info.file_size / max(1, info.compress_size)
        if info.file_size > BOMB_BYTES and ratio > BOMB_RATIO:
            message = f"the array {self.name[:60]!a} would inflate {ratio:.0f}-fold to {info.file_size} bytes"
            raise DataError(message, "no data packs so well; save it with numpy.savez, which does not pack")
        self.shape, self.dtype = self._header(info)

    def _header(self, info: zipfile.ZipInfo) -> "tuple[tuple[int, ...], np.dtype[Any]]":
        """Shape and type; numpy evaluates the header as a literal, not as code, and limits its length."""
        from numpy.lib import format as npy

        version = npy.read_magic(self._file)
        if version > (2, 0):
            raise DataError(f"the array {self.name[:60]!a} is of format {version}", "save plain arrays of numbers")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(self._file)
        if fortran and len(shape) > 1:
            message = f"the array {self.name[:60]!a} lies column by column (Fortran order)"
            raise DataError(message, "save numpy.ascontiguousarray of it")
        _row_bytes(self.name, dtype, shape)
        missing = _product(shape) * dtype.itemsize - (info.file_size - self._file.tell())
        if missing:
            message = f"the array {self.name[:60]!a} claims the shape {shape}, but has {-missing:+d} bytes for it"
            raise DataError(message, "the file is cut off or forged; save it anew")
        return shape, dtype

    def rows(self, count: int) -> "np.ndarray[Any, Any]":
        """The next rows.

        Raises:
            EOFError: there are fewer.
        """
        import numpy as np

        size = _product(self.shape[1:]) * self.dtype.itemsize * count
        data = self._file.read(size)
        if len(data) < size:
            raise EOFError(f"{self.name} ends early")
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])

    def end(self) -> None:
        """Read to the end, where zipfile compares the checksum."""
        self._file.read(1)


def _lockstep(members: list[_Member]) -> Iterator[pa.RecordBatch]:
    if not members:
        raise DataError("there is no array in it", "save arrays by name, for example images and labels")
    check_columns([member.name for member in members])
    rows = _common_rows({member.name: member.shape for member in members})
    step = batch_rows(sum(_row_bytes(member.name, member.dtype, member.shape) for member in members))
    for start in range(0, rows, step):
        yield _batch({member.name: member.rows(min(step, rows - start)) for member in members})
    for member in members:
        member.end()


def _common_rows(shapes: Mapping[str, tuple[int, ...]]) -> int:
    if len({shape[:1] for shape in shapes.values()}) != 1 or not all(shapes.values()):
        there = ", ".join(f"{name[:60]!a}: {shape}" for name, shape in shapes.items())
        raise DataError(f"the arrays differ in their number of rows: {there}", "give each array one entry a row")
    return next(iter(shapes.values()))[0]


def _row_bytes(name: str, dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> int:
    size = _product(shape[1:]) * dtype.itemsize
    if dtype.hasobject or dtype.kind not in "biufUSmM" or size == 0:
        message = f"the array {name[:60]!a} is of type {dtype} and shape {shape}"
        raise DataError(message, "arrays hold numbers, text or times; Python objects are never read")
    if size > ROW_BYTES:
        message = f"a row of the array {name[:60]!a} has {size} bytes: {shape}"
        raise DataError(message, f"at most {ROW_BYTES >> 20} MiB; is the first axis that of the rows?")
    return size


def _product(sizes: tuple[int, ...]) -> int:
    result = 1  # Python's whole numbers: a forged shape must not wrap around
    for size in sizes:
        result *= size
    return result


def _batch(arrays: "Arrays") -> pa.RecordBatch:
    columns = [_column(name, array) for name, array in arrays.items()]
    fields = []
    for (name, array), column in zip(arrays.items(), columns, strict=True):
        shape = {"shape": ",".join(map(str, array.shape[1:]))} if array.ndim > 1 else None
        fields.append(pa.field(SINGULAR.get(name, name), column.type, metadata=shape))
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _column(name: str, array: "np.ndarray[Any, Any]") -> pa.Array:
    """The array as a column, on its own memory where it lies in one piece in this machine's byte order."""
    import numpy as np

    try:
        plain = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        if array.ndim == 1:
            return pa.array(plain)
        return pa.FixedSizeListArray.from_arrays(pa.array(plain.reshape(-1)), _product(array.shape[1:]))
    except (pa.ArrowException, ValueError) as error:
        message = f"the array {name[:60]!a} of type {array.dtype} cannot be stored: {str(error)[:120]}"
        raise DataError(message, "arrays hold numbers, text or times") from None
