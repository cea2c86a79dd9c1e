"""What `log:` of a pipeline file may say: what the prediction log keeps of the rows that its model is asked about."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from airloom.spec.base import Section

Column = Annotated[str, Field(min_length=1, max_length=1000)]


class LogSection(Section):
    """What is kept of the inputs of each answered row, beside its answer. It goes with the version."""

    inputs: Literal["full", "profile", "hash", "drop"] = Field(
        default="drop",
        description="the row as it came; a few numbers of it (of a table the cells as they are); a keyed hash of it, "
        "which finds equal rows and tells nothing else; or nothing",
    )
    drop: list[Column] = Field(default=[], max_length=1000, description="columns of which nothing is ever kept")
    hash: list[Column] = Field(default=[], max_length=1000, description="columns of which a keyed hash is kept")

    @model_validator(mode="after")
    def _one_way(self) -> "LogSection":
        if both := sorted({*self.drop} & {*self.hash}):
            raise ValueError(f"{both[0]!r} stands in both drop and hash; keep one")
        if self.inputs == "drop" and (self.drop or self.hash):
            raise ValueError("inputs: drop keeps no column: say full, profile or hash, or leave out the columns")
        return self
