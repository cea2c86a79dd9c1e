"""What to do about errors that every newcomer to torch meets once."""

from typing import Any

_TRACEBACK = "the log has the traceback"
_COLUMNS = (
    "the inputs of a table, or of a dataset of other columns, are a dict by column: fit(named=True) and "
    "run.loader(named=True) give forward the columns that it names"
)
_KNOWN = {
    "must be Tensor, not dict": _COLUMNS,
    "'dict' object has no attribute": _COLUMNS,
    "Expected more than 1 value per channel": (
        "a batch of one row reached a BatchNorm, mostly the last batch of an epoch: "
        "drop_last=True leaves it out (of fit, run.loader and DataLoader), or choose another batch_size"
    ),
    "out of memory": "lower batch_size, or use accumulate of fit: it adds the gradients of smaller batches up",
    "out of bounds": (
        "a label has no place in the model: labels are 0 to classes - 1, so give it len(run.classes) outputs"
    ),
}


def hint_of(error: BaseException, parameters: dict[str, Any]) -> str:
    """What to do about an error of a training function.

    Args:
        error: that it raised.
        parameters: of the function.
    """
    text = str(error)
    if isinstance(error, TypeError | ValueError) and (numbers := _numbers_as_text(parameters)):
        return f"{', '.join(numbers)}: a text that looks like a number; write it without quotes. {_TRACEBACK}"
    known = next((hint for mark, hint in _KNOWN.items() if mark in text), "")
    return f"{known}. {_TRACEBACK}" if known else _TRACEBACK


def _numbers_as_text(parameters: dict[str, Any]) -> list[str]:
    texts = {name: value for name, value in parameters.items() if isinstance(value, str)}
    return [f"{name} is {value!r}" for name, value in texts.items() if _is_number(value)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
