"""Where the class of a module stands, and whether a commit has it as it is."""

import inspect
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError, JobFailed
from airloom.files import file_sha256
from airloom.project.checkout import check_out
from airloom.project.source import digests, in_project

if TYPE_CHECKING:
    from torch.nn import Module

_LOADED = "airloom_user_"  # modules that `load_function` made of a file


def check_class(model: Any, arguments: Any) -> None:
    """Refuse what no other process could build again.

    Raises:
        ConfigError: it is no module, its class has no place of its own, or its arguments are no JSON.
    """
    from torch import nn

    if not isinstance(model, nn.Module):
        raise ConfigError('save_model: serve="python" is for a module, and this is a file', "give the module itself")
    kind = type(model)
    if kind.__module__ == "__main__" or "." in kind.__qualname__:
        message = f'save_model: serve="python" builds {kind.__qualname__} again, which stands in no file by this name'
        raise ConfigError(message, "define the class at the top of a file of the project")
    try:
        same = json.loads(json.dumps(arguments, allow_nan=False)) == arguments and isinstance(arguments, dict)
    except (TypeError, ValueError):
        same = False
    if not same:
        message = f"save_model: arguments is {arguments!r:.80}, which JSON does not keep as it is"
        raise ConfigError(message, f'give those of {kind.__name__} by name: arguments={{"width": 64}}')


def place_of(model: "Module", project: Path) -> tuple[str, str, Path]:
    """How a module's class is found again, below which folder of the project, and its file.

    Raises:
        ConfigError: it is not the project's own.
    """
    kind, root = type(model), project.resolve()
    file = Path(inspect.getfile(kind)).resolve()
    if not in_project(root, file):
        message = (
            f'save_model: serve="python": {kind.__name__} stands in {kind.__module__}, which is not the project\'s'
        )
        raise ConfigError(message, "wrap it in a class of the project, whose __init__ builds it")
    if kind.__module__.startswith(_LOADED):
        return f"{file.relative_to(root).as_posix()}:{kind.__name__}", "", file
    up = kind.__module__.count(".") + (file.name == "__init__.py")
    place = file.parents[up].relative_to(root).as_posix()
    return f"{kind.__module__}:{kind.__name__}", "" if place == "." else place, file


def check_commit(project: Path, commit: str, file: Path) -> None:
    """Refuse code that a commit does not have as it is now.

    Args:
        project: the project's root.
        commit: that is recorded; empty where there is none.
        file: of the class; all that it imports of the project counts.

    Raises:
        ConfigError: the project has no commit.
        JobFailed: a file differs, or the commit does not have it.
    """
    if not commit:
        hint = "put the project under git, commit it, and train again"
        raise ConfigError('save_model: serve="python" keeps the commit of the code, and the project has none', hint)
    root = project.resolve()
    with tempfile.TemporaryDirectory(prefix="airloom-code-") as name:
        then = Path(name).resolve()
        if not check_out(root, commit, then):
            raise JobFailed(f"git has no commit {commit[:12]} any more", "train again")
        now = digests(root, file)
        differing = [name for name, digest in now.items() if _digest(then / name) != digest]
    if differing:
        some = ", ".join(differing[:5]) + (", …" if len(differing) > 5 else "")
        message = f'save_model: serve="python" keeps the commit of the code, and {some} is not as in {commit[:12]}'
        raise JobFailed(message, "commit it, and train again")


def _digest(path: Path) -> str:
    return file_sha256(path) if path.is_file() else ""


def paths_of(project: Path, root: Path, path: str) -> list[str]:
    """Where Python looks for modules, the project's own folders in the commit's files in place of today's.

    Args:
        project: the project's root today.
        root: of the commit's files.
        path: the folder below it from which the class is imported.
    """
    today, environment = project.resolve(), Path(sys.prefix).resolve()  # which may lie in the project
    entries = [Path(entry).resolve() for entry in sys.path if entry]
    moved = [
        root / entry.relative_to(today) if in_project(today, entry) and not entry.is_relative_to(environment) else entry
        for entry in entries
    ]
    return list(dict.fromkeys(map(str, [*moved, root / path, root])))
