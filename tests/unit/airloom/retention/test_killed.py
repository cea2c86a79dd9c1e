"""`airloom gc --apply` killed at random, beside commits, deletions and jobs: everything reachable still verifies."""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from airloom.datasets import tag_delete, versions
from airloom.errors import AirloomError
from airloom.jobs.spec import JobSpec
from airloom.jobs.wait import run_job
from airloom.retention.dataset_objects import references
from airloom.retention.in_use import InUse

STEP = """
import os, time
from pathlib import Path
def train():
    state = Path(os.environ["AIRLOOM_JOB_STATE"]) / "checkpoint"
    for step in range(10):
        assert step == 0 or int(state.read_text()) == step - 1
        state.write_text(str(step))
        time.sleep(0.1)
    return {"steps": step + 1}
"""
GRACE = 20  # seconds; a commit takes less, also on a busy machine


class Beside:
    """Commits, deletions and jobs in threads of their own, until it is enough."""

    def __init__(self, home) -> None:
        self.home, self.enough, self.errors = home, threading.Event(), list[str]()
        self.commits = self.jobs = 0
        self._threads = [threading.Thread(target=self._guarded, args=(work,)) for work in (self._commit, self._train)]

    def __enter__(self) -> "Beside":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.enough.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, work) -> None:
        while not self.enough.is_set():
            try:
                work()
            except AirloomError as error:
                self.errors.append(str(error))

    def _commit(self) -> None:
        """Few different rows, so that what was deleted, and may be about to go, is committed again."""
        made = self.home.commit(100 + self.commits % 4)
        self.commits += 1
        tag_delete.delete(self.home.settings, made.name, reason="a trial")
        if self.commits % 3 == 0:
            self.home.commit(200 + self.commits)
        age(self.home)
        self.enough.wait(0.2)

    def _train(self) -> None:
        found = run_job(self.home.settings, f"a/run-{self.jobs}/train", JobSpec(step="steps:train"))
        assert found == {"steps": 10}
        self.jobs += 1


def age(home, *, everything: bool = False) -> None:
    """Half of the objects become old, while no commit is under way: what no version names may go from now on."""
    old = time.time() - 10 * GRACE
    for paths in list(home.objects().values())[:: 1 if everything else 2]:
        for path in paths:
            try:
                os.utime(path, (old, old))
            except FileNotFoundError:
                continue


@pytest.mark.timeout(3600)
@pytest.mark.matrix("kills", [50], sample=[2])
def test_a_killed_collection_harms_nothing(home, kills, monkeypatch, tmp_path, record_property):
    (tmp_path / "steps.py").write_text(STEP)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    home.commit(1)
    took, drawn, ended = collection(home, 600), random.Random(7), 0
    with Beside(home) as beside:
        for _ in range(kills):
            # Its first half only loads libraries.
            ended += collection(home, took * drawn.uniform(0.4, 1.1)) < took * 1.1
            home.verify()
        while beside.jobs < 1 or beside.commits < 2:
            time.sleep(0.1)
    assert beside.errors == []
    age(home, everything=True)
    collection(home, 600)
    assert home.verify() > 0
    assert set(home.objects()) == set(references(home.settings, InUse()))  # nothing else is left
    assert versions.list_versions(home.settings, "digits")[0].number == 1
    assert not list((home.settings.home / "trash").glob("*"))
    record_property("kills", f"{kills}, beside {beside.commits} commits and deletions and {beside.jobs} jobs")


def collection(home, seconds: float) -> float:
    """Run it, and kill it after so many seconds; how long it ran."""
    command = [sys.executable, "-m", "airloom", "gc", "--apply", "--older-than", "60s", "--grace", f"{GRACE}s"]
    places = {"AIRLOOM_HOME": str(home.settings.home), "AIRLOOM_PROJECT": str(home.settings.project)}
    began = time.monotonic()
    process = subprocess.Popen(
        command, env=os.environ | places, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        _, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return seconds
    assert process.returncode == 0, said.decode()[-2000:]
    return time.monotonic() - began
