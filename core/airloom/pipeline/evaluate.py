"""What `evaluate:` of a pipeline file may say: the slices of the test split that are looked at apart."""

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from airloom.pipeline.section import Scalar, Section

SliceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_ .-]{0,59}$")]


class Slice(Section):
    """Rows of the test split: exactly one of `label`, `tag`, `column`."""

    label: Scalar | list[Scalar] | None = Field(default=None, description="rows with this label, or one of these")
    tag: str | None = Field(default=None, min_length=1, description="rows of commits with this tag: source=phone")
    column: str | None = Field(default=None, min_length=1, description="a column of the dataset type's profile")
    equals: Scalar | None = None
    at_least: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Slice":
        if sum(kind is not None for kind in (self.label, self.tag, self.column)) != 1:
            raise ValueError("needs exactly one of label: 3, tag: source=phone, column: mean_intensity")
        bounds = [self.equals, self.at_least, self.below]
        if (self.column is None) != all(bound is None for bound in bounds):
            raise ValueError("column goes with equals, at_least or below; label and tag go alone")
        return self


class EvaluateSection(Section):
    """How candidate and champion are looked at."""

    slices: dict[SliceName, Slice] = Field(default={}, description="parts of the test split by name")
