"""From NumPy to torch without a copy."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def tensor(values: "np.ndarray[Any, Any] | list[Any]") -> Any:
    """A tensor on the array's own memory; what torch has no type for (text, bytes, times) stays as it is.

    An array that may not be written is copied: a tensor on it would let a careless write reach a mapped shard.
    """
    if isinstance(values, list) or values.dtype.kind not in "biuf":
        return values
    import torch

    return torch.from_numpy(values if values.flags.writeable else values.copy())
