"""The batches that `fit` trains on and judges by: the dataset's own, those of tensors, or of a loader that is given."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError
from airloom.training.export.check import need_an_example
from airloom.training.named import move
from airloom.training.run import TrainingRun
from airloom.training.source import TensorLoader

if TYPE_CHECKING:
    from torch import Tensor

    Data = tuple[Tensor, Tensor | None] | Iterable[Any]

IN_MEMORY = 1 << 30  # bytes of a split above which it is read from its shards in each epoch
_FASTEST = 32 << 20  # bytes of a batch of held-out rows: more gains no speed


def training(run: TrainingRun, data: "Data | None", size: int, drop_last: bool, reading: dict[str, Any]) -> Any:
    """Batches of `train`, or of `data`.

    Args:
        run: of the training function.
        data: tensors, or a loader; None: the dataset's split.
        size: rows of a batch.
        drop_last: leave out the last, smaller batch.
        reading: options of `run.loader`; none: small data are kept in memory.

    Raises:
        ConfigError: a split is empty, or inputs and labels differ in their rows.
    """
    if data is None and not reading and _in_memory(run, "train"):
        data = run.tensors("train")
    if data is None:
        return run.loader("train", size, drop_last=drop_last, **reading).plain
    _check_given(reading)
    if not isinstance(data, tuple):
        return getattr(data, "plain", data)
    ranks: dict[str, Any] = {"rank": run.rank, "world_size": run.world_size}
    return TensorLoader(*_placed(run, data), size, seed=run.seed, drop_last=drop_last, **ranks)


def held_out(run: TrainingRun, data: "Data | None", size: int, reading: dict[str, Any]) -> Any:
    """The same of `validation`; its batches may be larger, as they need no gradients."""
    if data is None and not reading and _in_memory(run, "validation"):
        data = run.tensors("validation")
    if data is None:
        return run.loader("validation", size if reading else _large(size, run.example()), **reading)
    _check_given(reading)
    if not isinstance(data, tuple):
        return data
    inputs, labels = _placed(run, data)
    if len(inputs) < run.world_size:
        raise ConfigError(f"the validation split has {len(inputs)} rows", "commit more rows to the dataset")
    ranks: dict[str, Any] = {"rank": run.rank, "world_size": run.world_size}
    return TensorLoader(inputs, labels, _large(size, inputs), shuffle=False, **ranks)


def _check_given(reading: dict[str, Any]) -> None:
    if any(name != "named" for name in reading):
        raise ConfigError(
            f"{', '.join(reading)}: of the dataset's own batches", "give them to run.loader, or no `data`"
        )


def _large(size: int, inputs: Any) -> int:
    """Rows of a batch that needs no gradients."""
    return max(size, min(1024, _FASTEST // max(1, inputs[0].nbytes))) if hasattr(inputs, "nbytes") else size


def _placed(run: TrainingRun, data: "tuple[Tensor, Tensor | None]") -> "tuple[Tensor, Tensor | None]":
    inputs, labels = data
    if labels is not None and len(inputs) != len(labels):
        raise ConfigError(f"{len(inputs)} inputs do not go with {len(labels)} labels", "give one label a row")
    return move(inputs, run.device), move(labels, run.device)


def _in_memory(run: TrainingRun, split: str) -> bool:
    """Whether a split is one tensor of inputs that is better kept than read again in each epoch."""
    rows = len(run.data(split))
    if not rows:
        raise ConfigError(f"the {split} split is empty", "commit more rows to the dataset")
    example = run.example()
    if isinstance(example, list) and not isinstance(example[0], str):
        need_an_example(example)
    return hasattr(example, "nbytes") and rows * example[:1].nbytes <= IN_MEMORY
