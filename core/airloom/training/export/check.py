"""What a model must be to be served, told where it is saved: one tensor in, one out, of types that the server has."""

from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError, JobFailed
from airloom.project.place import own_line

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

TYPES = "float32, or int64 for token numbers and other whole ones"
PICTURES = "say what the model takes, before anything is read: run.pictures(Picture(height=224, width=224))"
FIXED_BATCH = "forward fixes the size of the batch: write x.shape[0] where a number of rows stands, as in x.reshape(…)"
# What torch.export says, and what to do about it. The first that fits counts; names of classes come first in the text.
_HINTS = {
    ("data-dependent", "Dynamic control flow", "GuardOnDataDependent", "Could not guard", "_local_scalar"): (
        "forward decides by values (`if x.sum() > 0`, `.item()`, a loop over them): use torch.where or masks"
    ),
    ("Constraints violated", "specialized", "was inferred to be a constant", "ConstraintViolation"): FIXED_BATCH,
}


def check_example(example: Any) -> "Tensor":
    """The input that a model is exported with: a tensor of at least two rows, of a type that the server gives.

    Raises:
        ConfigError: it is something else; the message says what to give.
    """
    import torch

    if isinstance(example, dict):
        columns = ", ".join(map(repr, list(example)[:5]))
        hint = "stack them, as in training: save_model(model, x[:2], processing=Processing(columns=[…]))"
        raise ConfigError(f"save_model needs an example: the inputs of this dataset are columns ({columns})", hint)
    if isinstance(example, list) and example and not isinstance(example[0], str):
        raise ConfigError("the inputs of this dataset are picture files, of any size", PICTURES)
    if isinstance(example, list | tuple):
        hint = "give what the module takes: save_model(model, tokens[:2], processing=Processing(tokenise=tokenise))"
        raise ConfigError("save_model needs an example: the inputs of this dataset are no tensor", hint)
    if not isinstance(example, torch.Tensor):
        hint = "give the first rows of what the module takes: save_model(model, x[:2])"
        raise ConfigError(f"save_model needs a tensor as example, not {type(example).__name__}", hint)
    if example.ndim == 0 or len(example) < 2:
        raise ConfigError("save_model needs an example of at least 2 rows", "use run.example()")
    if example.dtype not in (torch.float32, torch.int64):
        cast = ".float()" if example.dtype.is_floating_point or example.dtype == torch.bool else ".long()"
        message = f"the example is {str(example.dtype).removeprefix('torch.')}; evaluation and server give {TYPES}"
        hint = f"train and save with inputs as x{cast}; what the module needs beyond that it can cast in forward"
        if example.dtype == torch.uint8:
            hint = "pictures come as float32, 0..1, as run.tensors gives them; other whole numbers as x.long()"
        raise ConfigError(message, hint)
    return example


def answer_of(model: "Module", rows: "Tensor", what: str = "its example") -> "Tensor":
    """What a model answers, (B, …).

    Args:
        model: in evaluation mode.
        rows: (B, …).
        what: the rows are, for the message.

    Raises:
        JobFailed: it raises, or its answer is not one tensor with a row for each row of inputs.
    """
    import torch

    try:
        with torch.no_grad():
            answer = model(rows)
    except Exception as error:
        form = f"{str(rows.dtype).removeprefix('torch.')} {tuple(rows.shape)}"
        message = f"the model does not take {what}, {form}: {type(error).__name__}: {str(error)[:300]}"
        hint = "give save_model rows as the module gets them in training" if what == "its example" else FIXED_BATCH
        raise JobFailed(f"{message} ({own_line(error)})", hint) from error
    if not isinstance(answer, torch.Tensor):
        count = f" of {len(answer)}" if isinstance(answer, tuple | list | dict) else ""
        hint = "return the one that is to be served, for example from a module around it; the others can be trained on"
        raise JobFailed(f"the model returns a {type(answer).__name__}{count}; what is served is one tensor", hint)
    if answer.ndim == 0 or len(answer) != len(rows):
        hint = "have forward return a row of answers for each row of inputs"
        raise JobFailed(f"the model answers {len(rows)} rows with a tensor of shape {tuple(answer.shape)}", hint)
    if answer.dtype in (torch.bfloat16, torch.float16) or answer.is_complex():
        name = str(answer.dtype).removeprefix("torch.")
        raise JobFailed(f"the model answers in {name}, which is not served", "return answer.float() from forward")
    return answer


def cause_of(error: BaseException) -> str:
    """What torch.export has against a model, in a line: the exporter itself says how to report it to PyTorch."""
    cause = _chain(error)[-1]
    first = next((line.strip() for line in str(cause).splitlines() if line.strip()), "no message")
    return f"{type(cause).__name__}: {first[:300]} ({own_line(cause)})"


def hint_of(error: BaseException) -> str:
    """What to do about a model that torch.export refuses; empty where nobody knows."""
    text = " ".join(f"{type(cause).__name__} {cause}" for cause in _chain(error))
    return next((hint for marks, hint in _HINTS.items() if any(mark in text for mark in marks)), "")


def _chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain
