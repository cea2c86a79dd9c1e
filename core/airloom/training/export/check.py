"""What a model must be to be served, told where it is saved: tensors in and out, of types that the server has."""

import re
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError, JobFailed
from airloom.project.place import own_line

if TYPE_CHECKING:
    from torch import Tensor

TYPES = "float32, int64 or int32 for token numbers and other whole ones, bool for masks"
PICTURES = "say what the model takes, before anything is read: run.pictures(Picture(height=224, width=224))"
FIXED_BATCH = "forward fixes the size of the batch: write x.shape[0] where a number of rows stands, as in x.reshape(…)"
FIXED_SIZE = "forward fixes the size: write x.shape[1] where a length stands; or leave the dimension out of `dynamic`"
AS_PYTHON = 'keep it as Python code, which the model server does not run: run.save_model(model, serve="python")'
_UNKNOWN = re.compile(r"No ONNX function found for <OpOverload\(op='([^']+)', overload='([^']+)'")
# What torch.export says, and what to do about it. The first that fits counts; names of classes come first in the text.
_HINTS = {
    ("data-dependent", "Dynamic control flow", "GuardOnDataDependent", "Could not guard", "_local_scalar"): (
        "forward decides by values (`if x.sum() > 0`, `.item()`, a loop over them): use torch.where or masks; or "
        + AS_PYTHON
    ),
    ("No ONNX function found",): f"write it with other operations; or {AS_PYTHON}",
    ("Constraints violated", "specialized", "was inferred to be a constant", "ConstraintViolation"): FIXED_BATCH,
}


def need_an_example(given: Any) -> None:
    """Refuse what is no example.

    Raises:
        ConfigError: it is no tensor; says what to give.
    """
    import torch

    if isinstance(given, list) and given and not isinstance(given[0], str):
        raise ConfigError("the inputs of this dataset are picture files, of any size", PICTURES)
    if isinstance(given, dict | list | tuple):
        hint = "give what the module takes: save_model(model, tokens[:2], processing=Processing(tokenise=tokenise))"
        raise ConfigError("save_model needs an example: the inputs of this dataset are no tensor", hint)
    if not isinstance(given, torch.Tensor):
        hint = "give the first rows of what the module takes: save_model(model, x[:2])"
        raise ConfigError(f"save_model needs a tensor as example, not {type(given).__name__}", hint)


def check_tensor(tensor: Any, name: str = "") -> None:
    """One input that a model is exported with: a tensor of a type that evaluation and server give.

    Args:
        tensor: to be checked.
        name: of the input; empty where there is only one.

    Raises:
        ConfigError: it is something else; the message says what to give.
    """
    import torch

    what = f"the input {name!a} of the example" if name else "the example"
    if not isinstance(tensor, torch.Tensor):
        message = f"{what} is {type(tensor).__name__}, and no tensor"
        columns = "stack them, as in training: save_model(model, x[:2], processing=Processing(columns=[…]))"
        raise ConfigError(message, f"give what forward takes; the columns of a table: {columns}")
    if tensor.dtype not in (torch.float32, torch.int64, torch.int32, torch.bool):
        cast = ".float()" if tensor.dtype.is_floating_point else ".long()"
        message = f"{what} is {str(tensor.dtype).removeprefix('torch.')}; evaluation and server give {TYPES}"
        hint = f"train and save with inputs as x{cast}; what the module needs beyond that it can cast in forward"
        if tensor.dtype == torch.uint8:
            hint = "pictures come as float32, 0..1, as run.tensors gives them; other whole numbers as x.long()"
        raise ConfigError(message, hint)
    if tensor.ndim == 0 or len(tensor) < 2:
        of = f" in its input {name!a}" if name else ""
        raise ConfigError(f"save_model needs an example of at least 2 rows{of}", "use run.example()")


def check_rows(rows: dict[str, int]) -> None:
    """Refuse inputs of several numbers of rows.

    Raises:
        ConfigError: they differ.
    """
    if len(set(rows.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in rows.items())
        hint = "the first dimension of each input is the batch"
        raise ConfigError(f"the inputs of the example have different numbers of rows: {told}", hint)


def check_answer(answer: "Tensor", rows: int, name: str = "") -> None:
    """One output: a row of answers for each row, of a type that is served.

    Args:
        answer: (B, …).
        rows: that were asked.
        name: of the output; empty where there is only one.

    Raises:
        JobFailed: it is something else.
    """
    import torch

    of = f" in its output {name!a}" if name else ""
    if answer.ndim == 0 or len(answer) != rows:
        hint = "have forward return a row of answers for each row of inputs"
        raise JobFailed(f"the model answers {rows} rows with a tensor of shape {tuple(answer.shape)}{of}", hint)
    if answer.dtype in (torch.bfloat16, torch.float16) or answer.is_complex():
        kind = str(answer.dtype).removeprefix("torch.")
        raise JobFailed(f"the model answers in {kind}{of}, which is not served", "return answer.float() from forward")


def cause_of(error: BaseException) -> str:
    """What torch.export has against a model, in a line: the exporter itself says how to report it to PyTorch."""
    cause = _chain(error)[-1]
    if unknown := _UNKNOWN.search(str(cause)):
        overload = "" if unknown[2] == "default" else f".{unknown[2]}"
        return f"ONNX has no operation for {unknown[1]}{overload}, which forward calls"
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
