"""A full disk does not stop what makes room, nor the look at what would go."""

import subprocess
import sys
from pathlib import Path

import pytest

TMPFS = ["unshare", "--user", "--map-root-user", "--mount"]
SCRIPT = Path(__file__).with_name("full_disk.py")


def test_a_collection_on_a_full_disk_makes_room(tmp_path, migrated):
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        tried = [*TMPFS, "mount", "-t", "tmpfs", "none", str(disk)]
        mounts = subprocess.run(tried, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounts = False
    if not mounts:
        pytest.skip("no file system of its own here")
    command = [*TMPFS, sys.executable, str(SCRIPT), str(disk), str(migrated)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == ["full", "planned: job", "removed: job", "folder is gone: True"]
