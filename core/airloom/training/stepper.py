"""One batch: forward, backward and, when its group is complete, the optimizer's step."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

from airloom.errors import ConfigError
from airloom.training.named import Taken, losses_in, tensors_in
from airloom.training.world import World

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer

Precision = Literal["fp32", "bf16", "fp16"]
MOST_LOSSES = 16  # by name


class Stepper:
    """Adds up gradients over a group of batches, and steps.

    Args:
        model: as `TrainingRun.prepare` returns it.
        loss: (outputs, labels or batch) -> scalar, a mean over the rows, or several by name.
        optimizer: over the model's parameters.
        schedule: has `step()`, called after each step, but not after one of fp16 that is left out; None: none.
        clip_norm: greatest norm of a step's gradient.
        precision: of the forward pass.
        device: where.
        averaged: follows the model after each step: a moving average of its weights.

    Raises:
        ConfigError: there is no such precision.

    Attributes:
        sums: of this epoch, on this rank: `loss_sum` over rows, and `rows`; of several losses `loss_parts`, each at
            its place in `loss_names`. They belong into the checkpoint.
    """

    def __init__(
        self,
        model: "Module",
        loss: "Callable[[Any, Any], Any]",
        optimizer: "Optimizer",
        schedule: Any,
        clip_norm: float | None,
        precision: Precision,
        device: str,
        averaged: "Callable[[], None] | None" = None,
    ) -> None:
        import torch

        if precision not in ("fp32", "bf16", "fp16"):
            raise ConfigError(f"precision is {precision!r}", "use fp32, bf16 or fp16")
        self._model, self._loss, self._optimizer = model, loss, optimizer
        self._schedule, self._clip_norm, self._average = schedule, clip_norm, averaged
        kind = device.partition(":")[0]
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        self._forward: Callable[[], AbstractContextManager[Any]] = (
            nullcontext if dtype is None else lambda: torch.autocast(kind, dtype)
        )
        self.scaler = torch.amp.GradScaler(kind) if precision == "fp16" else None
        self._alone: Callable[[], AbstractContextManager[Any]] = getattr(model, "no_sync", nullcontext)
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self._rows = torch.zeros((), dtype=torch.int64)
        self._parts = torch.zeros(MOST_LOSSES, dtype=torch.float64, device=device)
        self._names: dict[str, int] = {}
        self.sums: dict[str, Any] = {
            "loss_sum": self._loss_sum,
            "rows": self._rows,
            "loss_parts": self._parts,
            "loss_names": self._names,
        }

    def begin(self) -> None:
        """A new epoch."""
        self._loss_sum.zero_()
        self._rows.zero_()
        self._parts.zero_()

    def batch(self, taken: Taken, weight: float, complete: bool) -> None:
        """Train on a batch.

        Args:
            taken: the batch of this rank.
            weight: of the batch's mean loss in the gradient of its group.
            complete: it is the last batch of its group.

        Raises:
            ConfigError: the losses of this batch have other names than those before.
        """
        rows, parts = taken.rows, dict[str, Any]()
        with nullcontext() if complete else self._alone():
            with self._forward():
                outputs = self._model(*taken.inputs, **taken.named)
                # Without a row on this rank, the others still wait for its gradient: zero.
                if rows:
                    value, parts = losses_in(self._loss(outputs, taken.target))
                else:
                    value = sum(part.sum() for part in tensors_in(outputs) if part.is_floating_point()) * 0
            part = value if weight == 1 or not rows else value * weight
            (part if self.scaler is None else self.scaler.scale(part)).backward()
        self._loss_sum.add_(value.detach(), alpha=rows)
        self._rows.add_(rows)
        if rows and (parts or self._names):
            self._add(parts, rows)
        if complete:
            self._step()

    def mean_loss(self, world: World | None = None) -> float:
        """Over the rows of this epoch so far; of all ranks with `world`."""
        import torch

        sums = torch.stack([self._loss_sum.cpu(), self._rows.double()])
        total, rows = (world.sum(sums) if world else sums).tolist()
        return float(total / rows) if rows else 0.0

    def mean_parts(self, world: World) -> dict[str, float]:
        """Each of several losses, over the rows of this epoch so far, of all ranks; {} of a single one."""
        import torch

        names = world.from_first(lambda: self._names) if world.size > 1 else self._names
        if not names:
            return {}
        *sums, rows = world.sum(torch.cat([self._parts.cpu(), self._rows.double().reshape(1)])).tolist()
        return {name: sums[place] / rows if rows else 0.0 for name, place in names.items()}

    def _add(self, parts: dict[str, Any], rows: int) -> None:
        import torch

        if not self._names and len(parts) <= MOST_LOSSES:
            self._names.update({name: place for place, name in enumerate(parts)})
        if set(parts) != set(self._names):
            before, hint = ", ".join(map(str, self._names)), f"return the same in every batch, at most {MOST_LOSSES}"
            raise ConfigError(f"the losses are {', '.join(map(str, parts)) or 'one'}, and were {before}", hint)
        values = [torch.as_tensor(parts[name]).detach().double().to(self._parts.device) for name in self._names]
        self._parts[: len(values)].add_(torch.stack(values), alpha=rows)

    def _step(self) -> None:
        if self._clip_norm is not None:
            self._clip()
        stepped = self._optimize()
        self._optimizer.zero_grad()
        if stepped and self._average is not None:
            self._average()
        if stepped and self._schedule is not None:
            self._schedule.step()

    def _optimize(self) -> bool:
        """Change the weights; False where the scaled gradients were infinite, and the scaler leaves the step out."""
        if self.scaler is None:
            self._optimizer.step()
            return True
        before = self.scaler.get_scale()
        self.scaler.step(self._optimizer)
        self.scaler.update()
        return bool(self.scaler.get_scale() >= before)

    def _clip(self) -> None:
        from torch.nn.utils import clip_grad_norm_

        if self.scaler is not None:
            self.scaler.unscale_(self._optimizer)
        clip_grad_norm_(self._model.parameters(), self._clip_norm)  # type: ignore[arg-type]
