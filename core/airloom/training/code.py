"""Which code trained: the file's digest always, the commit where the project is a git repository."""

import hashlib
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path


def code_tags(project: Path, reference: str, file: Path | None) -> dict[str, str]:
    """Tags `airloom.code.*`: function or command, sha256 of its file, commit and dirty (`true`, `false`) under git."""
    tags = {"airloom.code.function": reference}
    if file is not None:
        tags["airloom.code.sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    commit = _git(project, "rev-parse", "HEAD")
    if commit:
        changed = _git(project, "status", "--porcelain", "--untracked-files=no")
        tags |= {"airloom.code.commit": commit, "airloom.code.dirty": "true" if changed else "false"}
    return tags


def changes(project: Path) -> bytes:
    """What the project's tracked files differ from its commit by, as `git apply` takes it; empty where they do not."""
    command = ["git", "-C", str(project), "diff", "--binary", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""


def imported(project: Path) -> list[Path]:
    """The project's own modules that this process has imported: the files behind the training function."""
    root, found = project.resolve(), set()
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("airloom", "airloom_operators", "airloom_plugins", "airloom_serving", "__main__"):
            continue  # our own, where the project is a clone of Airloom: its version stands in the environment
        place = getattr(module, "__file__", None)
        path = Path(place).resolve() if isinstance(place, str) and place.endswith(".py") else None
        if path is None or not path.is_relative_to(root) or not path.is_file():
            continue
        if not {"site-packages", "dist-packages"} & set(path.parts):  # an environment may lie in the project
            found.add(path)
    return sorted(found)


def installed() -> str:
    """Each package of this environment with its version, a line `name==version` each, and Python's own."""
    packages = {f"{one.metadata['Name'].lower()}=={one.version}" for one in metadata.distributions() if one.metadata}
    return "\n".join([f"# Python {platform.python_version()} on {platform.platform()}", *sorted(packages)]) + "\n"


def _git(project: Path, *arguments: str) -> str:
    """The command's output, empty where git is missing or the project is no repository."""
    command = ["git", "-C", str(project), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
