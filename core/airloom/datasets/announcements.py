"""Which dataset version is announced next. git says what there is; what was announced, Airflow itself keeps."""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from airloom.contracts import DatasetVersion
from airloom.datasets import versions
from airloom.errors import ConfigError
from airloom.files import write_private
from airloom.settings import Settings

AGAIN_SECONDS = 30.0  # nothing came of the last look: look again
SELDOM_SECONDS = 600.0
GAP_SECONDS = 1.0  # a fetch brings the tags of several versions one after the other
KEY = re.compile(r"v([1-9][0-9]{0,8})")


def partition_key(number: int) -> str:
    """`v3`: the partition of the dataset's asset, and of the runs that work on version 3."""
    return f"v{number}"


def number_of(key: str) -> int:
    """`v3` → 3.

    Raises:
        ConfigError: the key has another form.
    """
    form = KEY.fullmatch(key)
    if not form:
        raise ConfigError(f"the partition key {key[:80]!r} names no dataset version", "the form is vN, for example v3")
    return int(form[1])


def highest_key(keys: Iterable[str | None], floor: int = 0) -> int:
    """The highest version among partition keys, at least `floor`; what is no version's key does not count."""
    return max([floor, *(number_of(key) for key in keys if key and KEY.fullmatch(key))])


@dataclass(frozen=True)
class Wake:
    """When the announcing DAG was woken last, what had been announced by then, and how long to wait for more."""

    announced: int
    at: float  # time.monotonic()
    patience: float = AGAIN_SECONDS


def wake(newest: int, known: int, last: Wake | None, now: float) -> Wake | None:
    """The next waking of the announcing DAG: at once for every step forward, else again, ever more seldom.

    Args:
        newest: number of the newest version.
        known: the highest number that was announced.
        last: the waking before.
        now: time.monotonic().

    Returns:
        None where it need not be woken now.
    """
    if newest <= known:
        return None
    if last is None or known > last.announced:
        return Wake(known, now, AGAIN_SECONDS)
    if now - last.at < last.patience:
        return None
    return Wake(known, now, min(2 * last.patience, SELDOM_SECONDS))


def kept(settings: Settings, dataset: str) -> int:
    """What this home knows to be announced. It may be missing or behind, but is never ahead of Airflow."""
    try:
        text = _file(settings, dataset).read_bytes().strip()
    except FileNotFoundError:
        return 0
    return int(text) if text.isdigit() else 0


def keep(settings: Settings, dataset: str, number: int) -> None:
    """Tell the watcher, which would need seconds and a hundred megabytes to ask Airflow."""
    if kept(settings, dataset) != number:
        write_private(_file(settings, dataset), str(number))


def _file(settings: Settings, dataset: str) -> Path:
    return settings.home / "announced" / versions.check_name(dataset)


def pending(settings: Settings, dataset: str, known: int) -> DatasetVersion | None:
    """The oldest version that is newer than `known`; None when all are announced."""
    newer = versions.list_after(settings, dataset, known)
    if newer and newer[0].number > known + 1:  # the one before was deleted, or its tag is not visible yet
        time.sleep(GAP_SECONDS)
        newer = versions.list_after(settings, dataset, known)
    return newer[0] if newer else None
