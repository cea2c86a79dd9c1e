"""Columns of the prediction log, read by name: a file lacks those that came with later releases."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from airloom.errors import DataAway
from airloom.monitoring import prediction_id as ids
from airloom.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

_NAME = re.compile(r"([0-9a-f]{12})-([0-9a-f]{12})-m?[0-9a-f]+\.parquet")
EVER = 1 << 48  # milliseconds
TRIES = 5
T = TypeVar("T")


def table(
    settings: Settings,
    model: str,
    columns: Sequence[str],
    *,
    version: str = "",
    first: int = 0,
    last: int = EVER,
) -> "pa.Table":
    """The rows of a model with `first <= milliseconds < last`, ordered by id, each once; `id` and `version` beside.

    Args:
        settings: of this installation.
        model: by its name in the registry.
        columns: that are wanted; one that no file has is left out.
        version: only of this one.
        first: milliseconds since 1970.
        last: the same.
    """
    import pyarrow as pa

    wanted = list(dict.fromkeys(["id", "version", *columns]))
    parts = _whole(lambda: [_part(path, model, version, wanted) for path in _files(settings, first, last - 1)])
    if not parts:
        return pa.table({"id": pa.array([], pa.string()), "version": pa.array([], pa.string())})
    rows = pa.concat_tables(parts, promote_options="permissive").sort_by("id")
    texts = rows["id"].to_pylist()
    # While small files become one, a row may stand in both.
    keep = [place for place, text in enumerate(texts) if place == 0 or texts[place - 1] != text]
    inside = [place for place in keep if first <= ids.milliseconds(texts[place]) < last]
    return rows if len(inside) == len(texts) else rows.take(pa.array(inside, pa.int64()))


def there(settings: Settings, wanted: Iterable[str]) -> set[str]:
    """Which of these ids of predictions have a row in the log.

    Args:
        settings: of this installation.
        wanted: in small letters.
    """
    pairs = sorted((ids.milliseconds(text), text) for text in set(wanted))
    return _whole(lambda: _there(settings, pairs)) if pairs else set()


def _there(settings: Settings, pairs: Sequence[tuple[int, str]]) -> set[str]:
    import pyarrow as pa
    import pyarrow.compute as pc

    moments, found = [moment for moment, _ in pairs], set[str]()
    for path in _files(settings, moments[0], moments[-1]):
        first, last = _span(path)
        some = [text for _, text in pairs[bisect_left(moments, first) : bisect_right(moments, last)]]
        if some:
            column = _read(path, ["id"])["id"]
            found.update(column.filter(pc.is_in(column, pa.array(some, column.type))).to_pylist())
    return found


def _whole(work: Callable[[], T]) -> T:
    """Do it again where a file went meanwhile: it was collected, or its rows stand in another one now.

    Raises:
        DataAway: files go all the time.
    """
    for _ in range(TRIES):
        try:
            return work()
        except FileNotFoundError as error:
            gone = error.filename
    raise DataAway(f"files of the prediction log go while they are read, the last one {gone}", "try again")


def _files(settings: Settings, first: int, last: int) -> Iterator[Path]:
    """The finished files that may have rows of these milliseconds, the ends included."""
    for folder in sorted(settings.prediction_log.glob("date=*")):
        for path in sorted(folder.iterdir()):
            if _NAME.fullmatch(path.name):
                low, high = _span(path)
                if low <= last and high >= first:
                    yield path


def _span(path: Path) -> tuple[int, int]:
    low, high, _ = path.name.split("-", 2)
    return int(low, 16), int(high, 16)


def _read(path: Path, columns: Sequence[str]) -> "pa.Table":
    """The columns that a file has."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read([name for name in columns if name in file.schema_arrow.names])


def _part(path: Path, model: str, version: str, columns: Sequence[str]) -> "pa.Table":
    import pyarrow.compute as pc

    rows = _read(path, [*columns, "model"])
    mask = pc.equal(rows["model"], model)
    if version:
        mask = pc.and_(mask, pc.equal(rows["version"], version))
    return rows.filter(mask).drop_columns(["model"])
