"""What a model's answers are for: labels, merits of rows, metrics, what is served. One small class a file."""

from pathlib import Path
from typing import Any

from airloom.errors import ConfigError
from airloom.processing import Processing
from airloom.tasks.base import Asked, Outputs, Task
from airloom.tasks.classification import Classification
from airloom.tasks.embedding import Embedding
from airloom.tasks.language_model import LanguageModel
from airloom.tasks.multilabel import Multilabel
from airloom.tasks.regression import Regression
from airloom.tasks.rows import Answered, Answers, ModelAnswers
from airloom.tasks.segmentation import Segmentation
from airloom.tasks.tokens import Tokens

__all__ = [
    "Answered",
    "Answers",
    "Asked",
    "Classification",
    "Embedding",
    "LanguageModel",
    "ModelAnswers",
    "Multilabel",
    "Outputs",
    "Regression",
    "Segmentation",
    "Task",
    "Tokens",
]
OWN: dict[str, type[Task]] = {
    task.name: task
    for task in (Classification, Multilabel, Regression, Segmentation, Tokens, LanguageModel, Embedding, Task)
}


def find(task: str, project: Path) -> Task | None:
    """What `task:` of a pipeline file says; None where it says nothing, and the labels do.

    Args:
        task: a name, or `path.py:Class`.
        project: its root.

    Raises:
        ConfigError: the class is not there, or is no task.
    """
    if not task:
        return None
    if ":" in task:
        from airloom.tasks import custom

        return custom.load(project, task)
    return OWN[task]()


def of_name(name: str) -> Task:
    """One of our tasks by its name, as `processing.json` has it; "" is a classifier.

    Raises:
        ConfigError: it is another release's.
    """
    if name and name not in OWN:
        raise ConfigError(f"this release knows no task {name[:60]!a}", f"it knows {', '.join(OWN)}")
    return OWN[name]() if name else Classification()


def guessed(stored: Any) -> Task:
    """The task of labels, where the pipeline file says none: classes are told, numbers are predicted."""
    from airloom.datasets.types.labels import label_names

    return Regression() if stored is None or label_names(stored) is None else Classification()


def declared(task: Task | None, processing: Processing) -> Processing:
    """The processing of a model that is trained for a task; without one as it is."""
    return processing if task is None else processing.model_copy(update={"task": task.name})
