"""What is declared of one input of a graph: a part of `processing.json`, data without any code.

columns     of a row that it is made of; default: the one of its own name
tokenizer   a `tokenizer.json` of Hugging Face's `tokenizers`: text to token numbers, at most `length` of them
categories  column -> its values in training; 0 is any other and a missing cell, 1 the first
numbers     column -> mean and deviation in training; a missing cell is the mean
picture     mode and size of pictures that are given as files
pixels      what those who ask give: `unit` for 0..1, `bytes` for 0..255
pad         what fills up rows that are shorter than the longest of a batch, or than a fixed size
mask        the input that this one says of which of its values are there, 1, and which are filled up, 0
"""

import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, model_validator

from airloom.classes import name_of
from airloom.errors import ConfigError
from airloom.inputs.cells import CellRefused, Cells, category, numbers, plain
from airloom.inputs.pixels import Pixels
from airloom.pictures import Picture

MOST_CATEGORIES, LONGEST_NAME = 100_000, 1000
Name = Annotated[str, Field(max_length=LONGEST_NAME)]
_KINDS = ("tokenizer", "categories", "numbers", "picture", "mask")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Scale(_Part):
    """How a column of numbers is standardised: (value - mean) / deviation."""

    mean: float = Field(allow_inf_nan=False)
    deviation: float = Field(gt=0, allow_inf_nan=False)


class InputProcessing(_Part):
    """What goes before one input of the graph."""

    columns: list[Name] = Field(default=[], max_length=100_000)
    tokenizer: dict[str, Any] | None = None
    length: int | None = Field(default=None, ge=1, le=100_000)
    categories: dict[Name, list[StrictBool | StrictInt | Name]] = {}
    numbers: dict[Name, Scale] = {}
    picture: Picture | None = None
    pixels: Pixels | None = None
    pad: float | None = Field(default=None, allow_inf_nan=False)
    mask: Name | None = None

    @classmethod
    def tokens(cls, tokenizer: Any, length: int, columns: Sequence[str] = (), pad: int | None = None) -> Self:
        """Text to token numbers.

        Args:
            tokenizer: a `tokenizers.Tokenizer`, or the content of a `tokenizer.json`.
            length: token numbers of one text at most; longer texts are cut.
            columns: the column of texts; default: that of the input's name.
            pad: the number that fills up; default: as the tokenizer says, else 0.
        """
        text = tokenizer.to_str() if hasattr(tokenizer, "to_str") else tokenizer
        made = json.loads(text) if isinstance(text, str | bytes) else dict(text)
        padding = made.get("padding") or {}
        pad = int(padding.get("pad_id", 0)) if pad is None else pad
        return cls(tokenizer=made, length=length, columns=list(columns), pad=pad)

    @classmethod
    def learned_numbers(cls, columns: Mapping[str, Cells]) -> Self:
        """Standardisation by the mean and deviation of some rows, missing cells left out.

        Args:
            columns: cells by column, as `run.tensors` gives them, or arrays, or lists.

        Raises:
            ConfigError: a column has no number, or something that is none.
        """
        scales = {}
        for name, cells in columns.items():
            try:
                values = numbers(plain(cells))
            except CellRefused as error:
                message = f"row {error.place} of the column {name!a} {error.problem}"
                raise ConfigError(message, error.hint or "take it as a category, or leave it out") from None
            there = values[~np.isnan(values)]
            if not len(there):
                raise ConfigError(f"the column {name!a} has no number to learn a mean of", "leave it out")
            scales[name] = Scale(mean=float(there.mean()), deviation=float(there.std()) or 1.0)
        return cls(numbers=scales)

    @classmethod
    def learned_categories(cls, columns: Mapping[str, Cells]) -> Self:
        """A vocabulary of each column: its values in their order.

        Args:
            columns: cells by column, text, whole numbers or booleans, as `run.tensors` gives them, or lists.

        Raises:
            ConfigError: a column has something else.
        """
        found = {}
        for name, cells in columns.items():
            try:
                values = [category(cell, place) for place, cell in enumerate(plain(cells))]
            except CellRefused as error:
                raise ConfigError(f"row {error.place} of the column {name!a} {error.problem}", "leave it out") from None
            there: dict[str, Any] = {name_of(value): value for value in values if value is not None}
            found[name] = [there[key] for key in sorted(there)]
        return cls(categories=found)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [kind for kind in _KINDS if getattr(self, kind)]
        if len(kinds) > 1:
            raise ValueError(f"an input is made by one of these only: {', '.join(kinds)}")
        if (self.tokenizer is None) != (self.length is None):
            raise ValueError("tokenizer and length belong together")
        if self.picture and self.picture.label:
            raise ValueError("what of the label lies on a picture is said to run.pictures")
        if self.columns and (self.categories or self.numbers or self.mask):
            raise ValueError(f"{kinds[0]} names its columns itself")
        if len(self.columns) > 1 and (self.tokenizer or self.picture or self.pad is not None):
            raise ValueError("one column only can be tokenised, decoded or filled up")
        for name, values in self.categories.items():
            if len({name_of(value) for value in values}) < len(values):
                raise ValueError(f"a category of {name!r} stands twice")
            if len(values) > MOST_CATEGORIES:
                raise ValueError(f"{name!r} has {len(values)} categories, at most {MOST_CATEGORIES}")
        return self

    def needs(self, name: str) -> list[str]:
        """The columns of a row that it is made of.

        Args:
            name: of the input.
        """
        if self.mask:
            return []
        return list(self.categories) or list(self.numbers) or self.columns or [name]

    @property
    def sizes(self) -> list[int]:
        """How many numbers each column's categories have: rows of an embedding."""
        return [len(values) + 1 for values in self.categories.values()]

    @cached_property
    def vocabularies(self) -> dict[str, dict[str, int]]:
        """The number of each category by its name, by column."""
        return {
            column: {name_of(value): number for number, value in enumerate(values, 1)}
            for column, values in self.categories.items()
        }

    @cached_property
    def encoder(self) -> Any:
        """The tokenizer, cut at `length` and without padding, which is done here for all inputs alike.

        Raises:
            ConfigError: the library is not installed, or cannot read it.
        """
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not outlive a fork
        try:
            from tokenizers import Tokenizer
        except ImportError:
            message = "tokenizers, which turns text into token numbers, is not installed here"
            raise ConfigError(message, "pip install 'airloom[training]', or 'airloom[serving]'") from None
        try:
            encoder = Tokenizer.from_str(json.dumps(self.tokenizer))
        except Exception as error:  # the library raises plain exceptions
            raise ConfigError(f"the tokenizer cannot be read: {str(error)[:300]}", "give a tokenizer.json") from None
        encoder.no_padding()
        cut = {key: value for key, value in (encoder.truncation or {}).items() if key != "max_length"}
        assert self.length is not None  # noqa: S101 - beside a tokenizer
        encoder.enable_truncation(self.length, **cut)
        return encoder
