"""Which code trained: the file's digest always, the commit where the project is a git repository."""

import hashlib
import subprocess
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


def _git(project: Path, *arguments: str) -> str:
    """The command's output, empty where git is missing or the project is no repository."""
    command = ["git", "-C", str(project), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
