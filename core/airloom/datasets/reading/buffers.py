"""Memory for gathered columns. Fresh memory costs page faults: half the time of a gather of 38 MB."""

import math
import sys
from collections import deque
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The variable here and the argument of getrefcount: nobody else holds the array, or anything that points into it.
_UNHELD = 2
ALIGNED = 64  # bytes; torch copies what lies otherwise, as its matrix products may take another path there


class Buffers:
    """Hands out arrays, and takes back those that nobody holds any more.

    A tensor, view or memoryview that shares an array's memory holds a reference to it, so an array that a
    consumer keeps is never handed out again: the buffers let go of it, and it lives as long as the consumer wants.

    Args:
        keep: arrays a column that are known at once; 0: always fresh memory.
        reuse: of `keep` arrays hand out the oldest in any case, held or not.
    """

    def __init__(self, keep: int = 0, reuse: bool = False) -> None:
        self._keep, self._reuse = keep, reuse
        self._kept: dict[str, deque[NDArray[Any]]] = {}
        self._lock = Lock()

    def take(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """An array to fill, its content is undefined."""
        if not self._keep:
            return np.empty(shape, dtype)
        with self._lock:
            arrays = self._kept.setdefault(name, deque())
            # The oldest first: where that is still held, the younger ones are too. So there are no more arrays than
            # the consumer needs at once, and the processor's caches keep them.
            if arrays:
                array = arrays.popleft()
                free, full = sys.getrefcount(array) == _UNHELD, len(arrays) + 1 >= self._keep
                if (free or (full and self._reuse)) and array.shape == shape and array.dtype == dtype:
                    arrays.append(array)
                    return array
                if not free and not full:
                    arrays.appendleft(array)
            arrays.append(array := _aligned(shape, dtype))
            return array

    def __reduce__(self) -> tuple[Any, ...]:
        return Buffers, (self._keep, self._reuse)


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Fresh memory at a multiple of 64 bytes. Its owner is no array, which a view would hold in its place."""
    owner = bytearray(math.prod(shape) * dtype.itemsize + ALIGNED)
    begins = np.frombuffer(owner, np.uint8).__array_interface__["data"][0]
    return np.ndarray(shape, dtype, owner, -begins % ALIGNED)
