"""What else holds a row, outside of the data repository and DVC: who knows of it, and who can erase it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from airloom.contracts import Record
from airloom.datasets.forgetting.search import Found
from airloom.settings import Settings


@dataclass(frozen=True)
class Place(Record):
    """Something that holds a row, or may.

    Attributes:
        eraser: the name of who knows of it.
        name: of the place, for people and for its eraser.
        erased: whether it is erased with the row; else it is only named.
        note: what it holds, or what a person has to do.
    """

    eraser: str
    name: str
    erased: bool
    note: str = ""


class Eraser(Protocol):
    """Knows one kind of place. A store that keeps rows, or what is made of one row, has one."""

    name: str

    def holds(self, settings: Settings, found: Found) -> Sequence[Place]:
        """The places that hold such rows, or may. Nothing is changed."""

    def erase(self, settings: Settings, place: Place) -> None:
        """Erase a place, or what of it is left; doing it again does no harm."""
