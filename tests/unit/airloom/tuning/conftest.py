"""A real project, a real SQLite MLflow store and small real arrays."""

from pathlib import Path

import numpy as np
import pytest

from airloom.contracts import RunContext, Snapshot
from airloom.metadata import tracking
from airloom.pipeline.spec import Pipeline
from airloom.settings import Settings
from airloom.training import TensorSource

MODEL = """
import os, signal
import torch
from airloom.training import fit

class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, width), torch.nn.ReLU(),
                                          torch.nn.Linear(width, 10))
    def forward(self, x):
        return self.layers(x)

def train(run):
    model = Net(run.params["width"])
    optimizer = torch.optim.SGD(model.parameters(), lr=run.params["lr"])
    fit(run, model, loss=torch.nn.functional.cross_entropy, optimizer=optimizer)
    run.save_model(model)

def raises(run):
    raise ValueError("no such layer")

def silent(run):
    run.report(0, loss=1.0)

def constant(run):
    run.report(0, validation_accuracy=0.5)
"""


@pytest.fixture
def settings(tmp_path: Path, make_home, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")  # client() writes them; this puts the old state back
    made = make_home(tmp_path)
    (made.project / "model.py").write_text(MODEL)
    return made


@pytest.fixture
def pipeline() -> Pipeline:
    return make_pipeline()


def make_pipeline(train: str = "model.py:train", trials: int = 5, workers: int = 2, lr: float = 0.1) -> Pipeline:
    return Pipeline.model_validate(
        {
            "pipeline": "small",
            "dataset": {"name": "small"},
            "train": train,
            "parameters": {"epochs": 3, "batch_size": 32, "lr": lr},
            "tune": {
                "trials": trials,
                "workers": workers,
                "epochs": 2,
                "objective": {"metric": "validation_accuracy"},
                "space": {"width": {"int": [4, 16], "step": 4}},
            },
            "gate": {"at_least": {"accuracy": 0.5}, "against_champion": {"metric": "accuracy", "non_inferior_by": 0.1}},
        }
    )


@pytest.fixture
def make():
    return make_pipeline


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    rows = {"train": 128, "validation": 64}

    def read(split: str):
        labels = generator.integers(0, 10, rows[split])
        images = generator.normal(0, 0.1, (rows[split], 1, 8, 8)) + labels[:, None, None, None] / 10
        return images.astype(np.float32), labels.astype(np.int64)

    return TensorSource({split: read(split) for split in rows})


@pytest.fixture
def ctx(settings: Settings) -> RunContext:
    experiment, run = tracking.ensure_parent(settings, "small", "small/manual__1", {"who": "test"})
    snapshot = Snapshot("s", "small", 1, "v", "c", {"train": 0.6, "validation": 0.15, "test": 0.25}, {})
    return RunContext("small", "unused.yaml", "small/manual__1", run, experiment, snapshot)
