"""Leases: never two jobs on one device, all devices or none, in the order in which jobs were submitted."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from airloom.jobs import devices, processes, submit
from airloom.jobs.states import ENDED
from airloom.jobs.wait import value, wait

SUBMITTER = """
import random, sys
from airloom.jobs.spec import JobSpec, Resources
from airloom.jobs.submit import submit
from airloom.settings import load
me, count, path, seconds, seed = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4]), int(sys.argv[5])
random.seed(seed + me)
for n in range(count):
    wanted = random.choice([1, 1, 2, 3])
    spec = JobSpec(step="steps_for_test:device", arguments={"path": path, "seconds": random.uniform(0.2, 1) * seconds},
        resources=Resources(devices=wanted, time=120))
    submit(load(), f"{me}/{n}", spec)
"""


@pytest.fixture
def four(settings, monkeypatch):
    monkeypatch.setenv("AIRLOOM_DEVICES", "4")
    return replace(settings, devices=4)


def test_a_lease_names_its_devices_and_ends_with_the_job(four, job, tmp_path, until):
    arguments = {"path": str(tmp_path / "tmp" / "d"), "seconds": 0.1}
    attempt = wait(four, job("device", arguments, devices=2, at=four), seconds=200)
    assert value(attempt) == {"devices": ["pretended:0", "pretended:1"]}
    assert attempt.devices == "pretended:0,pretended:1"
    assert attempt.device_seconds > 0.1
    until(lambda: all(devices.holder(four.home, f"pretended:{n}") is None for n in range(4)))


def test_who_holds_a_device_is_known_while_it_runs(four, job, tmp_path, until, table):
    path = tmp_path / "tmp" / "d"
    attempt = job("device", {"path": str(path), "seconds": 30}, devices=1, at=four)
    until(path.exists)
    assert devices.holder(four.home, "pretended:0").key == "k"
    os.kill(table.get(attempt.id).pid, signal.SIGKILL)
    wait(four, attempt, seconds=200)
    until(lambda: devices.holder(four.home, "pretended:0") is None)


def test_more_devices_than_there_are_is_said_at_once(four, job):
    found = wait(four, job("device", {"path": "x", "seconds": 0}, devices=5, at=four), seconds=200)
    assert (found.state, found.reason.splitlines()[0]) == ("FAILED", "the job wants 5 devices, this machine has 4")


def test_no_small_job_overtakes_a_large_one_and_a_dead_one_in_line_is_passed_over(four, job, tmp_path, until, table):
    path = str(tmp_path / "tmp" / "d")
    first = job("device", {"path": path, "seconds": 3}, key="first", devices=3, at=four)
    until(lambda: table.get(first.id).state == "RUNNING")
    dead = job("device", {"path": path, "seconds": 0}, key="dead", devices=4, at=four)
    large = job("device", {"path": path, "seconds": 0.2}, key="large", devices=4, at=four)
    small = job("device", {"path": path, "seconds": 0.2}, key="small", devices=1, at=four)
    until(lambda: table.get(dead.id).owner)
    os.kill(table.get(dead.id).owner, signal.SIGKILL)
    assert table.get(small.id).state == "QUEUED"  # one device is free, but the large one is first
    ended = {attempt.key: wait(four, attempt, seconds=200) for attempt in (first, large, small)}
    assert [attempt.state for attempt in ended.values()] == ["SUCCEEDED"] * 3
    assert ended["first"].ended <= ended["large"].started <= ended["small"].started
    assert submit.settle(table, table.get(dead.id)).state == "LOST"


def test_a_queued_job_can_be_cancelled(four, job, tmp_path, until, table):
    path = str(tmp_path / "tmp" / "d")
    job("device", {"path": path, "seconds": 20}, key="first", devices=4, at=four)
    second = job("device", {"path": path, "seconds": 0}, key="second", devices=1, at=four)
    until(lambda: table.get(second.id).owner)
    assert submit.end(table, second, "changed my mind").reason == "changed my mind"


@pytest.mark.parametrize(("submitters", "each", "seconds"), [(3, 4, 0.6)])
def test_many_jobs_with_random_kills_never_share_a_device(four, tmp_path, table, submitters, each, seconds):
    """Each job writes (device, start, end, pid) from its own side; the kills are of jobs and of supervisors."""
    path, seed = tmp_path / "tmp" / "d", random.randrange(1000)
    print("seed", seed)
    words = [str(each), str(path), str(seconds), str(seed)]
    environment = os.environ | four.as_environment() | {"AIRLOOM_DEVICES": "4"}
    started = [
        subprocess.Popen([sys.executable, "-c", SUBMITTER, str(n), *words], env=environment) for n in range(submitters)
    ]
    random.seed(seed)
    killed, end = set(), time.monotonic() + 200
    while time.monotonic() < end:
        now = [submit.settle(table, attempt) for attempt in table.alive()]
        running = [a for a in now if a and a.state == "RUNNING" and a.pid and a.id not in killed]
        if running and random.random() < 0.05:
            victim = random.choice(running)
            killed.add(victim.id)
            with contextlib.suppress(ProcessLookupError):  # it ended since it was looked at
                os.kill(random.choice([victim.pid, victim.owner]), signal.SIGKILL)
        if all(process.poll() is not None for process in started) and not [a for a in now if a and a.alive]:
            break
        time.sleep(0.05)
    everything = table.recent()
    assert len(everything) == submitters * each
    assert {attempt.state for attempt in everything} <= set(ENDED)
    _no_overlap(path, {attempt.pid: attempt for attempt in everything})
    _all_or_none(path, everything)
    waited = sorted((a for a in everything if a.started), key=lambda attempt: attempt.started)
    assert [a.id for a in waited] == sorted(a.id for a in waited), "they did not start in queue order"


def _events(path):
    for line in path.read_text().splitlines():
        kind, device, at, pid = line.split()
        yield kind, device, float(at), int(pid)


def _no_overlap(path, by_pid):
    held: dict[str, list[tuple[float, float]]] = {}
    starts = {}
    for kind, device, at, pid in _events(path):
        if kind == "start":
            starts[device, pid] = at
        else:
            held.setdefault(device, []).append((starts.pop((device, pid)), at))
    for (device, pid), at in starts.items():  # killed: it held the device at most until its end on record
        held.setdefault(device, []).append((at, min(by_pid[pid].ended, at + 60)))
    for intervals in held.values():
        ordered = sorted(intervals)
        for (_, stop), (start, _) in pairwise(ordered):
            assert stop <= start + 0.5, ordered  # the end on record of a killed one may be later than its death


def _all_or_none(path, everything):
    seen: dict[int, set[str]] = {}
    for kind, device, _, pid in _events(path):
        if kind == "start":
            seen.setdefault(pid, set()).add(device)
    for attempt in everything:
        if attempt.pid in seen:
            assert len(seen[attempt.pid]) == attempt.wanted
            assert seen[attempt.pid] == set(attempt.devices.split(","))


def test_the_usage_of_this_process_is_measured():
    memory, cpu = processes.usage([os.getpid()])
    assert memory > 2**20
    assert cpu > 0
