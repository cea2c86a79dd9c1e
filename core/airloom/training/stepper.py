"""One batch: forward, backward and, when its group is complete, the optimizer's step."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

from airloom.errors import ConfigError
from airloom.training.world import World

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer

Precision = Literal["fp32", "bf16", "fp16"]


class Stepper:
    """Adds up gradients over a group of batches, and steps.

    Args:
        model: as `TrainingRun.prepare` returns it.
        loss: (outputs, labels) -> scalar, a mean over the rows.
        optimizer: over the model's parameters.
        schedule: has `step()`, called after each step; None: none.
        clip_norm: greatest norm of a step's gradient.
        precision: of the forward pass.
        device: where.

    Raises:
        ConfigError: there is no such precision.

    Attributes:
        sums: of this epoch, on this rank: `loss_sum` over rows, and `rows`. They belong into the checkpoint.
    """

    def __init__(
        self,
        model: "Module",
        loss: "Callable[[Any, Any], Tensor]",
        optimizer: "Optimizer",
        schedule: Any,
        clip_norm: float | None,
        precision: Precision,
        device: str,
    ) -> None:
        import torch

        if precision not in ("fp32", "bf16", "fp16"):
            raise ConfigError(f"precision is {precision!r}", "use fp32, bf16 or fp16")
        self._model, self._loss, self._optimizer = model, loss, optimizer
        self._schedule, self._clip_norm = schedule, clip_norm
        kind = device.partition(":")[0]
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        self._forward: Callable[[], AbstractContextManager[Any]] = (
            nullcontext if dtype is None else lambda: torch.autocast(kind, dtype)
        )
        self.scaler = torch.amp.GradScaler(kind) if precision == "fp16" else None
        self._alone: Callable[[], AbstractContextManager[Any]] = getattr(model, "no_sync", nullcontext)
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self._rows = torch.zeros((), dtype=torch.int64)
        self.sums = {"loss_sum": self._loss_sum, "rows": self._rows}

    def begin(self) -> None:
        """A new epoch."""
        self._loss_sum.zero_()
        self._rows.zero_()

    def batch(self, inputs: Any, labels: Any, weight: float, complete: bool) -> None:
        """Train on a batch.

        Args:
            inputs: (B, …) of this rank.
            labels: (B, …) of this rank.
            weight: of the batch's mean loss in the gradient of its group.
            complete: it is the last batch of its group.
        """
        rows = len(labels)
        with nullcontext() if complete else self._alone():
            with self._forward():
                outputs = self._model(inputs)
                # Without a row on this rank, the others still wait for its gradient: zero.
                value = self._loss(outputs, labels) if rows else outputs.sum() * 0
            part = value if weight == 1 or not rows else value * weight
            (part if self.scaler is None else self.scaler.scale(part)).backward()
        self._loss_sum.add_(value.detach(), alpha=rows)
        self._rows.add_(rows)
        if complete:
            self._step()

    def mean_loss(self, world: World | None = None) -> float:
        """Over the rows of this epoch so far; of all ranks with `world`."""
        import torch

        sums = torch.stack([self._loss_sum.cpu(), self._rows.double()])
        total, rows = (world.sum(sums) if world else sums).tolist()
        return float(total / rows) if rows else 0.0

    def _step(self) -> None:
        if self._clip_norm is not None:
            self._clip()
        if self.scaler is None:
            self._optimizer.step()
        else:
            self.scaler.step(self._optimizer)
            self.scaler.update()
        self._optimizer.zero_grad()
        if self._schedule is not None:
            self._schedule.step()

    def _clip(self) -> None:
        from torch.nn.utils import clip_grad_norm_

        if self.scaler is not None:
            self.scaler.unscale_(self._optimizer)
        clip_grad_norm_(self._model.parameters(), self._clip_norm)  # type: ignore[arg-type]
