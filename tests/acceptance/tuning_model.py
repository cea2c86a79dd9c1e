"""Training functions for `tuning.yaml`: they cost little, so that what is tried is the tuning."""

import os
import signal
import time
from pathlib import Path
from typing import Any

STEPS = 8


def curve(run: Any) -> None:
    """Rises over its steps towards a height that depends on x and y; goes on from its checkpoint."""
    done = {"steps": 0}
    for step in run.steps(STEPS, done=done):
        time.sleep(run.params.get("sleep", 0.1))
        done["steps"] += 1
        height = 1 - (run.params["x"] - 0.3) ** 2 - (run.params["y"] - 0.6) ** 2
        run.report(step, score=height - 1 / (3 + step))


def two(run: Any) -> None:
    """More accurate is slower."""
    run.report(0, accuracy=run.params["x"], latency_ms=10 * run.params["x"] + run.params["y"])


def nan(run: Any) -> None:
    """Diverges."""
    run.report(0, score=float("nan"))


def nothing(run: Any) -> None:
    """Reports nothing."""


def other(run: Any) -> None:
    """Reports another metric."""
    run.report(0, loss=1.0)


def crashes(run: Any) -> None:
    """Every third trial ends its own process, once."""
    mark = Path(os.environ["AIRLOOM_HOME"]) / f"crashed-{run.params['x']:.6f}"
    if int(1e6 * run.params["x"]) % 3 == 0 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    run.report(0, score=run.params["x"])


def space(trial: Any) -> dict[str, float]:
    """A space in Python: as many x as there are layers."""
    layers = trial.suggest_int("layers", 1, 3)
    values = [trial.suggest_float(f"x{number}", 0, 1) for number in range(layers)]
    return {"layers": layers, "x": sum(values) / layers, "y": 0.6}
