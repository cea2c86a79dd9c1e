"""Datasets, their versions and the rows of those."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError
from airloom.settings import load

if TYPE_CHECKING:
    import pyarrow as pa

    from airloom.contracts import DatasetVersion


def dataset(name: str) -> "Dataset":
    """A dataset of this installation.

    Raises:
        DataError: there is none of this name.
    """
    found = Dataset(name)
    found.versions  # noqa: B018 - to say at once that there is none
    return found


@dataclass(frozen=True)
class Dataset:
    """The versions of a dataset."""

    name: str

    @property
    def versions(self) -> "list[Version]":
        """Oldest first, without those that were deleted."""
        from airloom.datasets.versions import list_versions

        return [Version(version) for version in list_versions(load(), self.name)]

    def version(self, which: int | str | None = None) -> "Version":
        """A version by its number or tag; the newest where nothing is said.

        Raises:
            DataError: there is no such version.
        """
        from airloom.datasets import versions

        name = (
            self.name
            if which is None
            else f"{self.name}@v{which}"
            if isinstance(which, int)
            else f"{self.name}@{which}"
        )
        return Version(versions.find(load(), name))


class Version:
    """One version of a dataset."""

    def __init__(self, record: "DatasetVersion") -> None:
        self.record = record

    @property
    def name(self) -> str:
        """Such as digits@v3."""
        return self.record.name

    @property
    def rows(self) -> int:
        """That are live."""
        return self.record.rows

    def table(self) -> "pa.Table":
        """All rows, in their order."""
        from airloom.datasets.read import read

        return read(load(), self.record)

    def split(self, part: str, split: dict[str, Any] | None = None) -> "pa.Table":
        """The rows of one part, as a pipeline reads them.

        Args:
            part: train, validation or test.
            split: what a pipeline file says in `dataset.split`; None: what a file has that says nothing.

        Raises:
            ConfigError: there is no such part, or `split` is none.
        """
        from pydantic import ValidationError

        from airloom.datasets.snapshots import snapshot
        from airloom.pipeline.steps.resolve import snapshot_of
        from airloom.spec.dataset import DatasetSection

        try:
            section = DatasetSection.model_validate({"name": self.record.dataset} | ({"split": split} if split else {}))
        except ValidationError as error:
            message = f"the split {str(split)[:200]}: {error.errors()[0]['msg']}"
            raise ConfigError(message, "write it as `dataset.split` of a pipeline file") from None
        settings = load()
        return snapshot.open_snapshot(settings, snapshot_of(settings, section, self.record)).table(part)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.rows} rows, {self.record.message}>"
