"""A task of the project: `task: path.py:Class`."""

from pathlib import Path

from airloom.errors import ConfigError
from airloom.project.functions import load_function
from airloom.tasks.base import Task


def load(project: Path, reference: str) -> Task:
    """The task that a class of the project is.

    Raises:
        ConfigError: nothing is there, or it is no subclass of `airloom.tasks.Task`.
    """
    try:
        found = load_function(project, reference)
    except ConfigError as error:
        raise ConfigError(error.message.replace("train: ", "task: ", 1), error.hint) from None
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise ConfigError(f"task: {reference} is no task", "write a subclass: class Mine(airloom.tasks.Task)")
    try:
        return found()
    except TypeError as error:
        raise ConfigError(f"task: {reference} cannot be made: {error}", "it is made without arguments") from None
