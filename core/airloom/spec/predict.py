"""What `predict:` of a pipeline file may say: which datasets each new champion answers."""

from typing import Annotated

from pydantic import Field, field_validator

from airloom.errors import ConfigError
from airloom.names import DatasetName
from airloom.spec.base import Section
from airloom.spec.dataset import Name


class PredictSection(Section):
    """Rows that each new champion answers."""

    dataset: str = Field(description="the newest version of a dataset: incoming; or a fixed one: incoming@v3")
    split: str = Field(default="", description="only rows of this split, as the model's training had it; empty: all")
    commit: Name | None = Field(
        default=None, description="the dataset to which the answers are added; left out, they stay in the state folder"
    )
    scores: bool = Field(default=False, description="the probability of each class too")
    columns: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[], description="columns of the dataset that stand beside the answers"
    )

    @field_validator("dataset")
    @classmethod
    def _is_name(cls, text: str) -> str:
        try:
            DatasetName.parse(text)
        except ConfigError as error:
            raise ValueError(f"{error.message}; {error.hint}") from None
        return text
