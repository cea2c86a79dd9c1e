"""The disk fills up at any part: a named error, the parts before stay, and with room it ends with the same bytes."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("full_disk.py")
TMPFS = ["unshare", "--user", "--map-root-user", "--mount"]


def can_mount(folder: Path) -> bool:
    try:
        tried = [*TMPFS, "mount", "-t", "tmpfs", "none", str(folder)]
        return subprocess.run(tried, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.timeout(900)
@pytest.mark.matrix("levels", [20], sample=[3])
def test_a_full_disk_is_named_and_costs_one_part(world, model, tmp_path: Path, record_property, levels: int) -> None:
    how, drawn = "tmpfs" if can_mount(tmp_path) else "limit", random.Random(levels)
    parts = [drawn.randrange(4) for _ in range(levels)]
    rooms = [0, *(drawn.choice([0, 100, 5000, 10_000]) for _ in range(levels - 1))]
    asked = [f"{part}:{room}" for part, room in zip(parts, rooms, strict=True)]
    command = [sys.executable, str(SCRIPT), model, how, *asked]
    done = subprocess.run(
        [*(TMPFS if how == "tmpfs" else []), *command], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(records) == levels
    refused = 0
    for part, record in zip(parts, records, strict=True):
        if record["said"] != "400":
            refused += 1
            assert "DataAway" in record["said"]
            assert "make room; what is answered is kept: the same command goes on" in record["said"]
            assert record["kept"] == list(range(max(part, len(record["kept"]))))  # some may have found room
        assert not record["left"]
        assert record["retried"] == "400"
        assert record["files"] == records[0]["files"]
    assert refused
    record_property("full disk", f"{how}: {refused} of {levels} batch predictions found no room; all went through")
