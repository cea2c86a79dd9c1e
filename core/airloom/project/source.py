"""Which files of the project a training function stands on: read from the source, nothing is run.

Followed are `import` and `from … import` anywhere in a file, also inside functions, and the modules that
`importlib.import_module` and `__import__` are given as plain text. What is imported in any other way shows when it is
trained; see `airloom.project.watch`.
"""

import ast
import os
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from airloom.files import file_sha256

OURS = ("airloom", "airloom_operators", "airloom_plugins", "airloom_serving")  # their version stands in the lock
_DYNAMIC = ("import_module", "__import__")


def digests(project: Path, file: Path) -> dict[str, str]:
    """sha256 of the file and of all project files that it imports, however deep, by path from the project's root."""
    root = project.resolve()
    return {_name(root, path): file_sha256(path) for path in sorted(closure(root, file.resolve()))}


def closure(root: Path, file: Path) -> set[Path]:
    """The file, and all that it imports of the project, transitively."""
    places = _places(root, file)
    seen: set[Path] = set()
    waiting = [file]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if path.suffix == ".py":
            waiting += [imported for imported in _imports(root, places, path) if imported not in seen]
    return seen


def of_module(root: Path, dotted: str) -> list[Path]:
    """The project's files that importing an installed module runs; none where it lies elsewhere: the lock has it."""
    from importlib.util import find_spec

    try:
        top = find_spec(dotted.partition(".")[0])  # of a top-level name; nothing is imported
    except (ImportError, ValueError):
        top = None
    folders = [Path(place).resolve().parent for place in (top.submodule_search_locations or [])] if top else []
    origin = [Path(top.origin).resolve().parent] if top and top.origin and not folders and top.has_location else []
    return _module_files(root, [*folders, *origin, root], dotted)


def in_project(root: Path, path: Path) -> bool:
    """Whether it is the project's own file; an environment may lie in the project."""
    return path.is_relative_to(root) and not {"site-packages", "dist-packages", ".git"} & set(path.parts)


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _places(root: Path, file: Path) -> list[Path]:
    """Where an import looks, as far as it can lead into the project."""
    further = [Path(entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    every = [file.parent, root, root / "src", *further]
    return list(dict.fromkeys(place for place in every if place.is_dir() and in_project(root, place)))


def _imports(root: Path, places: list[Path], path: Path) -> Iterator[Path]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):  # its digest stands for it; the training says what is wrong with it
        return
    for node in ast.walk(tree):
        for base, name in _modules(node, path, places):
            yield from _module_files(root, base, name)


def _modules(node: ast.AST, path: Path, places: list[Path]) -> Iterator[tuple[list[Path], str]]:
    """What a statement imports: where to look, and the dotted name from there."""
    if isinstance(node, ast.Import):
        yield from ((places, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = places
        if node.level:
            base = [path.parents[node.level - 1]] if node.level <= len(path.parents) else []
        prefix = f"{node.module}." if node.module else ""
        if node.module:
            yield base, node.module
        yield from ((base, f"{prefix}{alias.name}") for alias in node.names if alias.name != "*")
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in _DYNAMIC and isinstance(node.args[0].value, str):
            yield places, node.args[0].value


def _module_files(root: Path, places: list[Path], dotted: str) -> list[Path]:
    """The files that importing a dotted name runs: each package's `__init__` on the way, and the module."""
    parts = dotted.split(".")
    if parts[0] in OURS or not all(parts):
        return []
    where, files = [str(place) for place in places], []
    for part in parts:
        spec = PathFinder.find_spec(part, where)
        if spec is None:
            break  # a name inside the module, or none of the project's
        if spec.origin and spec.has_location and spec.origin.endswith(".py"):
            path = Path(spec.origin).resolve()
            if not in_project(root, path):
                break
            files.append(path)
        where = list(spec.submodule_search_locations or [])
        if not where:
            break
    return files
