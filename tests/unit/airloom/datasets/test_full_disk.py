"""The disk fills up at any point of a commit: a named error, nothing visible, and with room again it goes on.

Where the kernel lets us, the home lies on a small file system of its own that is filled up (ENOSPC); elsewhere the size
of files is limited (EFBIG). Both are the kernel's own refusals.
"""

import json
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[4]
TMPFS = ["unshare", "--user", "--map-root-user", "--mount"]
SCRIPT = Path(__file__).with_name("full_disk.py")


def can_mount(tmp_path: Path) -> bool:
    try:
        tried = [*TMPFS, "mount", "-t", "tmpfs", "none", str(tmp_path)]
        return subprocess.run(tried, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.matrix("levels", [60], sample=[3])
def test_a_full_disk_is_named_and_leaves_nothing_half(tmp_path, record_property, levels):
    how = "tmpfs" if can_mount(tmp_path) else "limit"
    drawn = random.Random(7)
    # A commit needs 0.6 MB for its shard, then 30 KB for its report, 0.6 MB for the remote, and some for git.
    free = [0, *(int(2**20 * drawn.choice([0.6 * drawn.random(), 0.6 + drawn.random()])) for _ in range(levels - 1))]
    (tmp_path / "disk").mkdir()
    command = [sys.executable, str(SCRIPT), str(tmp_path / "disk"), str(PROJECT), how, *map(str, free)]
    done = subprocess.run([*(TMPFS if how == "tmpfs" else []), *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == levels
    for record in found:
        refused = "DataAway" in record["said"] or "Error" in record["said"] or "ValidationFailed" in record["said"]
        assert refused != bool(record["new"]), record
        assert "\n  -> " in record["said"] or not refused, record
        assert record["whole"] and not record["left"], record
        assert record["retried"].startswith("digits@v") or "exactly these rows" in record["retried"], record
    places = Counter(re.sub(r".*?(/home\S*|DVC remote|push of).*", r"\1", r["said"], flags=re.S) for r in found)
    room = sum(count for place, count in places.items() if "home" in place or "remote" in place or "push" in place)
    assert room >= levels // 3, found
    where = ", ".join(f"{count} at {place}" for place, count in places.most_common() if not place.startswith("digits@"))
    record_property(
        "full disk", f"{how}: of {levels} commits {room} found no room ({where}); all went through with room"
    )
