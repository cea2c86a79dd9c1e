"""Normalisation as a layer, so that it is exported with the model: who asks gives raw values."""

from collections.abc import Sequence

import torch  # noqa: TID253 - a layer; `airloom.training` imports it when it is asked for
from torch import Tensor, nn  # noqa: TID253 - as above


class Normalise(nn.Module):
    """Subtract a mean and divide by a deviation, by channel (B, C, …) or by column (B, C).

    Args:
        mean: C numbers.
        deviation: C numbers above 0.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(deviation) or any(not value > 0 for value in deviation):
            raise ValueError(f"needs as many deviations above 0 as means; got {list(mean)} and {list(deviation)}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("deviation", torch.tensor(deviation, dtype=torch.float32))

    @classmethod
    def of(cls, inputs: Tensor) -> "Normalise":
        """With mean and deviation of training inputs (N, C, …)."""
        others = [axis for axis in range(inputs.ndim) if axis != 1]
        deviation = inputs.float().std(dim=others, unbiased=False).clamp_min(1e-6)
        return cls(inputs.float().mean(dim=others).tolist(), deviation.tolist())

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, …) of the same shape."""
        shape = (1, -1, *[1] * (inputs.ndim - 2))
        return (inputs - self.mean.view(shape)) / self.deviation.view(shape)
