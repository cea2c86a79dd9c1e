"""The files of a project as they were in a commit."""

import subprocess
import tarfile
from pathlib import Path


def check_out(project: Path, commit: str, target: Path) -> bool:
    """Write the files of a commit to a folder; False where git does not have it.

    Args:
        project: whose part of the repository is meant.
        commit: its hash.
        target: a folder that exists.
    """
    archive = target / "code.tar"
    command = ["git", "-C", str(project), "archive", "--output", str(archive), commit]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return False
    with tarfile.open(archive) as files:
        # Python before 3.11.4 has no filters. Nothing in a tree of git lies outside of it, or behind a link.
        files.extraction_filter = getattr(tarfile, "data_filter", None)
        files.extractall(target)  # noqa: S202 - as above
    archive.unlink()
    return True
