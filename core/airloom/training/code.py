"""Which code trained: the file's digest always, the commit where the project is a git repository."""

import hashlib
import subprocess
from pathlib import Path

from airloom.training.load import source_file


def code_tags(project: Path, reference: str) -> dict[str, str]:
    """Tags `airloom.code.*`: function, sha256 of its file, and commit and dirty (`true` or `false`) under git."""
    file = source_file(project, reference)
    tags = {
        "airloom.code.function": reference,
        "airloom.code.sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    commit = _git(project, "rev-parse", "HEAD")
    if commit:
        changed = _git(project, "status", "--porcelain", "--untracked-files=no")
        tags |= {"airloom.code.commit": commit, "airloom.code.dirty": "true" if changed else "false"}
    return tags


def _git(project: Path, *arguments: str) -> str:
    """The command's output, empty where git is missing or the project is no repository."""
    command = ["git", "-C", str(project), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
