"""Find the user's training function."""

import ast
import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from airloom.errors import ConfigError
from airloom.project.place import own_line


def load_function(project: Path, reference: str) -> Callable[..., Any]:
    """Import the function that `reference` names.

    Args:
        project: the project's root.
        reference: `path/in/project.py:function` or `installed.module:function`.

    Raises:
        ConfigError: nothing is there, the path leaves the project, or the file cannot be imported.
    """
    place, _, name = reference.partition(":")
    if not place or not name:
        raise ConfigError(f"train: {reference!r} names no function", "write path.py:function or module:function")
    module = _load_file(project, place) if place.endswith(".py") else _load_module(place)
    function = getattr(module, name, None)
    if not callable(function):
        near = ", ".join(_functions(Path(str(module.__file__)))) or "no function"
        raise ConfigError(f"train: {place} has no function {name!r}", f"the file has: {near}")
    return function  # type: ignore[no-any-return]


def source_file(project: Path, reference: str) -> Path:
    """The file that holds the function.

    Raises:
        ConfigError: there is none.
    """
    place = reference.partition(":")[0]
    if place.endswith(".py"):
        return _inside(project, place)
    spec = importlib.util.find_spec(place)
    if spec is None or not spec.origin:
        raise ConfigError(f"train: the module {place} has no source file")
    return Path(spec.origin)


def check_function(project: Path, reference: str, key: str = "train") -> None:
    """Look whether the file of a function has it, without importing anything.

    A file that imports `*`, or defines `__getattr__`, may have any.

    Args:
        project: the project's root.
        reference: `path/in/project.py:function` or `installed.module:function`.
        key: of the pipeline file, which names it.

    Raises:
        ConfigError: there is no such file, or it has no such function.
    """
    place, _, name = reference.partition(":")
    try:
        file = source_file(project, reference)
    except ConfigError as error:
        raise ConfigError(error.message.replace("train: ", f"{key}: ", 1), error.hint) from None
    if file.suffix != ".py":
        return
    try:
        names = _names(ast.parse(file.read_bytes()))
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ConfigError(f"{key}: {place}{line} is no Python: {error}", "mend the file") from None
    if not names & {name, "*", "__getattr__"}:
        close = difflib.get_close_matches(name, names, 1)
        guess = f" (did you mean {close[0]}?)" if close else ""
        there = ", ".join(_functions(file)) or "no function"
        raise ConfigError(f"{key}: {place} has no function {name!r}{guess}", f"the file has: {there}")


def _names(tree: ast.AST) -> set[str]:
    """What a module may have by name: whatever is defined, imported or assigned in it outside of functions."""
    names = set[str]()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(one.asname or one.name).partition(".")[0] for one in node.names}
        else:
            names |= {node.id} if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else set()
            names |= _names(node)
    return names


def _inside(project: Path, place: str) -> Path:
    root = project.resolve()
    path = (root / place).resolve()
    if not path.is_relative_to(root):
        raise ConfigError(f"train: {place} lies outside the project {root}", "give a path below the project's root")
    if not path.is_file():
        raise ConfigError(f"train: there is no file {place} in {root}", "the path counts from the project's root")
    return path


def _load_file(project: Path, place: str) -> ModuleType:
    path = _inside(project, place)
    root = str(project.resolve())
    if root not in sys.path:
        sys.path.append(root)  # its own modules; last, so that none of them shadows an installed one
    # A name of its own: two projects may both have a model.py.
    name = f"airloom_user_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"train: {place} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        where = "" if isinstance(error, SyntaxError) else f" ({own_line(error)})"  # which names its own place
        raise ConfigError(f"train: {place} cannot be imported: {type(error).__name__}: {error}{where}") from error
    return module


def _load_module(place: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except Exception as error:
        message = f"train: the module {place} cannot be imported: {type(error).__name__}: {error}"
        raise ConfigError(message, "install it beside airloom, or give a path ending in .py") from error


def _functions(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
