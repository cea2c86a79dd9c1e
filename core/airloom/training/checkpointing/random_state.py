"""The state of every random generator of a process, as one tensor: python, numpy, torch, and its CUDA device."""

import math
import random
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

_PYTHON, _NUMPY = 625, 624  # 32-bit words of a Mersenne Twister, in Python's case with its position


def seed(value: int, rank: int = 0) -> None:
    """Seed all generators; each rank differently, as equal dropout masks on different rows would be no chance."""
    import torch

    value += rank * 1_000_003
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def capture(device: str = "cpu") -> "Tensor":
    """All states as uint8 (n,); n depends on the kind of device only, so that ranks can gather them."""
    import torch

    _, words, gauss = random.getstate()
    numpy_state: Any = np.random.get_state()
    _, keys, position, has_gauss, cached = numpy_state
    numbers = [math.nan if gauss is None else gauss, position, has_gauss, cached]
    parts: list[Any] = [np.array(words, np.uint32), np.asarray(keys, np.uint32), np.array(numbers, np.float64)]
    ours = torch.from_numpy(np.concatenate([part.view(np.uint8) for part in parts]))
    cuda = [torch.cuda.get_rng_state(device)] if device.startswith("cuda") else []
    return torch.cat([ours, torch.get_rng_state(), *cuda])


def restore(state: "Tensor", device: str = "cpu") -> None:
    """Set all generators to a captured state; the CUDA device's too, where it was captured with one."""
    import torch

    raw = state.numpy()
    sizes = np.cumsum([0, 4 * _PYTHON, 4 * _NUMPY, 8 * 4, len(torch.get_rng_state())])
    words, keys, numbers, own = (raw[a:b].copy() for a, b in pairwise(sizes.tolist()))
    gauss, position, has_gauss, cached = numbers.view(np.float64).tolist()
    random.setstate((3, tuple(words.view(np.uint32).tolist()), None if math.isnan(gauss) else gauss))
    np.random.set_state(("MT19937", keys.view(np.uint32), int(position), int(has_gauss), cached))
    torch.set_rng_state(torch.from_numpy(own))
    if device.startswith("cuda") and len(raw) > sizes[-1]:
        torch.cuda.set_rng_state(torch.from_numpy(raw[sizes[-1] :].copy()), device)
