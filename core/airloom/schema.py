"""The version of our state, and the steps from one version to the next; see docs/adr/0033.

A database of ours holds its version in the table `airloom_schema`, a state folder in `schema.json`. Those of the
releases before had neither: they are of version 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airloom.errors import StateError
from airloom.version import __version__

if TYPE_CHECKING:
    from sqlalchemy import Connection

FIRST = 1  # what holds no version
VERSION = 1  # what this release reads and writes
TABLE, FILE = "airloom_schema", "schema.json"
OWN = ("job_attempts", "study_states", "study_slots", "gate_tries", "deployments", "prediction_counts")  # of version 1


@dataclass(frozen=True)
class Step:
    """The way to a version from the one before it. It never changes once it was released.

    Attributes:
        to: the version.
        what: it does, for people.
        database: changes our tables, in one transaction with the version; it names columns itself, as the tables of
            today may have others.
    """

    to: int
    what: str
    database: "Callable[[Connection], None]"


STEPS: tuple[Step, ...] = ()


def steps_from(version: int) -> list[Step]:
    """The steps that lead from a version to this release's, in their order."""
    return sorted((step for step in STEPS if version < step.to <= VERSION), key=lambda step: step.to)


def check(place: object, version: int, release: str = "") -> None:
    """Refuse what another release wrote, before anything is written to it.

    Args:
        place: what it is, for people.
        version: that it holds.
        release: of Airloom that wrote it.

    Raises:
        StateError: it is newer, or must be migrated.
    """
    here = f"this is Airloom {__version__}, of schema {VERSION}"
    if version > VERSION:
        by = f", by Airloom {release}" if release else ", by a newer Airloom"
        hint = "install that release or a newer one; the only way back is the backup from before it was migrated"
        raise StateError(f"{place} is of schema {version}{by}; {here}", hint)
    if version < VERSION:
        hint = "`airloom db migrate` makes a backup and migrates it, as `airloom up` does"
        raise StateError(f"{place} is of schema {version}; {here}", hint)
