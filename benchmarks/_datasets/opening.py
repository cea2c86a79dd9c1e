"""The start of a training: to the first batch, and to where an interrupted run stood."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from airloom.contracts import Snapshot
from airloom.datasets.ingest import from_arrays
from airloom.datasets.snapshots.snapshot import open_anew
from airloom.datasets.storage.schema import Layout
from airloom.settings import Settings
from benchmarks._datasets.data import CLASSES, Sizes
from benchmarks._datasets.home import whole
from benchmarks._datasets.ours import BATCH

FIRST = """
import sys, time
import torch
from airloom.datasets.snapshots import data, snapshot
from airloom.settings import load
began = time.perf_counter()
settings = load()
loader = snapshot.open_snapshot(settings, snapshot.fetch(settings, sys.argv[1])).loader("train", 256)
next(batches := iter(loader))
print((time.perf_counter() - began) * 1000)
batches.close()
"""


@dataclass
class Opening:
    """Milliseconds, one a round; `process_ms` is a whole new process with its imports, `state` what is saved."""

    first_ms: list[float] = field(default_factory=list)
    process_ms: list[float] = field(default_factory=list)
    seek_ms: list[float] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def state_bytes(self) -> int:
        """As JSON."""
        return len(json.dumps(self.state).encode())


def measure(settings: Settings, images: Snapshot, sizes: Sizes) -> Opening:
    """The images' first batch in new processes, their files in the page cache; a resume amid a million rows."""
    found = Opening()
    million = _million(settings, sizes.million)
    interrupted = open_anew(settings, million).loader("train", BATCH)
    batches = iter(interrupted)
    for _ in range(len(interrupted) // 2):
        next(batches)
    found.state = interrupted.state_dict()
    _, expected = next(batches)
    batches.close()
    for _ in range(sizes.rounds):
        _first(settings, images, found)
        found.seek_ms.append(_resume(settings, million, found.state, expected))
    return found


def _first(settings: Settings, images: Snapshot, found: Opening) -> None:
    environment = os.environ | {"AIRLOOM_HOME": str(settings.home), "AIRLOOM_PROJECT": str(settings.project)}
    began = time.perf_counter()
    command = [sys.executable, "-c", FIRST, images.id]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found.process_ms.append((time.perf_counter() - began) * 1000)
    found.first_ms.append(float(done.stdout))


def _resume(settings: Settings, snapshot: Snapshot, state: dict[str, Any], expected: Any) -> float:
    """From a loader that has read nothing yet to the first batch that was missing."""
    data = open_anew(settings, snapshot)
    began = time.perf_counter()
    loader = data.loader("train", BATCH)
    loader.load_state_dict(state)
    batches = iter(loader)
    _, labels = next(batches)
    took = (time.perf_counter() - began) * 1000
    batches.close()  # type: ignore[attr-defined]
    assert labels.equal(expected), "a resume must go on with the very batch that was next"
    return took


def _million(settings: Settings, rows: int) -> Snapshot:
    numbers = np.arange(rows, dtype=np.int64)
    arrays = {"number": numbers, "label": numbers % CLASSES}
    return whole(settings, "million", from_arrays(arrays, Layout("generic", "label")))
