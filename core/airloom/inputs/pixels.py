"""The range of an image's values."""

from enum import StrEnum
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Pixels(StrEnum):
    """The physical range of an image's values in a request. The graph takes 0..1, whichever it is."""

    UNIT = "unit"
    BYTES = "bytes"

    @property
    def high(self) -> int:
        """The largest value; the smallest is 0."""
        return 255 if self is Pixels.BYTES else 1

    @property
    def wanted(self) -> str:
        """For a message."""
        hint = "bytes are divided by 255 here" if self is Pixels.BYTES else "divide bytes by 255"
        return f"its pixels lie in 0..{self.high} ({hint})"

    def holds(self, values: Array) -> Array:
        """Which values lie in the range; NaN does not."""
        return (values >= 0) & (values <= self.high)

    def as_graph(self, values: Array) -> Array:
        """float32 values of a request as the graph takes them, the same bits as in training."""
        return values / np.float32(255) if self is Pixels.BYTES else values
