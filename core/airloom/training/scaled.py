"""Rows as a model takes them: what is done to what the dataset's type gives, the same for all sources."""

from typing import Any

_ALIGNED = 64  # bytes; on other addresses a matrix product may take another path, whose last bits differ


def scaled(inputs: Any, labels: Any) -> tuple[Any, Any]:
    """Bytes of images as float32 0..1, which is what a served model gets; all tensors at addresses of full speed."""
    import torch

    if isinstance(inputs, torch.Tensor):
        inputs = inputs.to(torch.float32).div_(255) if inputs.dtype == torch.uint8 and inputs.ndim > 2 else inputs
    return _aligned(inputs), _aligned(labels)


def _aligned(part: Any) -> Any:
    """Memory of numpy begins at any multiple of 16 bytes, that of torch at one of 64."""
    import torch

    if isinstance(part, dict):
        return {name: _aligned(value) for name, value in part.items()}
    return part.clone() if isinstance(part, torch.Tensor) and part.data_ptr() % _ALIGNED else part
