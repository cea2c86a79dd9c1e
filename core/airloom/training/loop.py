"""The ready training loop. It uses what every training function has: `run.epochs`, `run.batches`, `run.report`."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from airloom.errors import ConfigError
from airloom.training.export.check import check_example
from airloom.training.held_out import Metrics, evaluate, move
from airloom.training.reporting.progress_line import Pulse
from airloom.training.run import TrainingRun, check_finite
from airloom.training.source import TensorLoader
from airloom.training.stepper import Precision, Stepper
from airloom.training.stopping import EarlyStopping

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer

    Data = tuple[Tensor, Tensor] | Iterable[Any]

IN_MEMORY = 1 << 30  # bytes of a split above which it is read from its shards in each epoch
_FASTEST = 32 << 20  # bytes of a batch of held-out rows: more gains no speed


def fit(
    run: TrainingRun,
    model: "Module",
    *,
    loss: "Callable[[Any, Any], Tensor]",
    optimizer: "Optimizer",
    epochs: int | None = None,
    batch_size: int | None = None,
    accumulate: int = 1,
    clip_norm: float | None = None,
    precision: Precision = "fp32",
    schedule: Any = None,
    schedule_every: Literal["epoch", "step"] = "epoch",
    early_stopping: EarlyStopping | None = None,
    transform: "Callable[[Any], Any] | None" = None,
    metrics: Metrics | None = None,
    data: "Data | None" = None,
    validation: "Data | None" = None,
    drop_last: bool = False,
) -> "Module":
    """Train `model` in place and report each epoch; killed and started again, it goes on, to the same weights.

    Reports `train_loss`, `validation_loss`, `validation_accuracy` (or what `metrics` gives, each with `validation_`
    before it) with the epoch, from 0, as the step.

    Args:
        run: of the training function.
        model: inputs (B, …) -> outputs (B, …).
        loss: (outputs, labels (B, …)) -> scalar, a mean over the batch.
        optimizer: over the model's parameters.
        epochs: default `run.params["epochs"]`.
        batch_size: rows of a batch, all ranks together; default `run.params["batch_size"]`, else 64.
        accumulate: batches for each step of the optimizer: the gradient is that of one batch of all their rows.
        clip_norm: greatest norm of a step's gradient.
        precision: of the forward pass, `fp32`, or mixed: `bf16`, `fp16` (with a gradient scaler).
        schedule: a scheduler of torch; `ReduceLROnPlateau` follows `validation_loss`.
        schedule_every: when it steps.
        early_stopping: ends the training before its last epoch.
        transform: changes the inputs of a training batch, in the loop: an augmentation.
        metrics: (outputs, labels) -> means over a batch of held-out rows, by name; default: a classifier's accuracy.
        data: training data instead of the split `train`: inputs and labels, or any loader of such pairs.
        validation: the same for the held-out rows.
        drop_last: leave out the last, smaller batch of each epoch.

    Returns:
        The model, on `run.device`.

    Raises:
        JobFailed: a loss is NaN or infinite.
        ConfigError: no epochs were given, or a split is empty.
    """
    count = _count("epochs", epochs if epochs is not None else run.params.get("epochs"))
    size = _count("batch_size", batch_size or run.params.get("batch_size", 64))
    training, held_out = _training(run, data, size, drop_last), _held_out(run, validation, size)
    by_step = schedule if schedule_every == "step" else None
    groups = Groups(training, _count("accumulate", accumulate), run.world_size)
    stepper = Stepper(run.prepare(model), loss, optimizer, by_step, clip_norm, precision, run.device)
    keep = {"optimizer": optimizer, "schedule": schedule, "scaler": stepper.scaler, "early_stopping": early_stopping}
    if early_stopping is not None:
        early_stopping.watch(model)
    pulse = Pulse(count, groups.batches, quiet=run.rank > 0)
    for epoch in run.epochs(count, model=model, **keep, **stepper.sums):
        model.train()
        pulse.began(epoch, run.progress.at.batch, run.progress.at.samples)
        _train(run, training, stepper, groups, transform, pulse)
        values = {"train_loss": stepper.mean_loss(run.world)}
        held_out_metrics = evaluate(model, held_out, loss, metrics, run.world, run.device)
        values |= {f"validation_{name}": value for name, value in held_out_metrics.items()}
        for name, value in values.items():
            check_finite(name, value, f"epoch {epoch}")
        if schedule is not None and by_step is None:
            _step(schedule, values["validation_loss"])
        run.report(epoch, **values)
        pulse.after(epoch, run.progress.at.samples, values)
        if early_stopping is not None and early_stopping.over(values, model):
            run.finish(f"{early_stopping.metric} has not improved for {early_stopping.patience} epochs")
    if early_stopping is not None:
        early_stopping.restore(model)
    return model


def _train(run: TrainingRun, loader: Any, stepper: Stepper, groups: "Groups", transform: Any, pulse: Pulse) -> None:
    """An epoch, or what is left of it. Nothing here waits for the device, but for the progress line."""
    at, device = run.progress.at, run.device
    stepper.begin()
    for inputs, labels in run.batches(loader):
        inputs, labels = move(inputs, device), move(labels, device)
        inputs = inputs if transform is None else transform(inputs)
        stepper.batch(inputs, labels, *groups.of(at.batch, len(labels)))
        if pulse.due():
            value = stepper.mean_loss()
            check_finite("train_loss", value, f"epoch {at.index}")
            pulse.within(at.index, at.batch + 1, at.samples, value)


class Groups:
    """Which batches make a step together, and how much each counts in its gradient.

    Raises:
        ConfigError: there is no batch, or several make a step and nobody knows how many batches there are.
    """

    def __init__(self, loader: Any, accumulate: int, ranks: int) -> None:
        self._accumulate, self._ranks = accumulate, ranks
        self.batches = _length(loader)
        self._size, self._rows = getattr(loader, "batch_size", 0), getattr(loader, "rows", None)
        if self.batches == 0:
            raise ConfigError(
                "the training split is empty, or smaller than one batch", "commit more rows to the dataset"
            )
        if self.batches is None and accumulate > 1:
            raise ConfigError("accumulate needs a loader of known length", "give it __len__, or set accumulate=1")

    def of(self, batch: int, rows: int) -> tuple[float, bool]:
        """The weight of the mean loss of a batch, by its number in the epoch, and whether it completes its group.

        With the weights the gradient is that of the mean over all rows of the group and all ranks: 4 batches of 16 rows
        equal 1 of 64, and 2 ranks equal 1. A loader of one's own does not say how many rows its batches have: they
        count as equal.
        """
        first = batch - batch % self._accumulate
        stop = min(first + self._accumulate, self.batches or first + self._accumulate)
        complete = batch + 1 == stop
        if self._rows is None:
            return 1 / (stop - first), complete
        return rows * self._ranks / (min(stop * self._size, self._rows) - first * self._size), complete


def _training(run: TrainingRun, data: "Data | None", size: int, drop_last: bool) -> Any:
    if data is None and _in_memory(run, "train"):
        data = run.tensors("train")
    if data is None:
        return run.loader("train", size, drop_last=drop_last).plain
    if not isinstance(data, tuple):
        return getattr(data, "plain", data)
    ranks: dict[str, Any] = {"rank": run.rank, "world_size": run.world_size}
    return TensorLoader(*_placed(run, data), size, seed=run.seed, drop_last=drop_last, **ranks)


def _held_out(run: TrainingRun, data: "Data | None", size: int) -> Any:
    if data is None and _in_memory(run, "validation"):
        data = run.tensors("validation")
    if data is None:
        return run.loader("validation", _large(size, run.example()))
    if not isinstance(data, tuple):
        return data
    inputs, labels = _placed(run, data)
    if len(inputs) < run.world_size:
        raise ConfigError(f"the validation split has {len(inputs)} rows", "commit more rows to the dataset")
    ranks: dict[str, Any] = {"rank": run.rank, "world_size": run.world_size}
    return TensorLoader(inputs, labels, _large(size, inputs), shuffle=False, **ranks)


def _large(size: int, inputs: Any) -> int:
    """Rows of a batch that needs no gradients."""
    return max(size, min(1024, _FASTEST // max(1, inputs[0].nbytes))) if hasattr(inputs, "nbytes") else size


def _placed(run: TrainingRun, data: "tuple[Tensor, Tensor]") -> "tuple[Tensor, Tensor]":
    inputs, labels = data
    if len(inputs) != len(labels):
        raise ConfigError(f"{len(inputs)} inputs do not go with {len(labels)} labels", "give one label a row")
    return move(inputs, run.device), move(labels, run.device)


def _in_memory(run: TrainingRun, split: str) -> bool:
    """Whether a split is one tensor of inputs that is better kept than read again in each epoch."""
    rows = len(run.data(split))
    if not rows:
        raise ConfigError(f"the {split} split is empty", "commit more rows to the dataset")
    example = run.example()
    if isinstance(example, list) and not isinstance(example[0], str):
        check_example(example)
    return hasattr(example, "nbytes") and rows * example[:1].nbytes <= IN_MEMORY


def _length(loader: Any) -> int | None:
    try:
        return len(loader)
    except TypeError:  # a stock DataLoader over a stream has __len__, which raises
        return None


def _step(schedule: Any, validation_loss: float) -> None:
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    schedule.step(*([validation_loss] if isinstance(schedule, ReduceLROnPlateau) else []))


def _count(name: str, value: Any) -> int:
    if value is None or int(value) < 1:
        raise ConfigError(f"{name} is {value}; at least 1 is needed", f"set `{name}` in the pipeline's parameters")
    return int(value)
