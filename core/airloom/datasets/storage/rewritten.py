"""Commits of the data repository that a forgetting replaced, and which one stands in the place of each.

Runs, model versions and snapshots name commits that git no longer has. The ref `refs/airloom/rewritten` holds a file
with a line for each of them: the old commit, and the one in its place.
"""

from functools import lru_cache
from pathlib import Path

from airloom.datasets.storage.git import git, objects

REF = "refs/airloom/rewritten"
FILE = "commits"
SHORT = 7  # digits of a commit that are enough to name it


def commits(repo: Path) -> dict[str, str]:
    """By the commit that was replaced, the one in its place."""
    at = git(repo, "rev-parse", "-q", "--verify", REF, check=False).stdout.strip()
    return _read(repo, at) if at else {}


def resolve(repo: Path, commit: str) -> str:
    """The commit in the place of one (of its first digits, too); itself where it was not replaced."""
    known = commits(repo)
    if commit in known:
        return known[commit]
    same = {new for old, new in known.items() if old.startswith(commit)} if len(commit) >= SHORT else set()
    return same.pop() if len(same) == 1 else commit


@lru_cache(maxsize=4)
def _read(repo: Path, at: str) -> dict[str, str]:
    text = next(iter(objects(repo, [f"{at}:{FILE}"]))) or b""
    return dict(line.split(" ") for line in text.decode().splitlines())


def to_bytes(known: dict[str, str]) -> bytes:
    """The file of such a map."""
    return "".join(f"{old} {new}\n" for old, new in sorted(known.items())).encode()
