"""Read a batch from a file, without ever running code from it."""

from pathlib import Path

import pyarrow as pa

from airloom.datasets.types import image_table
from airloom.errors import DataError


def read_file(path: Path) -> pa.Table:
    """A batch from `.npz` (arrays `images` and `labels`) or an Arrow IPC file.

    Raises:
        DataError: no such file, an unknown kind, or not what its name says.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}", "check the path")
    readers = {".npz": _read_npz, ".arrow": _read_arrow}
    if path.suffix not in readers:
        raise DataError(f"{path}: files of kind {path.suffix!r} are not read", f"known: {', '.join(readers)}")
    try:
        return readers[path.suffix](path)
    except (OSError, ValueError, KeyError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read: {str(error)[:200]}", "see `airloom dataset commit --help`") from None


def _read_npz(path: Path) -> pa.Table:
    import numpy as np

    with np.load(path, allow_pickle=False) as arrays:
        return image_table(np.asarray(arrays["images"], np.float32), np.asarray(arrays["labels"], np.int64))


def _read_arrow(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()
