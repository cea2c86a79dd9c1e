"""Weights that a training begins with, as the `inputs` of a pipeline file name them."""

from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from airloom.spec.base import Section

_HUB = r"^$|^[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?$"


class WeightsSection(Section):
    """Pretrained weights: files of the project, of a model in the Hugging Face hub, or of an installed package."""

    name: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$",
        description="run.weights(NAME) gives their place to the training",
    )
    path: str = Field(
        default="",
        description="a file or folder of the project; with hub or package, the part of it",
    )
    hub: str = Field(
        default="",
        pattern=_HUB,
        description="OWNER/NAME of a model in the local cache of the Hugging Face hub",
    )
    revision: str = Field(default="", pattern=r"^[\w./-]*$", description="its branch, tag or commit; default main")
    network: bool = Field(default=False, description="fetch it from the hub where it is not in the cache")
    package: str = Field(
        default="", pattern=r"^$|^[A-Za-z0-9][\w.-]*$", description="a Python package that is installed for the jobs"
    )

    @property
    def source(self) -> dict[str, Any]:
        """What is said of it but its name; what was left out is left out."""
        return self.model_dump(exclude={"name"}, exclude_defaults=True)

    @model_validator(mode="after")
    def _one_source(self) -> "WeightsSection":
        if self.hub and self.package:
            raise ValueError("name one of hub and package")
        if not (self.hub or self.package or self.path):
            raise ValueError("needs one of path: weights/x.safetensors, hub: OWNER/NAME, package: NAME")
        if (self.revision or self.network) and not self.hub:
            raise ValueError("revision and network go with hub")
        if PurePosixPath(self.path).is_absolute() or ".." in PurePosixPath(self.path + self.revision).parts:
            raise ValueError(f"{self.path or self.revision!r} leads out of the place that it counts from")
        return self


def _kind(value: object) -> str:
    return "weights" if isinstance(value, dict | WeightsSection) else "file"


# One message, instead of one for each form that the entry could have had.
InputEntry = Annotated[Annotated[str, Tag("file")] | Annotated[WeightsSection, Tag("weights")], Discriminator(_kind)]
