"""The parts of a published split, and what names them."""

from collections.abc import Iterable, Mapping
from typing import Any

from airloom.errors import ConfigError

# What a value is called where nobody says it otherwise, exactly as it is written.
NAMES: dict[str, list[str]] = {
    "train": ["train"],
    "validation": ["validation", "valid", "val", "dev"],
    "test": ["test"],
}
PARTS = tuple(NAMES)


def names_of(given: Mapping[str, Iterable[Any]]) -> dict[str, list[str]]:
    """The values that name each part, as text and sorted; those of a part that is not given are the usual ones.

    Raises:
        ConfigError: there is no such part, one has no value, or a value names two.
    """
    own = as_text(given)
    taken = {name for names in own.values() for name in names}
    return {part: own.get(part, sorted(set(NAMES[part]) - taken)) for part in PARTS}


def as_text(given: Mapping[str, Iterable[Any]]) -> dict[str, list[str]]:
    """What names each part, as text and sorted.

    Raises:
        ConfigError: there is no such part, nothing names it, or something names two.
    """
    own = {part: sorted({value_text(value) for value in values}) for part, values in given.items()}
    for part, values in own.items():
        if part not in PARTS:
            raise ConfigError(f"a published split has no part {part[:80]!r}", f"its parts are {', '.join(PARTS)}")
        if not values or not all(values):
            raise ConfigError(f"nothing names the part {part}", "give at least one value or tag")
        other = next((other for other in own if other != part and set(values) & set(own[other])), "")
        if other:
            both = sorted(set(values) & set(own[other]))[0]
            raise ConfigError(f"{both[:80]!r} names both {part} and {other}", "give it to one of them")
    return own


def value_text(value: Any) -> str:
    """A value of a cell or of a pipeline file as it is compared."""
    return str(value).lower() if isinstance(value, bool) else str(value)
