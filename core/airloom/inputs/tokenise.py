"""Text to token numbers by words and signs: for the models that have it; see `InputProcessing.tokens` for new ones."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

Array = np.ndarray[Any, Any]
PADDING, UNKNOWN, FIRST = 0, 1, 2
_TOKEN = re.compile(r"\w+|[^\w\s]")


class Tokenise(BaseModel):
    """Text to `length` token numbers with a stored vocabulary."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocabulary: list[str] = Field(min_length=1, max_length=1_000_000, description="token number 2 first")
    length: int = Field(ge=1, le=100_000)
    lower: bool = True

    @field_validator("vocabulary")
    @classmethod
    def _each_once(cls, vocabulary: list[str]) -> list[str]:
        if len(set(vocabulary)) < len(vocabulary):
            raise ValueError("a token stands twice in the vocabulary")
        return vocabulary

    @classmethod
    def learn(cls, texts: Iterable[str], size: int, length: int, lower: bool = True) -> "Tokenise":
        """A vocabulary of the `size` most frequent tokens, alphabetically where equally frequent.

        Args:
            texts: that the tokens are counted in.
            size: how many tokens the vocabulary has.
            length: token numbers of one text; longer texts are cut.
            lower: whether case is ignored.
        """
        counts = Counter(token for text in texts for token in _tokens(text, lower))
        chosen = sorted(counts, key=lambda token: (-counts[token], token))[:size]
        return cls(vocabulary=chosen, length=length, lower=lower)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Token numbers by token."""
        return {token: number for number, token in enumerate(self.vocabulary, FIRST)}

    @property
    def size(self) -> int:
        """Token numbers that there are: rows of an embedding."""
        return len(self.vocabulary) + FIRST

    def __call__(self, texts: Sequence[str]) -> Array:
        """Token numbers, int64 (n, length)."""
        padded = np.full((len(texts), self.length), PADDING, np.int64)
        for row, text in enumerate(texts):
            tokens = islice(_tokens(text, self.lower), self.length)  # what is cut is never made
            numbers = [self.numbers.get(token, UNKNOWN) for token in tokens]
            padded[row, : len(numbers)] = numbers
        return padded


def _tokens(text: str, lower: bool) -> Iterator[str]:
    return (found.group() for found in _TOKEN.finditer(text.lower() if lower else text))
