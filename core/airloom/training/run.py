"""What a training function is given. It knows neither MLflow nor Optuna: a sink takes what it reports."""

import logging
import math
import random
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from airloom.contracts import Snapshot
from airloom.errors import AirloomError, ConfigError, JobFailed
from airloom.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

Arrays = tuple[NDArray[np.float32], NDArray[np.int64]]
DataProvider = Callable[[str], Arrays]
log = logging.getLogger(__name__)


class Pruned(Exception):
    """The study stops this trial early. A training function lets it pass."""


class Sink(Protocol):
    """Where reports and the model go."""

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Take the metrics of a step; may raise `Pruned`."""

    def save(self, model: "Module", example: "Tensor") -> None:
        """Take the trained model and an input of at least two rows."""


class TrainingRun:
    """One call of a training function.

    Attributes:
        params: hyperparameters by name.
        seed: seed of every random decision; Python, numpy and torch are seeded with it before the call.
        device: torch device, `cpu` or `cuda`.
        rank: number of this process, 0.
        world_size: processes that train together, 1.
    """

    rank = 0
    world_size = 1

    def __init__(
        self, params: dict[str, Any], seed: int, data: DataProvider, sink: Sink, device: str | None = None
    ) -> None:
        self.params = dict(params)
        self.seed = seed
        self.device = device or _device()
        self._data = data
        self._sink = sink

    def tensors(self, split: str) -> tuple["Tensor", "Tensor"]:
        """A split in memory.

        Args:
            split: `train` or `validation`; `test` belongs to the evaluation alone.

        Returns:
            Inputs float32 (N, …) and labels int64 (N,), in the snapshot's order, on the CPU.

        Raises:
            ConfigError: another split.
        """
        import torch

        if split not in ("train", "validation"):
            raise ConfigError(f"a training function cannot read the split {split!r}", "use train or validation")
        inputs, labels = self._data(split)
        return torch.from_numpy(inputs), torch.from_numpy(labels)

    def example(self) -> "Tensor":
        """The first two training inputs, float32 (2, …): an export from one row would fix the batch at 1."""
        return self.tensors("train")[0][:2]

    def report(self, step: int, **metrics: float) -> None:
        """Record the metrics of `step`. Raises `Pruned` where the study stops the trial."""
        values = {name: float(value) for name, value in metrics.items()}
        self._sink.report(step, values)

    def save_model(self, model: "Module", example_input: "Tensor | None" = None) -> None:
        """Hand over the trained model, once, with an input of at least two rows (default: `example()`)."""
        example = self.example() if example_input is None else example_input
        if len(example) < 2:
            raise ConfigError("save_model needs an example of at least 2 rows", "use run.example()")
        self._sink.save(model, example)


def execute(function: Callable[[TrainingRun], Any], run: TrainingRun, reference: str) -> None:
    """Seed everything and call the user's function.

    Raises:
        JobFailed: the function raised; names the type, the message and the line. The traceback is logged.
        AirloomError, Pruned: pass unchanged.
    """
    _seed(run.seed)
    try:
        function(run)
    except (AirloomError, Pruned):
        raise
    except Exception as error:
        log.exception("%s failed", reference)
        last = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{reference} raised {type(error).__name__}: {error} ({last.filename}:{last.lineno})"
        raise JobFailed(message, "the log has the traceback") from error


def snapshot_data(settings: Settings, snapshot: Snapshot) -> DataProvider:
    """Read splits of a snapshot, each once: a study's trials share one copy."""
    from airloom.datasets.snapshot import load_split

    kept: dict[str, Arrays] = {}

    def read(split: str) -> Arrays:
        if split not in kept:
            kept[split] = load_split(settings, snapshot, split)
        return kept[split]

    return read


def check_finite(name: str, value: float, epoch: int) -> None:
    """Stop a diverged training at once.

    Raises:
        JobFailed: `value` is NaN or infinite.
    """
    if not math.isfinite(value):
        hint = "lower the learning rate, or look for bad values in the data"
        raise JobFailed(f"training diverged: {name} is {value} in epoch {epoch}", hint)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _seed(seed: int) -> None:
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    # Only warn: a user's layer may have no deterministic kernel, and that is no reason to refuse it.
    torch.use_deterministic_algorithms(True, warn_only=True)
