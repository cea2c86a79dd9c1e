"""The metrics of a model on held-out rows."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError
from airloom.training.named import Taker, losses_in
from airloom.training.world import World

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

Metrics = Callable[[Any, Any], dict[str, Any]]


def evaluate(
    model: "Module",
    batches: Iterable[Any],
    loss: "Callable[[Any, Any], Any]",
    metrics: Metrics | None,
    world: World,
    device: str,
) -> dict[str, float]:
    """Means over the rows of all ranks' batches: `loss`, each of several by its name, and what `metrics` gives.

    Args:
        model: on `device`; it is left in evaluation mode.
        batches: pairs of inputs and labels, or dicts of columns, of this rank.
        loss: (outputs, labels or batch) -> scalar, a mean over the batch, or several by name.
        metrics: (outputs, labels or batch) -> means over the batch, by name; None: the `accuracy` of a classifier,
            whose outputs are (B, C) and whose labels are whole, (B,).
        world: the ranks.
        device: of torch.

    Raises:
        ConfigError: a metric has the name of a loss, or a batch is none.
    """
    import torch

    world.share_buffers(model)
    model.eval()
    totals: dict[str, Tensor] = {}
    rows, taker = 0, Taker(model)
    with torch.no_grad():  # what a model keeps of a forward pass in inference mode could not be trained with
        for batch in batches:
            taken = taker.take(batch, device)
            if not taken.rows:
                continue
            outputs = model(*taken.inputs, **taken.named)
            value, parts = losses_in(loss(outputs, taken.target))
            measured = (metrics or _accuracy)(outputs, taken.target)
            if twice := set(parts) & set(measured):
                raise ConfigError(f"{min(twice)!r} is both a loss and a metric", "give one of them another name")
            for name, mean in {"loss": value, **parts, **measured}.items():
                part = torch.as_tensor(mean, dtype=torch.float64) * taken.rows
                totals[name] = totals[name] + part if name in totals else part
            rows += taken.rows
    if world.size > 1:
        return _over_ranks(totals, rows, world)
    return {name: value.item() / rows for name, value in totals.items()}


def _over_ranks(totals: "dict[str, Tensor]", rows: int, world: World) -> dict[str, float]:
    """A rank without rows does not know the names: the first rank, which has rows whenever any has, says them."""
    import torch

    names = world.from_first(lambda: list(totals))
    zero = torch.zeros((), dtype=torch.float64)
    values = [totals.get(name, zero).cpu() for name in names]
    *sums, count = world.sum(torch.stack([*values, torch.tensor(float(rows), dtype=torch.float64)])).tolist()
    return {name: total / count for name, total in zip(names, sums, strict=True)}


def _accuracy(outputs: Any, labels: Any) -> dict[str, Any]:
    if getattr(outputs, "ndim", 0) != 2 or getattr(labels, "ndim", 0) != 1 or labels.is_floating_point():
        return {}
    return {"accuracy": (outputs.argmax(1) == labels).double().mean()}
