"""What git says of the project: its commit, and what differs from it."""

import os
import subprocess
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit


def head(project: Path) -> tuple[str, bool]:
    """The commit of the project and whether tracked files differ from it; an empty commit where git knows none."""
    commit = run(project, "rev-parse", "HEAD")
    return commit, bool(commit and run(project, "status", "--porcelain", "--untracked-files=no"))


def untracked(project: Path, names: Collection[str]) -> list[str]:
    """Those of these files, by path from the project's root, that git does not track; none where it knows no commit."""
    command = ["git", "-C", str(project), "ls-files", "-z", "--recurse-submodules"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode or not names:
        return []
    tracked = {os.fsdecode(name) for name in done.stdout.split(b"\0")}
    return sorted(set(names) - tracked)


def changes(project: Path) -> bytes:
    """What the project's tracked files differ from its commit by, as `git apply` takes it; empty where they do not."""
    command = ["git", "-C", str(project), "diff", "--binary", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""


def setting(project: Path, name: str) -> str:
    """A value of git's configuration as it holds in the project's folder; empty where there is none."""
    return run(project, "config", "--get", name)


def remote(project: Path) -> str:
    """The address of the project's remote `origin`; empty where it has none."""
    return run(project, "remote", "get-url", "origin")


def without_password(address: str) -> str:
    """An address as others may read it."""
    parts = urlsplit(address) if "://" in address else None
    if parts is None or parts.password is None:
        return address
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def run(project: Path, *arguments: str) -> str:
    """A git command's output, empty where git is missing or refuses: the project may be no repository."""
    command = ["git", "-C", str(project), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
