"""Batches as a model and its loss take them: pairs of inputs and labels, or columns by name."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airloom.datasets.reading.draws import EachRow, Seeded
from airloom.errors import ConfigError

if TYPE_CHECKING:
    from torch.nn import Module

INPUT, LABEL = "input", "label"  # the columns of data that name none


class Columns:
    """Makes one dict of a batch: each column by its name, the label among them where there is one.

    Args:
        data: a split, as `Source.dataset` gives it.
    """

    def __init__(self, data: Any) -> None:
        layout, names = getattr(data, "layout", None), getattr(data, "names", [])
        self.label = layout.label if layout else LABEL
        inputs = [name for name in names if name != self.label]
        self._input = inputs[0] if inputs else INPUT

    def __call__(self, inputs: Any, labels: Any) -> dict[str, Any]:
        """The columns of a pair."""
        columns = dict(inputs) if isinstance(inputs, Mapping) else {self._input: inputs}
        return columns if labels is None else {**columns, self.label: labels}


class Prepared:
    """What `run.loader` does to a batch, in the loader's threads: name its columns, change its rows, change it whole.

    Args:
        columns: have a dict of the batch; None: it stays a pair.
        row: called with each row's input, or the dict of its columns.
        whole: called with (inputs, labels), or the dict.
    """

    def __init__(
        self, columns: Columns | None, row: Callable[[Any], Any] | None, whole: Callable[..., Any] | None
    ) -> None:
        self._columns = columns
        self._row = None if row is None else EachRow(row)
        self._whole = None if whole is None else Seeded(whole)

    def __call__(self, inputs: Any, labels: Any) -> Any:
        """The batch."""
        batch = (inputs, labels) if self._columns is None else self._columns(inputs, labels)
        if self._row is not None:
            count = rows_of(batch)
            batch = self._row(batch, count) if isinstance(batch, dict) else (self._row(inputs, count), labels)
        if self._whole is None:
            return batch
        return self._whole(*batch) if isinstance(batch, tuple) else self._whole(batch)


@dataclass(frozen=True)
class Taken:
    """A batch, ready for a model: what it is called with, what the loss is given beside the outputs, its rows."""

    inputs: tuple[Any, ...]
    named: Mapping[str, Any]
    target: Any
    rows: int


class Taker:
    """Takes batches for one model.

    A pair is `model(inputs)` and `loss(outputs, labels)`; without labels the loss gets the inputs, as they were before
    the `transform`. Inputs that are a dict go to the parameters of `forward` that have their names, where it has no
    others. Of a batch that is a dict the model gets the columns that its `forward` names, and the loss the whole dict.

    Args:
        model: itself, not what it is wrapped in to train.
    """

    def __init__(self, model: "Module") -> None:
        base = getattr(model, "get_base_model", lambda: model)()  # peft's models name no columns themselves
        parameters = inspect.signature(base.forward).parameters
        by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        self._named = {name: parameter for name, parameter in parameters.items() if parameter.kind in by_name}

    def take(self, batch: Any, device: str, transform: "Callable[[Any], Any] | None" = None) -> Taken:
        """The batch, for the model.

        Args:
            batch: a pair, or a dict.
            device: of torch.
            transform: changes the inputs of a pair, or a whole dict.

        Raises:
            ConfigError: the batch is neither, or has not the columns that `forward` needs.
        """
        if isinstance(batch, Mapping):
            moved = move(batch, device)
            columns = moved if transform is None else transform(moved)
            return Taken((), self._columns(columns), columns, rows_of(batch))
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            what = f"{type(batch).__name__}{f' of {len(batch)}' if isinstance(batch, tuple | list) else ''}"
            raise ConfigError(f"a batch is a {what}", "give pairs of inputs and labels, or dicts of columns by name")
        inputs, labels = (move(part, device) for part in batch)
        given = inputs if transform is None else transform(inputs)
        target = inputs if labels is None else labels
        if isinstance(given, Mapping) and self._fits(given):
            return Taken((), self._columns(given), target, rows_of((target,)))
        return Taken((given,), {}, target, rows_of((target,)))

    def _columns(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        if not self._fits(batch):
            wants = ", ".join(self._named) or "no names"
            message = f"forward takes {wants}; the batch has the columns {', '.join(map(str, batch))}"
            raise ConfigError(message, "call the parameters of forward as the columns, or rename them by `transform`")
        return {name: batch[name] for name in self._named if name in batch}

    def _fits(self, columns: Mapping[str, Any]) -> bool:
        """Whether these are what `forward` needs."""
        needs = {name for name, parameter in self._named.items() if parameter.default is inspect.Parameter.empty}
        return needs <= set(columns) and bool(set(self._named) & set(columns))


def rows_of(batch: Any) -> int:
    """How many rows a batch has: those of its first part; 0 where that says nothing."""
    if isinstance(batch, Mapping):
        return rows_of((next(iter(batch.values())),)) if batch else 0
    part = batch[0] if isinstance(batch, tuple | list) and batch else batch
    try:
        return rows_of(part) if isinstance(part, Mapping) else len(part)
    except TypeError:
        return 0


def move(part: Any, device: str) -> Any:
    """A batch's inputs or labels on the device, whatever they are nested in; what is no tensor stays as it is."""
    if device == "cpu":
        return part
    if isinstance(part, Mapping):
        return {name: move(value, device) for name, value in part.items()}
    if hasattr(part, "to"):
        return part.to(device, non_blocking=True)
    if not isinstance(part, tuple | list):
        return part
    moved = [move(value, device) for value in part]
    if isinstance(part, list):
        return moved
    return type(part)(*moved) if hasattr(part, "_fields") else tuple(moved)


def tensors_in(answer: Any) -> Iterator[Any]:
    """The tensors of what a model returns: one, or those in a dict, a list, a dataclass."""
    import torch

    if isinstance(answer, torch.Tensor):
        yield answer
    elif isinstance(answer, Mapping):
        for part in answer.values():
            yield from tensors_in(part)
    elif isinstance(answer, tuple | list):
        for part in answer:
            yield from tensors_in(part)
    elif hasattr(answer, "__dict__"):
        yield from tensors_in(vars(answer))


def losses_in(value: Any) -> "tuple[Any, dict[str, Any]]":
    """What trains, and its parts by name: of several losses their sum.

    Raises:
        ConfigError: there is none, or one is called as the sum.
    """
    if not isinstance(value, Mapping):
        return value, {}
    if not value or "loss" in value:
        what = "no loss" if not value else "a loss of the name `loss`, which is that of their sum"
        raise ConfigError(f"the loss function returned {what}", "return {'name': value, …}, or one value")
    return sum(value.values()), dict(value)
