"""Early stopping."""

import copy
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from airloom.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


@dataclass
class EarlyStopping:
    """Ends the training when a metric has not improved for some epochs.

    Attributes:
        metric: one that `fit` reports.
        patience: epochs without an improvement that end the training.
        mode: `min`: smaller is better.
        min_delta: what counts as an improvement.
        restore_best: give the model the weights of its best epoch in the end. They are part of every checkpoint, but
            for those that are frozen and still what they were then.
    """

    metric: str = "validation_loss"
    patience: int = 3
    mode: Literal["min", "max"] = "min"
    min_delta: float = 0.0
    restore_best: bool = True
    best: float = field(default=math.inf, init=False)
    waited: int = field(default=0, init=False)
    weights: dict[str, Any] | None = field(default=None, init=False)
    _model: "Module | None" = field(default=None, init=False, repr=False, compare=False)

    def watch(self, model: "Module") -> None:
        """Know the model from the beginning: its frozen weights are then not in every checkpoint once more."""
        self._model = model

    def over(self, metrics: dict[str, float], model: "Module") -> bool:
        """Take the metrics of an epoch; True when the training is to end.

        Raises:
            ConfigError: the metric is not among them.
        """
        if self.metric not in metrics:
            raise ConfigError(f"early stopping waits for {self.metric!r}", f"there are {', '.join(metrics)}")
        value = metrics[self.metric] * (1 if self.mode == "min" else -1)
        if value < self.best - self.min_delta:
            self.best, self.waited = value, 0
            self.weights = copy.deepcopy(model.state_dict()) if self.restore_best else None
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model: "Module") -> None:
        """Give the model its best weights."""
        if self.weights is not None:
            model.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        weights = self.weights
        if weights is not None and self._model is not None:
            named = self._model.named_parameters(remove_duplicate=False)
            frozen = {name: weight.detach() for name, weight in named if not weight.requires_grad}
            weights = {name: value for name, value in weights.items() if not _equal(value, frozen.get(name))}
        return {"best": self.best, "waited": self.waited, "weights": weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint; the model that it watches is restored already."""
        self.best, self.waited, self.weights = state["best"], state["waited"], state["weights"]
        if self.weights is not None and self._model is not None:
            self.weights = copy.deepcopy(self._model.state_dict()) | self.weights


def _equal(value: Any, other: "Tensor | None") -> bool:
    import torch

    return other is not None and value.dtype == other.dtype and torch.equal(value.to(other.device), other)


@dataclass(frozen=True)
class Budget:
    """The training ends, well and with what it learned, when it has used one of these.

    Attributes:
        steps: optimizer steps.
        seconds: wall time in the training's loops.
        device_seconds: the same, times the number of processes, as each has a device of its own.
    """

    steps: int | None = None
    seconds: float | None = None
    device_seconds: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                raise ConfigError(f"budget: {name} is {value}", "give a number above 0, or leave it out")

    def met(self, steps: int, seconds: float, processes: int) -> str:
        """The name of the rule that is met, empty where none is."""
        used = {"steps": float(steps), "seconds": seconds, "device_seconds": seconds * processes}
        for name, limit in vars(self).items():
            if limit is not None and used[name] >= limit:
                return str(name)
        return ""

    def reason(self, name: str) -> str:
        """In words: `budget met: steps 1000`."""
        return f"budget met: {name} {getattr(self, name):g}"
