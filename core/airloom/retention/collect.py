"""Plan a collection, and carry it out."""

import fcntl
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from airloom import database
from airloom.errors import AirloomError, ConfigError
from airloom.retention import dataset_objects, folders, models
from airloom.retention.in_use import find_in_use
from airloom.retention.items import Removal, Rules, empty_trash
from airloom.settings import Settings

log = logging.getLogger(__name__)
LogLine = Callable[[str], None]


def plan(settings: Settings, rules: Rules) -> list[Removal]:
    """Everything that was looked at, with what happens to it and why.

    Raises:
        AirloomError: a store does not answer: then nobody knows what is needed, and nothing may go.
    """
    if not settings.home.is_dir():
        return []
    with database.short_of_room():
        in_use = find_in_use(settings, rules)
        removals = itertools.chain(
            dataset_objects.objects(settings, rules, in_use),
            folders.jobs(settings, rules, in_use),
            folders.studies(settings, rules, in_use),
            folders.answers(settings, rules),
            folders.predictions(settings, rules),
            models.models(settings, rules, in_use),  # last: MLflow writes down what goes, which needs room
        )
        return list(removals)


def collect(settings: Settings, rules: Rules, log_line: LogLine) -> list[Removal]:
    """Remove what the plan says; killed at any point, the next one goes on.

    Raises:
        ConfigError: another collection is under way.
    """
    with _alone(settings), database.short_of_room():
        empty_trash(settings)
        dataset_objects.sweep(settings)
        return [_take(removal, log_line) if removal.goes else removal for removal in plan(settings, rules)]


def _take(removal: Removal, log_line: LogLine) -> Removal:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import DBAPIError

    try:
        why = removal.take()
    except (AirloomError, OSError, MlflowException, DBAPIError) as error:
        why = f"it could not be removed: {error}"
        log_line(f"{removal.name}: {why}")
    return replace(removal, goes=False, why=why) if why else removal


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    # The lock of the folder itself: a file beside it would need room.
    folder = os.open(settings.make_home(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ConfigError(f"another collection of {settings.home} is under way", "wait until it ended") from None
    finally:
        os.close(folder)


def rules_of(older_than: str, grace: str) -> Rules:
    """What is old, from words like `30d`.

    Raises:
        ConfigError: one is no time.
    """
    from pydantic import TypeAdapter, ValidationError

    from airloom.spec.base import Duration

    values = {}
    for option, text in (("--older-than", older_than), ("--grace", grace)):
        try:
            values[option] = TypeAdapter(Duration).validate_python(text)
        except ValidationError:
            message = f"{option} is {text[:80]!r}"
            raise ConfigError(message, "give a time above 0 with s, m, h or d: 12h, 30d") from None
    return Rules(time.time(), values["--older-than"], values["--grace"])


def render(items: list[Removal], *, applied: bool) -> str:
    """For people: a line for each thing that goes, kept ones by their reason, the sums."""
    verb = "removed" if applied else "would be removed"
    lines = [f"{verb} {item.kind:11} {item.name}, {size(item.bytes)}: {item.why}" for item in items if item.goes]
    staying: dict[tuple[str, str], list[Removal]] = {}
    for item in items:
        if not item.goes:
            staying.setdefault((item.kind, item.why), []).append(item)
    lines += [
        f"kept {kind:11} {len(same)} of {size(sum(item.bytes for item in same))}: {why}"
        for (kind, why), same in sorted(staying.items())
    ]
    sums = summary(items)
    return "\n".join([*lines, f"{verb}: {size(sums['removed_bytes'])}; kept: {size(sums['kept_bytes'])}"])


def summary(items: list[Removal]) -> dict[str, Any]:
    """For programs."""
    return {
        "removed_bytes": sum(item.bytes for item in items if item.goes),
        "kept_bytes": sum(item.bytes for item in items if not item.goes),
        "items": [item.to_dict() for item in items],
    }


def size(count: int) -> str:
    """Bytes in words."""
    from rich.filesize import decimal

    return decimal(count)
