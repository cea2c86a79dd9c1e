"""What a forgetting still has to remove once its push is visible, so that one that was killed is finished.

It names objects and places, and goes with them; keys and values are never in it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airloom.datasets.forgetting.places import Place
from airloom.errors import CorruptFile
from airloom.files import read_json, write_private
from airloom.settings import Settings


@dataclass(frozen=True)
class Pending:
    """The rest of a forgetting.

    Attributes:
        dataset: whose rows.
        commit: what its push makes the commit of main.
        at: seconds since 1970; an object that was written since belongs to somebody else.
        objects: names that no version has after the push.
        places: what else is erased.
    """

    dataset: str
    commit: str
    at: float
    objects: list[str]
    places: list[Place]


def keep(settings: Settings, pending: Pending) -> None:
    """Write it down, before the push."""
    values: dict[str, Any] = vars(pending) | {"places": [place.to_dict() for place in pending.places]}
    write_private(_file(settings), json.dumps(values))


def read(settings: Settings) -> Pending | None:
    """What is left of an earlier forgetting; None where nothing is.

    Raises:
        CorruptFile: the file is damaged.
    """
    hint = "remove it, and `airloom gc --apply`: that removes what no version names"
    values = read_json(_file(settings), hint)
    if values is None:
        return None
    try:
        return Pending(**values | {"places": [Place(**place) for place in values["places"]]})
    except (TypeError, KeyError) as error:
        raise CorruptFile(f"{_file(settings)} is damaged: {error}", hint) from None


def done(settings: Settings) -> None:
    """Nothing is left to remove."""
    _file(settings).unlink(missing_ok=True)


def _file(settings: Settings) -> Path:
    return settings.home / "data" / "forgetting.json"
