"""The training loop for a classifier whose data fit into memory."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError
from airloom.training.run import TrainingRun, check_finite

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer

log = logging.getLogger(__name__)


def fit(
    run: TrainingRun,
    model: "Module",
    *,
    loss: "Callable[[Tensor, Tensor], Tensor]",
    optimizer: "Optimizer",
    epochs: int | None = None,
    batch_size: int | None = None,
    scheduler: Any = None,
    transform: "Callable[[Tensor], Tensor] | None" = None,
    data: "tuple[Tensor, Tensor] | None" = None,
) -> "Module":
    """Train `model` in place and report each epoch; the same seed and thread count give the same weights.

    Reports `train_loss`, `validation_loss` and `validation_accuracy` with the epoch, from 0, as the step.

    Args:
        loss: (logits float32 (B, C), labels int64 (B,)) -> scalar, a mean over the batch.
        optimizer: over the model's parameters.
        epochs: default `run.params["epochs"]`.
        batch_size: default `run.params["batch_size"]`, else 64.
        scheduler: has `step()`, called after each epoch.
        transform: changes the inputs of a training batch, for example an augmentation.
        data: training inputs and labels instead of `run.tensors("train")`.

    Returns:
        The model, on `run.device`.

    Raises:
        JobFailed: a loss is NaN or infinite.
        ConfigError: no epochs were given, or the training split is empty.
    """
    inputs, labels = (part.to(run.device) for part in (data or run.tensors("train")))
    held_out = tuple(part.to(run.device) for part in run.tensors("validation"))
    size = int(batch_size or run.params.get("batch_size", 64))
    if not len(inputs) or not len(held_out[0]):
        raise ConfigError("the training or the validation split is empty", "commit more rows to the dataset")
    model.to(run.device)
    for epoch in range(_epochs(run, epochs)):
        start = time.monotonic()
        model.train()
        total = 0.0
        for chosen in _batches(len(inputs), size, run.seed, epoch):
            batch = inputs[chosen] if transform is None else transform(inputs[chosen])
            value = loss(model(batch), labels[chosen])
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += value.item() * len(chosen)
        if scheduler is not None:
            scheduler.step()
        check_finite("train_loss", total, epoch)
        speed = len(inputs) / (time.monotonic() - start)
        _report(run, model, loss, held_out, epoch, total / len(inputs), speed)
    return model


def _epochs(run: TrainingRun, epochs: int | None) -> int:
    count = epochs if epochs is not None else run.params.get("epochs")
    if count is None or int(count) < 1:
        raise ConfigError(f"epochs is {count}; at least 1 is needed", "set `epochs` in the pipeline's parameters")
    return int(count)


def _batches(rows: int, size: int, seed: int, epoch: int) -> "Iterator[Tensor]":
    """Row indices, int64; a fresh order each epoch that depends on seed and epoch only."""
    import torch

    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    yield from torch.split(torch.randperm(rows, generator=generator), size)


def _report(
    run: TrainingRun,
    model: "Module",
    loss: "Callable[[Tensor, Tensor], Tensor]",
    held_out: "tuple[Tensor, ...]",
    epoch: int,
    train_loss: float,
    speed: float,
) -> None:
    import torch

    inputs, labels = held_out
    model.eval()
    with torch.no_grad():
        parts = [model(part) for part in torch.split(inputs, 1024)]
        logits = torch.cat(parts)
        value = loss(logits, labels).item()
        accuracy = (logits.argmax(1) == labels).float().mean().item()
    check_finite("validation_loss", value, epoch)
    log.info(
        "epoch %d: train_loss %.4f, validation_loss %.4f, validation_accuracy %.4f, %.0f samples/s",
        *(epoch, train_loss, value, accuracy, speed),
    )
    run.report(epoch, train_loss=train_loss, validation_loss=value, validation_accuracy=accuracy)
