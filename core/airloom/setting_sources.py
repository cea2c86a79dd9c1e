"""Where the value of a setting comes from, and the nearest project and home.

What is given comes first (under Airflow, by a connection), then environment variables `AIRLOOM_*`, if not empty, then
`airloom.toml` of the project, then the default. A relative path of the environment counts from the working folder, one
of the file or of a connection from the project's root.
"""

import os
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from airloom import project_file
from airloom.errors import ConfigError
from airloom.setting_values import absolute

PREFIX = "AIRLOOM_"
T = TypeVar("T")


@dataclass(frozen=True)
class Given:
    """Settings that come before all others.

    Attributes:
        values: by the setting's name, as text.
        source: who says so, for messages: `connection shop`.
    """

    values: Mapping[str, str]
    source: str


GIVEN: ContextVar[Given | None] = ContextVar("given", default=None)  # while `load` makes the settings


def variable(
    name: str,
    default: T,
    parse: Callable[[str], T],
    *,
    secret: bool = False,
    whole: Callable[[str, Path], str] | None = None,
) -> T:
    """A field that takes what is given, else the environment's value, else the project file's, if not empty.

    No text shows a secret. `whole` makes a relative path absolute, from a folder.
    """

    def read() -> T:
        key, given = name.lower(), GIVEN.get()
        if given and (text := given.values.get(key)):
            place, hint, root = f"{given.source}: {key} = ", "mend the connection", project_or_here()
        elif text := _environment(name):
            place, hint, root = f"{PREFIX}{name}=", f"set {PREFIX}{name} to another value, or unset it", Path()
        else:
            project = _project()
            value = project_file.values(project).get(key)
            if project is None or value is None:
                return default
            text, root = str(value), project
            place, hint = f"{project_file.FILE} of {project}: {key} = ", "mend the value"
        try:
            return parse(whole(text, absolute(root)) if whole else text)
        except ValueError as error:
            raise ConfigError(f"{place}{'***' if secret else text}: {error}", hint) from None

    return field(default_factory=read, repr=not secret)


def _environment(name: str) -> str:
    """The variable of a setting; empty where a project is given, as the environment is then that of another one."""
    given = GIVEN.get()
    return "" if given and given.values.get("project") else os.environ.get(PREFIX + name, "")


def _project() -> Path | None:
    """The project that is meant: the one that is given or named, else the nearest upward from the working folder."""
    given = GIVEN.get()
    if given and (named := given.values.get("project")):
        return absolute(Path(named))
    if named := os.environ.get(PREFIX + "PROJECT"):
        return absolute(Path(named))
    return project_file.root(Path(given.values["near"]) if given and given.values.get("near") else Path.cwd())


def project_or_here() -> Path:
    """The project that is meant; the working folder where there is none."""
    return _project() or Path()


def home() -> Path:
    """The state folder that is given, or that the environment or the project's file names, else `.airloom` there."""
    given, project = GIVEN.get(), _project()
    if given and (named := given.values.get("home")):
        return project_or_here() / Path(named).expanduser()
    if named := _environment("HOME"):
        return Path(named)
    if project is None or not (project / project_file.FILE).is_file():
        return (project if given and given.values.get("project") and project else Path()) / ".airloom"
    return project / Path(project_file.values(project).get("home", ".airloom")).expanduser()
