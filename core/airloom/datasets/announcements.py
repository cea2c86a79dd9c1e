"""Which dataset version is announced next. git says what there is; what was announced, Airflow itself keeps."""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from airloom.contracts import DatasetVersion
from airloom.datasets import versions
from airloom.errors import ConfigError
from airloom.settings import Settings

AGAIN_SECONDS = 30.0  # nothing came of the last look: look again
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
    found = KEY.fullmatch(key)
    if not found:
        raise ConfigError(f"the partition key {key[:80]!r} names no dataset version", "the form is vN, for example v3")
    return int(found[1])


def highest(keys: Iterable[str | None], floor: int = 0) -> int:
    """The highest version among partition keys, at least `floor`; what is no version's key does not count."""
    return max([floor, *(number_of(key) for key in keys if key and KEY.fullmatch(key))])


@dataclass(frozen=True)
class Wake:
    """When the announcing DAG was woken last, and what had been announced by then."""

    announced: int
    at: float  # time.monotonic()


def wakes(newest: int, known: int, last: Wake | None, now: float) -> bool:
    """Whether the announcing DAG is woken: at once for every step forward, else again after some time."""
    if newest <= known:
        return False
    return last is None or known > last.announced or now - last.at >= AGAIN_SECONDS


def pending(settings: Settings, dataset: str, known: int) -> DatasetVersion | None:
    """The oldest version that is newer than `known`; None when all are announced."""
    found = versions.list_after(settings, dataset, known)
    if found and found[0].number > known + 1:  # the one before was deleted, or its tag is not visible yet
        time.sleep(GAP_SECONDS)
        found = versions.list_after(settings, dataset, known)
    return found[0] if found else None
