"""What a template may have made of an argument.

A DAG with `render_template_as_native_obj=True` gives each argument as it is. Any other DAG gives text: a dict as Python
writes it, nothing as "None", a truth value as "False". Both are understood; what is neither is refused by name.
"""

import ast
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from airloom.contracts import Record
from airloom.errors import ConfigError

R = TypeVar("R", bound=Record)
EMPTY = {"", "none", "null"}
NATIVE = "or set render_template_as_native_obj=True on the DAG"


def mapping(name: str, value: Any) -> dict[str, Any]:
    """An argument that holds names and values; nothing is an empty one.

    Args:
        name: of the argument, for messages.
        value: a mapping, or its text: JSON, or as Python writes it.

    Raises:
        ConfigError: it is neither.
    """
    found = _read(value) if isinstance(value, str) else value
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        hint = f'give names and values, such as {{"epochs": 3}}, as JSON where it is text, {NATIVE}'
        raise ConfigError(f"{name} is {_shown(value)}, no names with values", hint)
    return dict(found)


def record(kind: type[R], name: str, value: Any) -> R:
    """An argument that is what an earlier task returned.

    Args:
        kind: of the record.
        name: of the argument, for messages.
        value: as `mapping` takes it.

    Raises:
        ConfigError: it is something else.
    """
    try:
        return kind.from_dict(mapping(name, value))
    except (KeyError, TypeError) as error:
        hint = "give the `output` of the task that makes it"
        raise ConfigError(f"{name} is {_shown(value)}, no {kind.__name__}: {error}", hint) from None


def names(name: str, value: Any) -> list[str]:
    """An argument that lists names; nothing is an empty list.

    Args:
        name: of the argument, for messages.
        value: a list, its text, or names with commas between.

    Raises:
        ConfigError: it is none of them.
    """
    found = _read(value) if isinstance(value, str) else value
    if isinstance(found, str):
        found = [part.strip() for part in found.split(",")]
    if found is None:
        return []
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) and one for one in found):
        raise ConfigError(f"{name} is {_shown(value)}, no list of names", f"give a list of texts, {NATIVE}")
    return list(found)


def flag(name: str, value: Any, default: bool) -> bool:
    """An argument that is true or false.

    Args:
        name: of the argument, for messages.
        value: a truth value, or its text.
        default: what nothing means.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(value, bool):
        return value
    text = "" if value is None else str(value).strip().lower()
    if text in EMPTY:
        return default
    if text not in ("true", "false"):
        raise ConfigError(f"{name} is {_shown(value)}", f"give true or false, {NATIVE}")
    return text == "true"


def number(name: str, value: Any) -> int | None:
    """An argument that counts from 1, such as a dataset's version; None where there is none.

    Args:
        name: of the argument, for messages.
        value: a number, or its text, also as `v3`.

    Raises:
        ConfigError: it is neither.
    """
    text = "" if value is None or isinstance(value, bool) else str(value).strip().lower()
    if text in EMPTY and not isinstance(value, bool):
        return None
    digits = text.removeprefix("v")
    if not (digits.isascii() and digits.isdigit() and int(digits)):
        raise ConfigError(f"{name} is {_shown(value)}", f"give a number from 1 on, {NATIVE}")
    return int(digits)


def _read(text: str) -> Any:
    if text.strip().lower() in EMPTY:
        return None
    for read in (json.loads, ast.literal_eval):  # the second takes literals only, it runs nothing
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _shown(value: Any) -> str:
    return f"{str(value)[:120]!r}"
