"""`airloom dataset commit` killed at any moment: what it acknowledged is there, and nothing else but whole versions.

The rule. A commit is acknowledged when the process has printed its version. Every acknowledged version is there, under
the number that was printed, with its rows. A commit that was killed after its push but before it printed may be there
too, and then whole; the kill found it in the phase `pushed, not said`. No other row is there.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from airloom.datasets import versions
from airloom.datasets.commit import commit
from airloom.datasets.read import read
from airloom.datasets.storage import repository
from airloom.settings import Settings

ROWS = 4000
# What a killed commit had come to, by what it left on disk.
PHASES = ("starting", "staging", "validating", "pushing data", "pushing git", "pushed, not said", "acknowledged")


@dataclass
class Traces:
    """What a home holds: objects in the cache and the remote, reports, versions."""

    cached: set[str]
    halves: set[str]
    reports: int
    stored: set[str]
    tags: set[str]

    @classmethod
    def of(cls, settings: Settings) -> "Traces":
        cache = settings.dvc_cache / "files" / "md5"
        remote = settings.dvc_remote_folder / "files" / "md5"
        tags = repository.git(settings.data_repo, "tag", "--list", "digits@v*").stdout.split()
        return cls(
            cached=names(cache),
            halves={path.name for path in cache.glob("*.tmp")},
            reports=len(list((settings.home / "reports" / "digits").glob("*.html"))),
            stored=names(remote),
            tags=set(tags),
        )


def names(folder: Path) -> set[str]:
    found = {path.parent.name + path.name for path in folder.glob("??/*")}
    return {name for name in found if re.fullmatch(r"[0-9a-f]{32}", name)}


def phase(before: Traces, after: Traces, said: str) -> str:
    if re.search(r"^digits@v\d+: .*\n", said):
        return "acknowledged"
    if after.tags - before.tags:
        return "pushed, not said"
    fresh = after.cached - before.cached
    if after.reports > before.reports:
        return "pushing git" if fresh <= after.stored else "pushing data"
    if len(fresh) == 2:  # the shard and its index
        return "validating"
    return "staging" if fresh or after.halves - before.halves else "starting"


def start(settings: Settings, file: Path, message: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "airloom", "dataset", "commit", "digits", str(file), "-m", message]
    places = {"AIRLOOM_HOME": str(settings.home), "AIRLOOM_PROJECT": str(settings.project)}
    return subprocess.Popen(
        command,
        env=os.environ | places,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def wait_for(process: subprocess.Popen, settings: Settings, before: Traces, moment: str) -> None:
    """Until the process has begun something, or has ended."""
    begun = {
        "start": lambda: True,
        "staging": lambda: any((settings.dvc_cache / "files" / "md5").glob("*.tmp")),
        "validating": lambda: len(names(settings.dvc_cache / "files" / "md5") - before.cached) >= 2,
        "pushing data": lambda: len(list((settings.home / "reports" / "digits").glob("*.html"))) > before.reports,
        "pushing git": lambda: len(names(settings.dvc_remote_folder / "files" / "md5") - before.stored) >= 2,
        "pushed": lambda: len(list((settings.data_repo / "refs" / "tags").glob("digits@v*"))) > len(before.tags),
    }[moment]
    end = time.monotonic() + 120
    while not begun() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.0005)


def settle(settings: Settings) -> None:
    """A git that outlived its parent ends by itself; what it pushes counts."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        found = (p.info for p in psutil.process_iter(["name", "cwd"]))
        if not any(p["name"].startswith("git") and p["cwd"] == str(settings.data_repo) for p in found):
            return
        time.sleep(0.01)


@pytest.mark.timeout(3600)
@pytest.mark.matrix("kills", [100], sample=[2])
def test_no_acknowledged_row_is_lost_and_no_other_is_there(settings, batch, tmp_path, stranger, record_property, kills):
    commit(settings, "digits", batch(0, ROWS), message="base")
    drawn = random.Random(kills)
    took = undisturbed(settings, tmp_path, batch)
    # At a random moment of the whole commit, or of a span that one of its steps begins.
    moments = [("start", took), ("staging", 0.03), ("validating", took / 4), ("pushing data", 0.5)]
    moments += [("pushing git", 0.05), ("pushed", 0.02)]
    found, expected = Counter(), {1: 0, 2: 1}
    for number in range(2, kills + 2):
        file = write(tmp_path / "batch.arrow", batch(number, ROWS))
        before = Traces.of(settings)
        process = start(settings, file, f"attempt {number}")
        moment, span = moments[number % len(moments)]
        wait_for(process, settings, before, moment)
        time.sleep(drawn.uniform(0, span))
        os.kill(process.pid, signal.SIGKILL) if number % 2 else os.killpg(process.pid, signal.SIGKILL)
        said = process.communicate()[0]
        settle(settings)
        after = Traces.of(settings)
        reached = phase(before, after, said)
        found[reached] += 1
        fresh = [int(tag.rpartition("@v")[2]) for tag in after.tags - before.tags]
        assert len(fresh) == (reached in ("pushed, not said", "acknowledged")), (reached, fresh, said)
        for version in fresh:
            assert version == max(expected) + 1
            assert f"@v{version}:" in said or reached == "pushed, not said"
            expected[version] = number
    last = commit(settings, "digits", batch(kills + 2, ROWS), message="the next commit")
    expected[last.number] = kills + 2
    rows = pa.concat_tables([batch(seed, ROWS) for _, seed in sorted(expected.items())])
    assert stranger.pulled(settings).equals(rows)
    assert read(settings, last).equals(rows)
    assert [v.number for v in versions.list_versions(settings, "digits")] == sorted(expected)
    assert not list(settings.dvc_cache.rglob("*.tmp")) and not list(settings.data_repo.rglob("*.lock"))
    counts = ", ".join(f"{found[name]} {name}" for name in PHASES)
    record_property("kills by phase", f"{counts}; {last.rows} rows in {last.number} versions, as acknowledged")
    assert len(found) >= min(6, kills // 2), counts


def undisturbed(settings: Settings, tmp_path: Path, batch) -> float:
    """How long a commit takes that nobody kills."""
    process = start(settings, write(tmp_path / "batch.arrow", batch(1, ROWS)), "attempt 1")
    began = time.monotonic()
    said = process.communicate()[0]
    assert said.startswith("digits@v2: ")
    return time.monotonic() - began


def write(file: Path, table: pa.Table) -> Path:
    with pa.ipc.new_file(str(file), table.schema) as writer:
        writer.write_table(table)
    return file
