"""What `airloom model` answers: a list of models, everything that a version carries, and what differs between two."""

import json
from dataclasses import dataclass
from typing import Any

from airloom.contracts import Record
from airloom.tracking.tags import Tag

_PREFIX = "airloom."
_JSON = (Tag.SIGNED, Tag.DIGESTS, Tag.METRICS, Tag.PARAMETERS, Tag.OVERRIDE)  # tags whose text is JSON


@dataclass(frozen=True)
class ListedVersion(Record):
    """A model version in one line."""

    version: str
    aliases: list[str]
    dataset: str  # digits@v3
    metrics: dict[str, float]
    overridden: bool  # a person let it through in spite of the gate
    created: int  # ms of Unix time


@dataclass(frozen=True)
class ListedModel(Record):
    """A registered model with its complete versions, newest first."""

    name: str
    aliases: dict[str, str]  # the number that each one names
    versions: list[ListedVersion]


@dataclass(frozen=True)
class VersionDetails:
    """Everything that a model version carries."""

    name: str
    version: str
    aliases: list[str]
    signature: dict[str, Any]  # as MLflow has it; `error` where it cannot be read
    tags: dict[str, str]  # of Airloom, see `Tag`
    packages: dict[str, str]  # installed where it was trained; empty for a version of before this was kept
    signed_by: str = ""  # the key that vouches for it, and whose it is
    refused: str = ""  # why its signature is not trusted here; no file of it was read then

    @property
    def metrics(self) -> dict[str, float]:
        """On the test split."""
        return dict(json.loads(self.tags.get(Tag.METRICS, "{}")))

    @property
    def parameters(self) -> dict[str, Any]:
        """Of the training."""
        return dict(json.loads(self.tags.get(Tag.PARAMETERS, "{}")))

    @property
    def digests(self) -> dict[str, str]:
        """The sha256 of each of its files."""
        return dict(json.loads(self.tags.get(Tag.DIGESTS, "{}")))

    @property
    def override(self) -> dict[str, str]:
        """Who let it through in spite of the gate, why and when; empty where nobody had to."""
        return dict(json.loads(self.tags.get(Tag.OVERRIDE, "{}")))

    def to_dict(self) -> dict[str, Any]:
        """As JSON, the tags by their names without the prefix among the other fields."""
        # Of a version that is refused nothing is trusted to be what it should.
        plain = () if self.refused else _JSON
        tags = {tag.removeprefix(_PREFIX): json.loads(v) if tag in plain else v for tag, v in self.tags.items()}
        own: dict[str, Any] = {"name": self.name, "version": self.version, "aliases": self.aliases}
        own |= {"signed_by": self.signed_by, "refused": self.refused, "signature": self.signature}
        return {**own, **tags, "packages": self.packages}


@dataclass(frozen=True)
class VersionDifference:
    """What differs between two model versions."""

    values: dict[str, tuple[object, object]]  # by name: of the first, of the second; None where one has it not

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {name: list(pair) for name, pair in self.values.items()}
