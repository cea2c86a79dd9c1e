"""What `dataset:` of a pipeline file may say: which rows, and how they are split."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from airloom.spec.base import Scalar, Section

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="lower case, digits and _, at most 40")]
Share = Annotated[float, Field(gt=0, lt=1)]
Named = Annotated[list[Scalar], Field(min_length=1)]


class ColumnSplit(Section):
    """A split that was published with the data: each row says its part in a column."""

    column: str = Field(min_length=1, description="the column that says it; it is no input of the model")
    train: Named | None = Field(default=None, description="the values of training rows; else train")
    validation: Share | Named | None = Field(
        default=None,
        description="the values, else validation, valid, val or dev; or, without any, a share of train",
    )
    test: Named | None = Field(default=None, description="the values of test rows; else test")


class TaggedParts(Section):
    """Tags of commits: the rows of a commit with one of them belong to that part."""

    train: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, description="of training rows")
    validation: Share | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] = Field(
        description="tags, or a share of train"
    )
    test: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, description="of test rows")


class TagSplit(Section):
    """A split that was published with the data: each commit brought rows of one part."""

    tags: TaggedParts


def _kind_of_split(split: object) -> str:
    if isinstance(split, ColumnSplit) or (isinstance(split, dict) and "column" in split):
        return "column"
    return "tags" if isinstance(split, TagSplit) or (isinstance(split, dict) and "tags" in split) else "shares"


Shares = dict[Literal["train", "validation", "test"], Share]
Split = Annotated[
    Annotated[Shares, Tag("shares")] | Annotated[ColumnSplit, Tag("column")] | Annotated[TagSplit, Tag("tags")],
    Discriminator(_kind_of_split),
]


SPLIT: Shares = {"train": 0.6, "validation": 0.15, "test": 0.25}


class DatasetSection(Section):
    """Which dataset, and how its rows are split."""

    name: Name = Field(description="of the dataset; lower case, digits and _, at most 40")
    split: Split = Field(
        default=SPLIT,
        description="fractions by hash, summing to 1; or a published split, by a column or by tags of commits. "
        "Left out, a dataset that declares a published split has that",
    )

    tags: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[], description="only rows of commits with all of these tags; !tag: of commits without it"
    )
    since: int = Field(default=0, ge=0, description="only rows that came after this version; 0: all")

    @field_validator("split")
    @classmethod
    def _whole(cls, split: Shares | ColumnSplit | TagSplit) -> Shares | ColumnSplit | TagSplit:
        if not isinstance(split, dict):
            return split
        if set(split) != {"train", "validation", "test"} or abs(sum(split.values()) - 1) > 1e-9:
            raise ValueError(f"needs train, validation and test, summing to 1; got {split}")
        return split
