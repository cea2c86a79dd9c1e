"""What a model's graph takes and answers: named tensors, read from the graph itself."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

from airloom.errors import DataError
from airloom.names import near

# Types of ONNX that a numpy array has, as ONNX Runtime calls them.
_DTYPES = {"float": "float32", "double": "float64"} | {
    name: name for name in ("float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
}


@dataclass(frozen=True)
class Port:
    """One named tensor.

    Attributes:
        name: in the graph.
        dtype: as numpy calls it.
        shape: the batch first; a dimension of any size has a name instead of one.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @property
    def row(self) -> tuple[int | str, ...]:
        """The shape of one row."""
        return self.shape[1:]

    @property
    def is_open(self) -> bool:
        """Whether rows may have several sizes."""
        return any(isinstance(size, str) for size in self.row)

    @property
    def is_whole(self) -> bool:
        """Whether it holds whole numbers."""
        return self.dtype.startswith(("int", "uint"))

    @property
    def values(self) -> int:
        """How many numbers a row has, counting an open dimension as 1; at least 1."""
        return max(1, prod(size for size in self.row if isinstance(size, int)))

    def __str__(self) -> str:
        """For a message: `input_ids: int64 (batch, length)`."""
        return f"{self.name}: {self.dtype} ({', '.join(map(str, self.shape))}{',' * (len(self.shape) == 1)})"


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a graph, in its order."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @classmethod
    def of(cls, session: Any) -> "Signature":
        """Of an `onnxruntime.InferenceSession`.

        Raises:
            DataError: two inputs or outputs have one name, there are none, or one is no tensor of numbers.
        """
        return cls(_ports("input", session.get_inputs()), _ports("output", session.get_outputs()))

    @property
    def is_single(self) -> bool:
        """Whether it has one input, so that a row needs no names."""
        return len(self.inputs) == 1

    def input(self, name: str) -> Port:
        """An input by its name.

        Raises:
            DataError: there is none of this name.
        """
        return _find("input", name, self.inputs)

    def output(self, name: str) -> Port:
        """An output by its name.

        Raises:
            DataError: there is none of this name.
        """
        return _find("output", name, self.outputs)

    def __str__(self) -> str:
        """For a message."""
        return f"{', '.join(map(str, self.inputs))} -> {', '.join(map(str, self.outputs))}"


def check_names(kind: str, names: Iterable[str]) -> None:
    """Refuse a name that stands twice.

    Args:
        kind: `input` or `output`.
        names: of all of them.

    Raises:
        DataError: one stands twice.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"two {kind}s have the name {twice[0][:80]!a}", f"give each {kind} a name of its own")


def _ports(kind: str, found: Iterable[Any]) -> tuple[Port, ...]:
    ports = tuple(_port(kind, tensor) for tensor in found)
    check_names(kind, [port.name for port in ports])
    if not ports:
        raise DataError(f"the graph has no {kind}", f"export it with at least one {kind}")
    return ports


def _port(kind: str, tensor: Any) -> Port:
    inner = tensor.type.removeprefix("tensor(").removesuffix(")")
    if inner not in _DTYPES or not tensor.type.startswith("tensor("):
        hint = f"export it with {kind}s that are tensors of numbers (of scikit-learn: `zipmap=False`)"
        raise DataError(f"the {kind} {tensor.name[:80]!a} is {tensor.type[:80]}, no tensor of numbers", hint)
    shape = tuple(
        size
        if isinstance(size, int) and size >= 0
        else str(size or ("batch" if not place else f"{tensor.name}_{place}"))
        for place, size in enumerate(tensor.shape)
    )
    return Port(tensor.name, _DTYPES[inner], shape)


def _find(kind: str, name: str, ports: tuple[Port, ...]) -> Port:
    for port in ports:
        if port.name == name:
            return port
    names = [port.name for port in ports]
    raise DataError(f"the model has no {kind} {name[:80]!a}", f"{near(name, names)}it has {', '.join(names)}")
