"""What the benchmark trains: a second of one thread's time, or the digits."""

import time
from typing import Any


def burn(seconds: float) -> float:
    """Keep one thread busy for so many seconds of its own time."""
    until, value = time.thread_time() + seconds, 0.0
    while time.thread_time() < until:
        for number in range(2000):
            value += number * 1e-9
    return value


def height(x: float, y: float) -> float:
    """What is searched: highest at (0.3, 0.6)."""
    return 1 - (x - 0.3) ** 2 - (y - 0.6) ** 2


def second(run: Any) -> None:
    """One trial: the work, then its one report."""
    burn(run.params["seconds"])
    run.report(0, score=height(run.params["x"], run.params["y"]))


def digits(run: Any) -> None:
    """A small network on the demo's dataset; some of its parameters are hopeless from the first epochs on."""
    import torch

    from airloom.training import fit

    torch.manual_seed(run.seed)
    layers = [torch.nn.Flatten(), torch.nn.Linear(64, run.params["width"]), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(run.params["width"], 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=run.params["lr"], momentum=run.params["momentum"])
    fit(run, model, loss=torch.nn.functional.cross_entropy, optimizer=optimizer)
