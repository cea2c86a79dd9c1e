"""What torch answers to an example, by output, each part checked."""

from typing import TYPE_CHECKING, Any

from airloom.errors import JobFailed
from airloom.project.place import own_line
from airloom.training.export.check import FIXED_BATCH, check_answer
from airloom.training.export.example import Example, check_outputs, named

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


def answers_of(model: "Module", example: Example, what: str = "its example") -> "dict[str, Tensor]":
    """What a model answers, (B, …) of each output.

    Args:
        model: in evaluation mode.
        example: what it is asked.
        what: the rows are, for the message.

    Raises:
        JobFailed: it raises, or its answers are not tensors with a row for each row of inputs.
    """
    import torch

    try:
        with torch.no_grad():
            answer = example.call(model)
    except Exception as error:
        message = f"the model does not take {what}, {example}: {type(error).__name__}: {str(error)[:300]}"
        hint = "give save_model rows as the module gets them in training" if what == "its example" else FIXED_BATCH
        raise JobFailed(f"{message} ({own_line(error)})", hint) from error
    parts = named(answer)
    check_outputs(list(parts))
    for name, part in parts.items():
        check_answer(part, example.rows, name if len(parts) > 1 else "")
    return parts


def flat(model: "Module", example: Example, outputs: list[str]) -> "Module":
    """A module that takes the example's tensors in their order, and answers with a tuple of the outputs."""
    from torch import nn

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: "Tensor") -> Any:
            names = dict(zip(example.tensors, tensors, strict=True))
            parts = named(self.model(**names) if example.by_name else self.model(*tensors))
            return tuple(parts[name] for name in outputs)

    return Flat().eval()
