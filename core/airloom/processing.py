"""What happens before and after a model's graph: a fixed, declared set, so that training, evaluation and server agree.

What torch can express (`airloom.training.Normalise`, any layer) belongs into the model and is exported with it. The
rest stands in `processing.json` beside the model, data without any code:

    columns     names of numeric columns, stacked in this order to one row; default for tables: all, in their order
    tokenise    text to token numbers: lower case if asked, words and signs apart, 0 fills up, 1 is any unknown token
    labels      a name for each class; the server answers with names
    threshold   for a model with one output: class 1 where its probability (sigmoid) reaches this
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from airloom.errors import CorruptFile, DataError

Array = np.ndarray[Any, Any]
FILE = "processing.json"
PADDING, UNKNOWN, FIRST = 0, 1, 2
_TOKEN = re.compile(r"\w+|[^\w\s]")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tokenise(_Part):
    """Text to `length` token numbers with a stored vocabulary."""

    vocabulary: list[str] = Field(min_length=1, description="token number 2 first")
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
            numbers = [self.numbers.get(token, UNKNOWN) for token in _tokens(text, self.lower)[: self.length]]
            padded[row, : len(numbers)] = numbers
        return padded


class Processing(_Part):
    """What goes before and after the graph."""

    columns: list[str] = []
    tokenise: Tokenise | None = None
    labels: list[str] = []
    threshold: float | None = Field(default=None, gt=0, lt=1)

    def inputs(self, raw: Any) -> Array:
        """What the graph takes, of instances as a dataset's type gives them: an array, texts, or a dict by column.

        Raises:
            DataError: they are of another kind than the model was trained on.
        """
        if self.tokenise is not None:
            if not isinstance(raw, list) or not all(isinstance(text, str) for text in raw):
                raise DataError("the model takes texts", "give a list of text")
            return self.tokenise(raw)
        if isinstance(raw, dict):
            return self._stacked(raw)
        values = np.asarray(raw)
        if values.dtype.kind not in "biuf":
            raise DataError(
                f"the model takes numbers, not {values.dtype}", "text needs Tokenise; see docs/how-to/gate.md"
            )
        if values.dtype == np.uint8 and values.ndim > 2:
            return values / np.float32(255)  # images of bytes, as in training
        return values.astype(np.float32, copy=False)

    def _stacked(self, raw: dict[str, Any]) -> Array:
        columns = self.columns or [name for name, cells in raw.items() if np.asarray(cells).dtype.kind in "biuf"]
        missing = [name for name in columns if name not in raw]
        if missing or not columns:
            raise DataError(f"there is no column {', '.join(missing) or 'of numbers'}", f"there are {', '.join(raw)}")
        parts = [np.asarray(raw[name], np.float32) for name in columns]
        return parts[0] if len(parts) == 1 and parts[0].ndim > 1 else np.stack(parts, axis=1)

    def scores(self, outputs: Array) -> Array:
        """Logits, (n, classes), of the graph's outputs; a single output becomes two classes with `threshold`."""
        if self.threshold is None:
            return outputs
        single = outputs.reshape(len(outputs)).astype(np.float64)
        shift = np.log(self.threshold / (1 - self.threshold))
        return np.stack([np.full_like(single, shift), single], axis=1)

    def names(self, classes: Sequence[int]) -> list[Any]:
        """Class numbers by name, where there are names."""
        return [self.labels[number] if number < len(self.labels) else number for number in classes]


def parse(data: bytes) -> Processing:
    """The processing of a `processing.json` whose digest was checked.

    Raises:
        CorruptFile: it is no such file.
    """
    try:
        return Processing.model_validate_json(data)
    except ValidationError as error:
        raise CorruptFile(
            f"{FILE} is no processing of Airloom: {str(error)[:300]}", "register the model again"
        ) from None


def _tokens(text: str, lower: bool) -> list[str]:
    return _TOKEN.findall(text.lower() if lower else text)
