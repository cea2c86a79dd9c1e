"""The dataset types: four of our own, others by the entry point group `airloom.dataset_types`."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from airloom.datasets.types.base import DatasetType
from airloom.datasets.types.generic import GenericType
from airloom.datasets.types.image import ImageType
from airloom.datasets.types.tabular import TabularType
from airloom.datasets.types.text import TextType
from airloom.errors import ConfigError

GROUP = "airloom.dataset_types"
OWN: dict[str, DatasetType] = {kind.name: kind for kind in (ImageType(), TextType(), TabularType(), GenericType())}

__all__ = ["GROUP", "DatasetType", "get_type", "known_types"]


def known_types() -> list[str]:
    """The names of all dataset types, ours first."""
    return [*OWN, *sorted({entry.name for entry in entry_points(group=GROUP)} - set(OWN))]


@cache
def get_type(name: str) -> DatasetType:
    """A dataset type by its name; the names of ours are never another's.

    Raises:
        ConfigError: there is none, several packages offer one, or what they offer is none.
    """
    if name in OWN:  # without looking through all installed packages, which takes 30 ms before a first batch
        return OWN[name]
    offers = list(entry_points(group=GROUP, name=name))
    if not offers:
        raise ConfigError(f"there is no dataset type {name[:80]!a}", f"known here: {', '.join(known_types())}")
    if len(offers) > 1:
        places = ", ".join(entry.value for entry in offers)
        raise ConfigError(f"the dataset type {name!a} is offered more than once: {places}", "uninstall or rename one")
    return _load(offers[0])


def _load(entry: EntryPoint) -> DatasetType:
    try:
        kind = entry.load()
    except Exception as error:
        message = f"the dataset type {entry.name!a} cannot be loaded from {entry.value}: {error!r}"
        raise ConfigError(message, "mend or uninstall the package that offers it") from error
    if not isinstance(kind, DatasetType) or isinstance(kind, type) or kind.name != entry.name:
        message = f"{entry.value}, offered as dataset type {entry.name!a}, is {str(kind)[:120]}"
        raise ConfigError(message, "it must name an object like airloom.datasets.types.DatasetType, with that name")
    return kind
