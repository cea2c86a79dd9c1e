"""What `jobs.yaml` tries with devices: `jobs_devices.py ACTION`; four devices are declared."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from jobs import act, running, scratch, step, table_of, until

from airloom.jobs import control
from airloom.jobs.states import ENDED, RUNNING, Attempt
from airloom.jobs.submit import settle, submit
from airloom.jobs.table import Attempts
from airloom.jobs.wait import value, wait
from airloom.settings import Settings

SUBMITTERS, EACH = 10, 5


def holder(settings: Settings) -> None:
    """A job that holds two devices for long, and one that waits for three."""
    first = running(settings, submit(settings, "accept/holder", step("sleep", seconds=300, devices=2)))
    submit(settings, "accept/waits", step("look", devices=3))
    print(f"{first.key} has {first.devices}")


def freed(settings: Settings) -> None:
    """The holder is cancelled; the one that waits starts by itself."""
    control.cancel(settings, "accept/holder", "enough")
    ended = wait(settings, table_of(settings).of("accept/waits")[-1])
    print(f"{ended.key} {ended.state} with {ended.devices}, CUDA_VISIBLE_DEVICES {value(ended)['cuda']}")
    took = until(lambda: not [d for d in control.list_devices(settings) if d.key])
    print(f"all free {took:.1f} s later")


def too_many(settings: Settings) -> None:
    """More devices than there are."""
    ended = wait(settings, submit(settings, "accept/too-many", step("look", devices=5)))
    print(f"{ended.state} {' '.join(ended.reason.split())}")


def leases(settings: Settings) -> None:
    """50 jobs of 10 processes on 4 devices, with SIGKILLs of jobs and of supervisors at random moments."""
    path, table, seed = scratch(settings, "leases"), table_of(settings), random.randrange(1000)
    words = [sys.executable, __file__, "submit-some"]
    submitters = [subprocess.Popen([*words, str(number), str(path), str(seed)]) for number in range(SUBMITTERS)]
    killed, chance, end = dict[int, float](), random.Random(seed), time.monotonic() + 400
    while time.monotonic() < end:
        now = [settle(table, attempt) or attempt for attempt in _ours(table) if attempt.alive]
        there = [attempt for attempt in now if attempt.state == RUNNING and attempt.pid and attempt.id not in killed]
        if there and chance.random() < 0.04:
            victim = chance.choice(there)
            with contextlib.suppress(ProcessLookupError):  # it ended since it was looked at
                os.kill(chance.choice([victim.pid, victim.owner]), signal.SIGKILL)
                killed[victim.id] = time.time()
        if all(process.poll() is not None for process in submitters) and not [a for a in now if a.alive]:
            break
        time.sleep(0.05)
    _check(path, _ours(table), killed, seed)


def submit_some(settings: Settings) -> None:
    """One submitter of `leases`."""
    number, path, seed = sys.argv[2:]
    chance = random.Random(int(seed) + int(number))
    for job in range(EACH):
        wanted, seconds = chance.choice([1, 1, 2, 3]), chance.uniform(0.2, 1.2)
        submit(settings, f"lease/{number}/{job}", step("hold", path=path, seconds=seconds, devices=wanted))


def _ours(table: Attempts) -> list[Attempt]:
    return [attempt for attempt in table.recent() if attempt.key.startswith("lease/")]


def _check(path: Path, ours: list[Attempt], killed: dict[int, float], seed: int) -> None:
    assert len(ours) == SUBMITTERS * EACH
    assert all(attempt.state in ENDED for attempt in ours), [a for a in ours if a.alive]
    by_pid, held, devices = {a.pid: a for a in ours}, dict[str, list[tuple[float, float]]](), dict[int, set[str]]()
    for pid, device, start, stop in _spans(path):
        attempt = by_pid[pid]
        held.setdefault(device, []).append((start, stop or killed[attempt.id]))  # without an end: it was killed
        devices.setdefault(pid, set()).add(device)
    overlaps = [(a, b) for spans in held.values() for a, b in pairwise(sorted(spans)) if a[1] > b[0]]
    partial = [pid for pid, mine in devices.items() if mine != set(by_pid[pid].devices.split(","))]
    partial += [pid for pid, mine in devices.items() if len(mine) != by_pid[pid].wanted]
    order = [a.id for a in sorted((a for a in ours if a.started), key=lambda a: a.started)]
    assert not overlaps, (seed, overlaps)
    assert not partial, (seed, partial)
    assert order == sorted(order), (seed, order)
    states = [attempt.state for attempt in ours]
    counted = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    print(f"{len(ours)} jobs of {SUBMITTERS} processes, {len(killed)} killed: {counted}; {len(held)} devices used")
    print("no overlap, no partial lease, all ended, started in queue order")


def _spans(path: Path) -> Iterator[tuple[int, str, float, float | None]]:
    """(pid, device, start, end) as the jobs themselves wrote them down."""
    found: dict[tuple[int, str], list[float]] = {}
    for line in path.read_text().splitlines():
        _, device, at, pid = line.split()
        found.setdefault((int(pid), device), []).append(float(at))
    for (pid, device), times in found.items():
        yield pid, device, times[0], times[1] if len(times) > 1 else None


if __name__ == "__main__":
    os.environ["AIRLOOM_DEVICES"] = "4"
    act([holder, freed, too_many, leases, submit_some])
