"""The ready training loop. It uses what every training function has: `run.epochs`, `run.batches`, `run.report`."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airloom.errors import ConfigError
from airloom.training import fit_data
from airloom.training.checkpointing.state import unwrapped
from airloom.training.held_out import Metrics, evaluate
from airloom.training.named import Taker
from airloom.training.recompute import recomputed
from airloom.training.reporting.progress_line import Pulse
from airloom.training.reporting.sink import check_finite
from airloom.training.run import TrainingRun
from airloom.training.stepper import Precision, Stepper
from airloom.training.stopping import EarlyStopping

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer

    from airloom.training.fit_data import Data


def fit(
    run: TrainingRun,
    model: "Module",
    *,
    loss: Callable[[Any, Any], Any],
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
    named: bool = False,
    pad: Mapping[str, int | float] | None = None,
    by_length: bool = False,
    ema: float | None = None,
    compile: bool = False,
    gradient_checkpointing: "bool | Sequence[Module]" = False,
) -> "Module":
    """Train `model` in place and report each epoch; killed and started again, it goes on, to the same weights.

    Reports `train_loss`, `validation_loss`, `validation_accuracy` (or what `metrics` gives, each with `validation_`
    before it) with the epoch, from 0, as the step; of several losses each by its name, too.

    A batch is a pair: `model(inputs)` and `loss(outputs, labels)`, of data without labels `loss(outputs, inputs)`. Or
    it is a dict of columns by name: the model gets those that its `forward` names, and the loss the whole batch.

    Args:
        run: of the training function.
        model: inputs (B, …) -> outputs (B, …).
        loss: (outputs, labels or batch) -> scalar, a mean over the batch; or a dict of such by name: their sum trains,
            and each is reported as `train_<name>` and `validation_<name>`.
        optimizer: over the model's parameters.
        epochs: default `run.params["epochs"]`.
        batch_size: rows of a batch, all ranks together; default `run.params["batch_size"]`, else 64.
        accumulate: batches for each step of the optimizer: the gradient is that of one batch of all their rows.
        clip_norm: greatest norm of a step's gradient.
        precision: of the forward pass, `fp32`, or mixed: `bf16`, `fp16` (with a gradient scaler).
        schedule: a scheduler of torch; `ReduceLROnPlateau` follows `validation_loss`.
        schedule_every: when it steps.
        early_stopping: ends the training before its last epoch.
        transform: changes the inputs of a training batch, or a dict, in the loop: an augmentation.
        metrics: (outputs, labels or batch) -> means over a batch of held-out rows, by name; default: a classifier's
            accuracy, of pairs.
        data: training data instead of the split `train`: inputs and labels, or any loader of pairs or dicts.
        validation: the same for the held-out rows.
        drop_last: leave out the last, smaller batch of each epoch.
        named: read the dataset as dicts of columns by name.
        pad: by column of lists, what fills each up to the longest of its batch; see `run.loader`.
        by_length: have batches of lists of like length.
        ema: below 1, such as 0.999: the model ends with a moving average of its weights, of which each step's share is
            1 - ema, and is judged with it after each epoch. It is part of every checkpoint.
        compile: train with `torch.compile`, one graph for batches of all sizes; it needs a C++ compiler.
        gradient_checkpointing: hold fewer activations and compute them again in the backward pass: of these modules, or
            with True of the model's layers (`airloom.training.recompute`).

    Returns:
        The model, on `run.device`.

    Raises:
        JobFailed: a loss is NaN or infinite.
        ConfigError: no epochs were given, a split is empty, or a batch does not fit the model.
    """
    count = _count("epochs", epochs if epochs is not None else run.params.get("epochs"))
    size = _count("batch_size", batch_size or run.params.get("batch_size", 64))
    asked: dict[str, Any] = {"named": named, "pad": pad, "by_length": by_length}
    reading = {name: value for name, value in asked.items() if value}
    training = fit_data.training(run, data, size, drop_last, reading)
    held_out = fit_data.held_out(run, validation, size, reading)
    by_step = schedule if schedule_every == "step" else None
    groups = Groups(training, _count("accumulate", accumulate), run.world_size)
    prepared = run.prepare(model)
    average = _average(model, ema)
    stepper = Stepper(
        _compiled(prepared) if compile else prepared,
        loss,
        optimizer,
        by_step,
        clip_norm,
        precision,
        run.device,
        None if average is None else lambda: average.update_parameters(unwrapped(model)),
    )
    keep = {"optimizer": optimizer, "schedule": schedule, "scaler": stepper.scaler, "early_stopping": early_stopping}
    if early_stopping is not None:
        early_stopping.watch(model)
    pulse = Pulse(count, groups.batches, quiet=run.rank > 0)
    judged = unwrapped(model) if average is None else average.module
    with recomputed(model, gradient_checkpointing):
        for epoch in run.epochs(count, model=model, **keep, ema=average, **stepper.sums):
            model.train()
            pulse.began(epoch, run.progress.at.batch, run.progress.at.samples)
            _train(run, training, stepper, groups, Taker(unwrapped(model)), transform, pulse)
            values = {"train_loss": stepper.mean_loss(run.world)}
            values |= {f"train_{name}": value for name, value in stepper.mean_parts(run.world).items()}
            held_out_metrics = evaluate(judged, held_out, loss, metrics, run.world, run.device)
            values |= {f"validation_{name}": value for name, value in held_out_metrics.items()}
            for name, value in values.items():
                check_finite(name, value, f"epoch {epoch}")
            if schedule is not None and by_step is None:
                _step(schedule, values["validation_loss"])
            run.report(epoch, **values)
            pulse.after(epoch, run.progress.at.samples, values)
            if early_stopping is not None and early_stopping.over(values, judged):
                run.finish(f"{early_stopping.metric} has not improved for {early_stopping.patience} epochs")
    if average is not None:
        unwrapped(model).load_state_dict(average.module.state_dict())
    if early_stopping is not None:
        early_stopping.restore(unwrapped(model))
    return model


def _train(
    run: TrainingRun, loader: Any, stepper: Stepper, groups: "Groups", taker: Taker, transform: Any, pulse: Pulse
) -> None:
    """An epoch, or what is left of it. Nothing here waits for the device, but for the progress line."""
    at, device = run.progress.at, run.device
    stepper.begin()
    for batch in run.batches(loader):
        taken = taker.take(batch, device, transform)
        stepper.batch(taken, *groups.of(at.batch, taken.rows))
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


def _average(model: "Module", decay: float | None) -> Any:
    """The moving average of a model's weights and buffers, torch's own; None without a decay."""
    if decay is None:
        return None
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    if not 0 < decay < 1:
        raise ConfigError(f"ema is {decay}", "give the share that stays at each step, such as 0.999")
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(unwrapped(model), multi_avg_fn=average, use_buffers=True)


def _compiled(model: "Module") -> "Module":
    """One graph for batches of all sizes: which of several is taken would depend on the batches before it."""
    import torch

    return torch.compile(model, dynamic=True)  # type: ignore[return-value]


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
