"""What a module is called with when it is exported, and what it answers: one tensor, or several with names."""

import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError, DataError, JobFailed
from airloom.names import near
from airloom.signature import check_names
from airloom.training.export.check import check_rows, check_tensor, need_an_example

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

Dynamic = Mapping[str, Mapping[int, str]]
BATCH, INPUT, OUTPUT = "batch", "input", "output"


@dataclass(frozen=True)
class Example:
    """The inputs of at least two rows, by name in the order of the call.

    Attributes:
        tensors: (B, …) each.
        by_name: whether the module is called with keywords.
        open: the names of dimensions of any size but the batch, by input and place.
    """

    tensors: "dict[str, Tensor]"
    by_name: bool = False
    open: dict[str, dict[int, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, given: "Any", model: "Module | Path | None" = None, dynamic: Dynamic | None = None) -> "Example":
        """The example of a tensor, a tuple of tensors, or a dict of them.

        Args:
            given: in the form in which the module takes it; an `Example` is one already.
            model: whose forward has the names of the tensors of a tuple.
            dynamic: names of the dimensions of any size, by input and place.

        Raises:
            ConfigError: it is something else, has no two rows, or types that are not served; says what to give.
        """
        if isinstance(given, Example):
            return given
        if isinstance(given, tuple) and given:
            example = cls(dict(zip(_names(model, len(given)), given, strict=True)))
        elif isinstance(given, Mapping) and given:
            example = cls({str(name): tensor for name, tensor in given.items()}, by_name=True)
            _check_parameters(model, example.tensors)
        else:
            need_an_example(given)
            example = cls({INPUT: given})
        several = len(example.tensors) > 1 or example.by_name
        for name, tensor in example.tensors.items():
            check_tensor(tensor, name if several else "")
        check_rows({name: len(tensor) for name, tensor in example.tensors.items()})
        return replace(example, open=_opened(example.tensors, dynamic or {}))

    @classmethod
    def again(cls, tensors: "dict[str, Tensor]", model: "Module") -> "Example":
        """The example of a module whose inputs were kept by name: forward is called by keyword where it has these."""
        return cls(tensors, by_name=set(tensors) <= set(_parameters(model)))

    def kept(self) -> "Example":
        """A copy of its own, on the CPU."""
        return replace(self, tensors={name: tensor.detach().cpu().clone() for name, tensor in self.tensors.items()})

    def call(self, model: Any) -> Any:
        """What the module returns to it."""
        return model(**self.tensors) if self.by_name else model(*self.tensors.values())

    @property
    def rows(self) -> int:
        """How many."""
        return len(next(iter(self.tensors.values())))

    @property
    def is_plain(self) -> bool:
        """Whether it is one tensor of one size that needs no name."""
        return not self.by_name and not self.open and list(self.tensors) == [INPUT]

    @property
    def sizes(self) -> dict[str, int]:
        """Of the open dimensions, by their names."""
        return {name: self.tensors[port].shape[at] for port, places in self.open.items() for at, name in places.items()}

    def axes(self, port: str) -> dict[int, str]:
        """The names of an input's open dimensions by place, the batch among them."""
        return {0: BATCH, **self.open.get(port, {})}

    def cut(self, rows: int) -> "Example":
        """Its first rows."""
        return replace(self, tensors={name: tensor[:rows] for name, tensor in self.tensors.items()})

    def resized(self, **sizes: int) -> "Example":
        """Made of other sizes by repeating it, with seeded noise on floats so that no two rows are equal.

        Args:
            sizes: by the name of the dimension, `batch` among them.
        """
        import torch

        generator, made = torch.Generator().manual_seed(0), {}
        for port, tensor in self.tensors.items():
            for place, name in self.axes(port).items():
                if name in sizes:
                    times = [1] * tensor.ndim
                    times[place] = sizes[name] // tensor.shape[place] + 1
                    tensor = tensor.repeat(times).narrow(place, 0, sizes[name])
            noise = torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else None
            made[port] = tensor if noise is None else tensor + 0.1 * noise.to(tensor.dtype)
        return replace(self, tensors=made)

    def arrays(self) -> dict[str, Any]:
        """As numpy has them."""
        return {name: tensor.numpy() for name, tensor in self.tensors.items()}

    def __str__(self) -> str:
        """For a message."""
        forms = [f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in self.tensors.values()]
        return forms[0] if self.is_plain else ", ".join(map(" ".join, zip(self.tensors, forms, strict=True)))


def named(answer: Any) -> "dict[str, Tensor]":
    """A module's answer by output: of a tuple `output_0` and on, of a dict or a dataclass its own names.

    Raises:
        JobFailed: it is nothing of these, or one of its parts is no tensor.
    """
    import torch

    if isinstance(answer, torch.Tensor):
        return {OUTPUT: answer}
    if isinstance(answer, Mapping):  # Hugging Face's ModelOutput too, which leaves out what is None
        parts = {str(name): part for name, part in answer.items()}
    elif dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        parts = {part.name: getattr(answer, part.name) for part in dataclasses.fields(answer)}
    elif isinstance(answer, tuple | list):
        names = getattr(answer, "_fields", None) or [f"{OUTPUT}_{number}" for number in range(len(answer))]
        parts = dict(zip(names, answer, strict=True))
    else:
        parts = {}
    parts = {name: part for name, part in parts.items() if part is not None}
    if not parts:
        kind = type(answer).__name__
        raise JobFailed(f"the model returns a {kind}", "return a tensor, or a tuple, dict or dataclass of tensors")
    for name, part in parts.items():
        if not isinstance(part, torch.Tensor):
            hint = "return tensors only; of Hugging Face's models set use_cache, output_hidden_states and such to False"
            raise JobFailed(f"the output {name!a} of the model is a {type(part).__name__}, and no tensor", hint)
    return parts


def _names(model: Any, count: int) -> list[str]:
    """Of the first parameters of forward."""
    names = _parameters(model)[:count]
    return names if len(names) == count else [f"{INPUT}_{number}" for number in range(count)]


def _check_parameters(model: Any, names: Iterable[str]) -> None:
    parameters = _parameters(model)
    unknown = [name for name in names if name not in parameters]
    if not parameters or not unknown:
        return
    kinds = {parameter.kind for parameter in inspect.signature(model.forward).parameters.values()}
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        message = f"save_model: the example has the input {unknown[0]!a}, which is no parameter of forward"
        hint = (
            f"{near(unknown[0], parameters)}it takes {', '.join(parameters)}; the columns of a table are stacked, as "
        )
        raise ConfigError(message, f"{hint}in training: save_model(model, x[:2], processing=Processing(columns=[…]))")


def _parameters(model: Any) -> list[str]:
    """The names of forward's parameters; none where it takes any number."""
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (AttributeError, TypeError, ValueError):
        return []
    return [parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]


def _opened(tensors: "dict[str, Tensor]", dynamic: Dynamic) -> dict[str, dict[int, str]]:
    sizes: dict[str, int] = {}
    for port, places in dynamic.items():
        if port not in tensors:
            hint = f"{near(port, tensors)}the inputs of the example are {', '.join(tensors)}"
            raise ConfigError(f"save_model: dynamic names the input {port!a}", hint)
        form = tuple(tensors[port].shape)
        for at, name in places.items():
            where = f"save_model: dynamic[{port!r}][{at!r}]"
            if type(at) is not int or not 0 < at < len(form):
                hint = f"its places are 1 to {len(form) - 1}; the batch, place 0, is of any size anyway"
                raise ConfigError(f"{where} is no dimension of {form}", hint)
            if not isinstance(name, str) or not name.isidentifier() or name == BATCH:
                raise ConfigError(f"{where} is {name!r:.80}", 'give the dimension a name, such as "length"')
            if form[at] < 2:
                raise ConfigError(f"{where}: the example's size is {form[at]}", "an example of at least 2 is needed")
            if sizes.setdefault(name, form[at]) != form[at]:
                hint = "dimensions of one name have one size; give another name to one that has its own"
                raise ConfigError(f"{where}: {name!r} is {form[at]} here and {sizes[name]} elsewhere", hint)
    return {port: dict(places) for port, places in dynamic.items() if places}


def check_outputs(names: list[str]) -> None:
    """Refuse two outputs of one name.

    Raises:
        JobFailed: there are.
    """
    try:
        check_names(OUTPUT, names)
    except DataError as error:
        raise JobFailed(error.message, error.hint) from None
