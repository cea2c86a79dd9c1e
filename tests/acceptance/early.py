"""Pipelines with one mistake each, in `data/early`; and what is told of numbers without a study.

python tests/acceptance/early.py files | agree | space
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from airloom.agreement import disagreement
from airloom.errors import ConfigError
from airloom.spec.load import load_pipeline

FOLDER = Path("data/early")
BASE: dict[str, Any] = {
    "dataset": {"name": "digits"},
    "resources": {"time": "2m"},
    "tune": {"trials": 2, "objective": {"metric": "score"}, "space": {"x": {"float": [0, 1]}}},
    "gate": {"at_least": {"accuracy": 0.5}, "against_champion": {"non_inferior_by": 0.1}},
}
MODEL = """
import torch

class Two(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1), x

def two(run):
    run.report(0, score=1.0)
    run.save_model(Two())

def at(run):
    run.report(0, score=1.0, **{"hit@1": 0.5})

def raises(run):
    run.report(0, score=1.0)
    torch.zeros(2, 3) @ torch.zeros(2, 3)
"""


def write(name: str, **changes: Any) -> Path:
    """The pipeline of one mistake."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "model.py").write_text(MODEL)
    path = FOLDER / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**BASE, "pipeline": name, "train": f"data/early/model.py:{name}", **changes}))
    return path


def files() -> None:
    """The pipelines whose mistakes a rehearsal tells."""
    for name in ("two", "at", "raises"):
        print(write(name))


def agree() -> None:
    """What counts as the same answer."""
    prices = np.array([[512_345.6]], np.float32)
    print("half a million, one step off:", disagreement(prices, np.nextafter(prices, np.float32(0))) or "the same")
    before, now = np.array([[1.0, 1.001]], np.float32), np.array([[1.002, 1.001]], np.float32)
    problem = disagreement(before, now, rtol=0.1)
    print("another class:", problem.message if problem else "the same")


def space() -> None:
    """What a file says of numbers."""
    path = write("numbers")
    path.write_text(path.read_text() + "parameters: {rate: 1e-3}\n")
    rate = load_pipeline(path).parameters["rate"]
    print(f"rate {rate} is a {type(rate).__name__}")
    for dimension in ({"choice": [1, True, 1.0]}, {"float": [0, float("inf")]}):
        try:
            load_pipeline(write("numbers", tune=BASE["tune"] | {"space": {"x": dimension}}))
        except ConfigError as error:
            print(error)


if __name__ == "__main__":
    {"files": files, "agree": agree, "space": space}[sys.argv[1]]()
