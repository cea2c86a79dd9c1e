"""Versions that are Python code of a commit, and no graph: who may run them, see ADR 52."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from airloom.errors import RegistryError
from airloom.names import owner_of, shown_model
from airloom.settings import Settings
from airloom.tracking.artifacts import PYTHON
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

NOT_SERVED = 'is Python code (`save_model(serve="python")`), which the model server does not run'
INSTEAD = "ask it by `airloom predict`, or by airloom.load_model in a program or a Bento of your own"


def is_python(tags: dict[str, str]) -> bool:
    """Whether code of a commit answers, by the tags of a version."""
    return PYTHON in json.loads(tags.get(Tag.DIGESTS, "{}"))


def check_served(settings: Settings, version: "ModelVersion") -> None:
    """Refuse a version that the model server does not run.

    Raises:
        RegistryError: it is Python code.
    """
    if is_python(version.tags):
        raise RegistryError(f"{_shown(settings, version)} {NOT_SERVED}", INSTEAD)


def project_of(settings: Settings, version: "ModelVersion") -> Path:
    """The project whose repository has the code of a version, where it is Python code.

    Raises:
        RegistryError: it is another installation's: a key that is trusted here vouches for data, not for code.
    """
    if is_python(version.tags) and owner_of(version.name) != settings.installation:
        message = f"{_shown(settings, version)} is Python code of another installation, which does not run here"
        raise RegistryError(message, "ask it there by `airloom predict`, or train it here")
    return settings.project


def _shown(settings: Settings, version: "ModelVersion") -> str:
    return f"{shown_model(version.name, settings.installation)}/{version.version}"
