"""Batches of a loader made as the server will make them: by the same declaration, and by the same function."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from airloom.datasets.reading.form import MASK
from airloom.inputs.cells import plain
from airloom.inputs.declared import InputProcessing
from airloom.inputs.prepare import Rows, columns_of, prepare
from airloom.processing import Processing
from airloom.signature import Port, Signature

if TYPE_CHECKING:
    from torch import Tensor

_TYPES = {"f": "float32", "i": "int64", "u": "int64", "b": "bool"}


class Prepared:
    """A loader's `transform`: raw columns become a dict of tensors, by the names of forward's parameters.

    Example:
        tokens = InputProcessing.tokens(tokenizer, 128, ["text"])
        prepare = Prepared({"ids": tokens, "mask": InputProcessing(mask="ids")})
        for inputs, labels in run.loader("train", 64, transform=prepare):
            loss = cross_entropy(model(**inputs), labels)
        run.save_model(model, prepare.example(run), processing=prepare.processing, dynamic=prepare.dynamic)

    Args:
        inputs: what becomes each input of the model; an input that takes its column as it is has `InputProcessing()`.
    """

    def __init__(self, inputs: Mapping[str, InputProcessing]) -> None:
        self.processing = Processing(inputs=dict(inputs))
        self._inputs = dict(inputs)

    def __call__(self, inputs: Any, labels: Any = None) -> Any:
        """A batch as tensors, with its labels.

        Args:
            inputs: columns by name, or the one thing that each row is.
            labels: passed on.

        Raises:
            DataError: a cell cannot be taken; names the row of the batch, the column and the value.
        """
        import torch

        raw = {name: _cells(part) for name, part in inputs.items()} if isinstance(inputs, Mapping) else _cells(inputs)
        columns = columns_of(raw, self._signature({}), self._inputs)
        arrays = prepare(self._signature(columns), self._inputs, columns, Rows("row of the batch"))
        return {name: torch.from_numpy(array) for name, array in arrays.items()}, labels

    @classmethod
    def filled(cls, pad: Mapping[str, float], example: Mapping[str, Any]) -> "Prepared":
        """What is declared of inputs that a loader filled up: by what, and which of them are their masks.

        Args:
            pad: the number that fills up, by column.
            example: the model's inputs by name.
        """
        inputs = {name: InputProcessing(pad=number) for name, number in pad.items() if name in example}
        masks = {f"{name}{MASK}": InputProcessing(mask=name) for name in inputs if f"{name}{MASK}" in example}
        return cls({**inputs, **masks})

    def example(self, run: Any) -> "dict[str, Tensor]":
        """The first two training rows, as `run.save_model` takes them."""
        inputs, _ = self(run.example())
        return self.widened({name: tensor[:2] for name, tensor in inputs.items()})

    def widened(self, example: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """The example with room for two values where rows are of any length: an export of one fixes that."""
        wide = dict(example)
        for name in self.dynamic:
            rows, size, *rest = wide[name].shape
            if size < 2:
                import torch

                room = wide[name].new_full((rows, 2 - size, *rest), self._inputs[name].pad or 0)  # 0 of a mask
                wide[name] = torch.cat([wide[name], room], dim=1)
        return wide

    @cached_property
    def dynamic(self) -> dict[str, dict[int, str]]:
        """The dimensions of any size, for `run.save_model`: the lengths of what is filled up, and of its masks."""
        filled = [name for name, part in self._inputs.items() if part.pad is not None]
        names = {name: "length" if len(filled) == 1 else f"{name}_length" for name in filled}
        masks = {name: names[part.mask] for name, part in self._inputs.items() if part.mask in names}
        return {name: {1: length} for name, length in {**names, **masks}.items()}

    def _signature(self, columns: Mapping[str, Any]) -> Signature:
        """As the model's graph will have it; of the columns that are taken as they are, their own types."""
        return Signature(tuple(self._port(name, part, columns) for name, part in self._inputs.items()), ())

    def _port(self, name: str, part: InputProcessing, columns: Mapping[str, Any]) -> Port:
        open_ = self.dynamic.get(name, {}).get(1, f"{name}_1")
        if part.tokenizer or part.mask:
            return Port(name, "int64", ("batch", open_))
        if part.picture:
            return Port(name, "float32", ("batch", *part.picture.shape))
        if part.categories or part.numbers or len(part.columns) > 1:
            return Port(name, "int64" if part.categories else "float32", ("batch", len(part.needs(name))))
        cells = columns.get(part.needs(name)[0])
        if cells is None or not len(cells):
            return Port(name, "float32", ("batch",))
        value = cells if isinstance(cells, np.ndarray) else np.asarray(max(cells, key=np.size))
        shape = value.shape[1:] if isinstance(cells, np.ndarray) else value.shape
        sizes = (open_, *shape[1:]) if shape and (part.pad is not None or not isinstance(cells, np.ndarray)) else shape
        return Port(name, _TYPES.get(value.dtype.kind, "float32"), ("batch", *sizes))


def _cells(part: Any) -> Any:
    """Tensors as arrays."""
    return list(map(plain, part)) if isinstance(part, list) else plain(part)
