"""Random numbers of transforms that run in threads: drawn by the row or batch, so that a resumed epoch draws the same.

torch has one generator a process, which the training uses meanwhile. Within `Seeded` torch's functions draw from one of
the place instead, whatever thread is at work, and the training's own numbers stay what they are.
"""

import hashlib
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from airloom.errors import ConfigError

_DRAWING = {
    *("rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal", "bernoulli"),
    *("multinomial", "poisson", "binomial", "_sample_dirichlet", "_standard_gamma"),
    *("uniform_", "normal_", "random_", "bernoulli_", "exponential_", "geometric_", "log_normal_", "cauchy_"),
}
_UNSEEDED = {
    *("dropout", "alpha_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d", "dropout3d", "rrelu"),
    "gumbel_softmax",
}


class Place(NamedTuple):
    """What a batch's random numbers depend on: the seed, the epoch, and its rows, by their positions in the split.

    The rows come sorted into the batch; the first of `positions` is the first in the epoch's order.
    """

    seed: int
    epoch: int
    positions: NDArray[np.int64]


_here = threading.local()


def at(place: Place) -> None:
    """From here on this thread makes that batch."""
    _here.place = place


def place() -> Place:
    """The batch that this thread makes; outside of a loader always the same."""
    return getattr(_here, "place", None) or Place(0, 0, np.zeros(0, np.int64))


class Seeded:
    """A transform of a whole batch whose random numbers are those of the batch.

    They are the same each time that the epoch is read on as many ranks.

    Args:
        transform: called with what this is called with.
    """

    def __init__(self, transform: Callable[..., Any]) -> None:
        self._transform = transform

    def __call__(self, *batch: Any) -> Any:
        """What the transform makes of the batch."""
        here = place()
        first = int(here.positions[0]) if len(here.positions) else 0
        with _drawing(here.seed, here.epoch, first, "batch"):
            return self._transform(*batch)


class EachRow:
    """A transform of a row, for each row of a batch; its random numbers are those of the row, at any number of ranks.

    Args:
        transform: of one row's input, or of the dict of its columns; what it returns is put together again.
    """

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        self._transform = transform

    def __call__(self, batch: Any, count: int) -> Any:
        """What the transform makes of the rows.

        Raises:
            ConfigError: it makes tensors of several shapes.
        """
        here, made = place(), []
        rows = np.sort(here.positions).tolist() if len(here.positions) == count else range(count)
        for number, row in enumerate(rows):
            with _drawing(here.seed, here.epoch, row, "row"):
                made.append(self._transform(_cell(batch, number)))
        return _together(made) if made else batch


def _drawing(seed: int, epoch: int, number: int, kind: str) -> Any:
    import torch

    words = f"{kind}/{seed}/{epoch}/{number}".encode()
    digest = hashlib.blake2b(words, digest_size=8).digest()
    return _mode()(torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1))


@cache
def _mode() -> Any:
    from torch.overrides import TorchFunctionMode

    class Drawing(TorchFunctionMode):
        """Gives each function that draws one generator, in this thread."""

        def __init__(self, generator: Any) -> None:
            super().__init__()
            self._generator = generator

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            named, name = kwargs or {}, getattr(function, "__name__", "")
            if name in _UNSEEDED and named.get("training", True):
                hint = "it takes no generator: draw in the training's loop, by `transform` of fit"
                raise ConfigError(f"a transform of the loader calls torch's {name}, which nothing seeds", hint)
            if name in _DRAWING and named.get("generator") is None:
                named = {**named, "generator": self._generator}
            return function(*args, **named)

    return Drawing


def _cell(part: Any, number: int) -> Any:
    return {name: cells[number] for name, cells in part.items()} if isinstance(part, dict) else part[number]


def _together(rows: list[Any]) -> Any:
    import torch

    if isinstance(rows[0], dict):
        return {name: _together([row[name] for row in rows]) for name in rows[0]}
    if not isinstance(rows[0], torch.Tensor):
        return rows
    if len({row.shape for row in rows}) > 1:
        some = ", ".join(sorted({str(tuple(row.shape)) for row in rows})[:3])
        raise ConfigError(f"the row transform makes tensors of several shapes: {some}", "bring all rows to one shape")
    return torch.stack(rows)
