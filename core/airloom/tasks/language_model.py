"""The next token of each prefix of a row."""

from typing import Any, ClassVar

import numpy as np

from airloom.errors import GateError
from airloom.inputs.tokenise import PADDING
from airloom.processing import Processing
from airloom.tasks import whole
from airloom.tasks.base import Asked, Outputs, Task, first, log_softmax, refuse_scores
from airloom.tasks.rows import Answered, Array, ModelAnswers

TOKENS = "tokens.counted"  # kept: how many tokens of a row count
MASK = "attention_mask"  # an input of this name says which tokens are no padding


class LanguageModel(Task):
    """The model takes token numbers and answers with scores (n, length, vocabulary); it needs no labels.

    The score at a place is of the token behind it. Padding counts for nothing: what `attention_mask` leaves out, or
    without one the token 0. Where the dataset has a label, it is the list of tokens, and -100 counts for nothing.
    """

    name: ClassVar[str] = "language_model"
    ignore: ClassVar[int] = -100

    def judge(self, outputs: Outputs, labels: Any, asked: Asked) -> ModelAnswers:
        """The mean log loss of a row's tokens, and how many they are."""
        scores = first(outputs)
        tokens, counts = self._tokens(labels, scores, asked)
        gained = np.take_along_axis(log_softmax(scores[:, :-1], 2), np.where(counts, tokens, 0)[:, 1:, None], 2)[..., 0]
        counted = counts[:, 1:].sum(axis=1)
        losses = -np.where(counts[:, 1:], gained, 0).sum(axis=1) / np.maximum(counted, 1)
        rows = len(scores)
        return ModelAnswers(np.zeros(rows), losses, kept={TOKENS: counted.astype(np.float64)}, label=np.zeros(rows))

    def _tokens(self, labels: Any, scores: Array, asked: Asked) -> tuple[Array, Array]:
        """The tokens, int64 (n, length), and which of them count."""
        if scores.ndim != 3 or scores.shape[1] < 2:
            message = f"{asked.model} answers with shape {scores.shape}"
            raise GateError(message, "give scores (n, length, vocabulary) of at least two tokens")
        given = [cells for name, cells in asked.inputs.items() if name != MASK and cells.dtype.kind in "iu"]
        if isinstance(labels, np.ndarray) and labels.shape[1:] == (0,):
            tokens = given[0].astype(np.int64) if given else np.zeros((0, 0), np.int64)
        else:
            width = scores.shape[1]
            tokens = np.full((len(labels), width), self.ignore, np.int64)
            for row, cell in enumerate(labels):
                tokens[row, : len(cell)] = np.asarray(cell, np.int64)[:width]
        if tokens.shape != scores.shape[:2]:
            message = f"{asked.model} answers {scores.shape[:2]} tokens; its inputs are {tokens.shape}"
            raise GateError(message, "a language model takes whole numbers, (n, length)")
        counts = tokens != self.ignore
        mask = asked.inputs.get(MASK)
        padding = mask == 0 if mask is not None else given[0] == PADDING if given else np.zeros_like(counts)
        counts &= ~padding.astype(bool) if padding.shape == counts.shape else counts
        beyond = counts & ((tokens < 0) | (tokens >= scores.shape[2]))
        if beyond.any():
            row, place = np.argwhere(beyond)[0]
            message = f"token {place} of row {asked.first + row} is {tokens[row, place]}"
            raise GateError(message, f"{asked.model} knows the tokens 0 to {scores.shape[2] - 1}")
        return tokens, counts

    def bad_rows(self, outputs: Outputs) -> Array:
        """See `Task`; minus infinity is a probability of 0."""
        return refuse_scores(first(outputs))

    @property
    def means(self) -> tuple[str, ...]:
        """See `Task`."""
        return ("log_loss",)

    @property
    def wholes(self) -> tuple[str, ...]:
        """See `Task`."""
        return ("perplexity",)

    def merit(self, rows: Answered, metric: str) -> Array | None:
        """Minus the mean log loss of a row's tokens."""
        return -rows.answers.loss if metric == "log_loss" else None

    def whole(self, metric: str) -> whole.Whole | None:
        """See `Task`: the exponential of the mean log loss of all tokens."""
        return whole.OfSums(_losses, _perplexity) if metric == "perplexity" else None

    def answer(self, outputs: Outputs, processing: Processing, inputs: dict[str, Array]) -> list[Any]:
        """The most probable next token of each row."""
        return processing.names(self._last(first(outputs), inputs).argmax(axis=1).tolist())

    def scores(self, outputs: Outputs, processing: Processing, inputs: dict[str, Array]) -> Array | None:  # noqa: ARG002
        """The probability of each token to be the next."""
        return np.exp(log_softmax(self._last(first(outputs), inputs), 1))

    @staticmethod
    def _last(scores: Array, inputs: dict[str, Array]) -> Array:
        """The scores behind the last token of each row that is no padding, (n, vocabulary)."""
        given = inputs.get(MASK)
        if given is None:
            given = next((cells for cells in inputs.values() if cells.dtype.kind in "iu"), None)
        if given is None or given.shape != scores.shape[:2]:
            return scores[:, -1]
        places = given.shape[1] - 1 - (given != 0)[:, ::-1].argmax(axis=1)
        return np.asarray(scores[np.arange(len(scores)), places])


def _losses(rows: Answered) -> Array:
    tokens = rows.answers.kept[TOKENS]
    return np.stack([rows.answers.loss * tokens, tokens], 1)


def _perplexity(sums: Array) -> Array:
    return np.exp(sums[:, 0] / sums[:, 1])
