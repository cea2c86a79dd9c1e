"""Training functions that go wrong, one that is left to chance, and a good one; jobs_training.py has them trained."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch  # noqa: TID253 - user code
from torch import nn  # noqa: TID253 - user code

from airloom.training import TrainingRun, fit


def good(run: TrainingRun) -> None:
    """A small network, as one would write it."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    fit(run, model, loss=nn.functional.cross_entropy, optimizer=optimizer)
    run.save_model(model)


def chance(run: TrainingRun) -> None:
    """Draws from the clock from the third epoch on, so no two trainings are equal."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images, labels = run.tensors("train")
    for epoch in run.epochs(5, model=model, optimizer=optimizer):
        loss = nn.functional.cross_entropy(model(images), labels)
        run.report(epoch, loss=loss)
        if epoch == 2:
            loss = loss * (1 + time.time() % 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    run.save_model(model)


def raises(run: TrainingRun) -> None:
    raise ValueError("the learning rate is a teapot")


def nan(run: TrainingRun) -> None:
    run.report(0, loss=1.0)
    run.report(1, loss=torch.tensor(0.0) / 0)


def memory(run: TrainingRun) -> None:
    kept = [os.urandom(2**20) for _ in range(20_000)]
    run.report(0, loss=len(kept))


def gigabyte(run: TrainingRun) -> None:
    line = "x" * (2**20 - 1)
    for _ in range(1024):
        print(line)
    good(run)


def deaf(run: TrainingRun) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf", flush=True)
    time.sleep(300)


def children(run: TrainingRun) -> None:
    for _ in range(20):
        subprocess.Popen([sys.executable, "-c", "import os, time; os.setsid(); time.sleep(300)"], env={})
    good(run)


def outside(run: TrainingRun) -> None:
    Path(__file__).with_name("stray.txt").write_text("out of place")
