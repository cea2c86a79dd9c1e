"""Where a training function's reports and its model go, and what may end it there."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from airloom.errors import JobFailed

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module

    from airloom.training.export.example import Example


class Pruned(Exception):
    """The study stops this trial early. A training function lets it pass."""


class Diverged(JobFailed):
    """A metric is NaN or infinite."""


class ReportSink(Protocol):
    """Where reports and the model go. Only the first rank has one."""

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Take the metrics of a step; may raise `Pruned`."""

    def picture(self, step: int, name: str, png: Callable[[], bytes]) -> None:
        """Take a picture of a step, which is drawn when it is asked for."""

    def sync(self) -> None:
        """Have what was reported on the disk: a checkpoint that comes after it is about to be written."""

    def save(self, model: "Module | Path", example: "Example") -> None:
        """Take the trained model and inputs of at least two rows."""


def check_finite(name: str, value: float, where: str) -> None:
    """Stop a diverged training at once.

    Raises:
        Diverged: `value` is NaN or infinite.
    """
    if not math.isfinite(value):
        hint = "lower the learning rate, or look for bad values in the data"
        raise Diverged(f"training diverged: {name} is {value} in {where}", hint)
