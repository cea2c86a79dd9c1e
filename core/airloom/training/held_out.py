"""The metrics of a model on held-out rows."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from airloom.training.world import World

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

Metrics = Callable[[Any, Any], dict[str, Any]]


def evaluate(
    model: "Module",
    batches: Iterable[Any],
    loss: "Callable[[Any, Any], Tensor]",
    metrics: Metrics | None,
    world: World,
    device: str,
) -> dict[str, float]:
    """Means over the rows of all ranks' batches: `loss`, and what `metrics` gives.

    Args:
        model: on `device`; it is left in evaluation mode.
        batches: pairs of inputs and labels, of this rank.
        loss: (outputs, labels) -> scalar, a mean over the batch.
        metrics: (outputs, labels) -> means over the batch, by name; None: the `accuracy` of a classifier, whose outputs
            are (B, C) and whose labels are whole, (B,).
        world: the ranks.
        device: of torch.
    """
    import torch

    world.share_buffers(model)
    model.eval()
    totals: dict[str, Tensor] = {}
    rows = 0
    with torch.inference_mode():
        for inputs, labels in batches:
            count = len(labels)
            if not count:
                continue
            inputs, labels = move(inputs, device), move(labels, device)
            outputs = model(inputs)
            means = {"loss": loss(outputs, labels), **(metrics or _accuracy)(outputs, labels)}
            for name, value in means.items():
                part = torch.as_tensor(value, dtype=torch.float64) * count
                totals[name] = totals[name] + part if name in totals else part
            rows += count
    if world.size > 1:
        return _over_ranks(totals, rows, world)
    return {name: value.item() / rows for name, value in totals.items()}


def move(part: Any, device: str) -> Any:
    """A batch's inputs or labels on the device."""
    if device == "cpu":
        return part
    if isinstance(part, dict):
        return {name: move(value, device) for name, value in part.items()}
    return part.to(device, non_blocking=True) if hasattr(part, "to") else part


def _over_ranks(totals: "dict[str, Tensor]", rows: int, world: World) -> dict[str, float]:
    """A rank without rows does not know the names: the first rank, which has rows whenever any has, says them."""
    import torch

    names = world.from_first(lambda: list(totals))
    zero = torch.zeros((), dtype=torch.float64)
    values = [totals.get(name, zero).cpu() for name in names]
    *sums, count = world.sum(torch.stack([*values, torch.tensor(float(rows), dtype=torch.float64)])).tolist()
    return {name: total / count for name, total in zip(names, sums, strict=True)}


def _accuracy(outputs: Any, labels: Any) -> dict[str, Any]:
    if getattr(outputs, "ndim", 0) != 2 or labels.ndim != 1 or labels.is_floating_point():
        return {}
    return {"accuracy": (outputs.argmax(1) == labels).double().mean()}
