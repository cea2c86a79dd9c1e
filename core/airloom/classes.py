"""Classes are names. A number stands for a class within one model only, and each model keeps its own list of names.

Labels are text, whole numbers or booleans; the name of a class is its label's text: `cat`, `7`, `true`.
"""

from collections.abc import Iterable
from typing import Any

Label = str | int | bool
_LONGEST_NUMBER = 18  # digits


def name_of(label: Any) -> str:
    """The name of the class that a label says."""
    if isinstance(label, bool):
        return "true" if label else "false"
    return str(label)


def in_order(names: Iterable[str]) -> list[str]:
    """Each name once: whole numbers by their value (2 before 10), then the others as text."""
    return sorted(set(names), key=_place)


def _place(name: str) -> tuple[int, int, str]:
    digits = name.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST_NUMBER:
        return 0, int(name), name
    return 1, 0, name
