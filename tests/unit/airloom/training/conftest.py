"""A real project, a real SQLite MLflow store, small real arrays, and trainings in processes that are killed."""

import functools
import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from airloom.contracts import RunContext, Snapshot
from airloom.settings import Settings
from airloom.spec.pipeline import Pipeline
from airloom.tracking import runs as mlflow_runs
from airloom.training import TensorSource, TrainingRun
from airloom.training.execute import execute

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
    experiment, run = mlflow_runs.ensure_parent(settings, "small", "small/manual__1", {"who": "test"})
    snapshot = Snapshot("s", "small", 1, "v", "c", {"train": 0.6, "validation": 0.15, "test": 0.25}, {})
    return RunContext("small", {}, "small/manual__1", run, experiment, snapshot)


PIPELINE = {
    "pipeline": "small",
    "dataset": {"name": "small"},
    "tune": {"trials": 1, "objective": {"metric": "validation_accuracy"}, "space": {"width": {"int": [4, 16]}}},
    "gate": {"at_least": {"accuracy": 0.5}, "against_champion": {"metric": "accuracy", "non_inferior_by": 0.1}},
}


@pytest.fixture(scope="package")
def trainee():
    """The process that forks trainings; one for all tests, as it takes seconds to import."""
    command = [sys.executable, str(Path(__file__).with_name("trainee.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Trainee(process)
        process.stdin.close()


class Trainee:
    """It answers a request at a time."""

    def __init__(self, process):
        self._process = process

    def ask(self, request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class Training:
    """One training, attempt by attempt."""

    def __init__(self, trainee, settings, folder, function, ranks=1, pause=0.005, epochs=6):
        folder.mkdir()
        shutil.copy(Path(__file__).with_name("functions.py"), settings.project / "model.py")
        self.trainee, self.settings, self.folder, self.ranks = trainee, settings, folder, ranks
        parameters = {"folder": str(folder), "pause": pause, "epochs": epochs}
        values = PIPELINE | {"train": f"model.py:{function}", "parameters": parameters}
        key = f"small/{folder.name}"
        experiment, run = mlflow_runs.ensure_parent(settings, "small", key, {})
        snapshot = Snapshot("s", "small", 1, "v", "c", {"train": 0.6, "validation": 0.15, "test": 0.25}, {})
        self.pipeline = Pipeline.model_validate(values)
        self.ctx = RunContext("small", values, key, run, experiment, snapshot)
        self.request = {
            "home": str(settings.home),
            "project": str(settings.project),
            "ctx": self.ctx.to_dict(),
            "pipeline": values,
            "out": str(folder),
            "state": str(folder / "state"),
        }

    def attempt(self, at=None, sign=signal.SIGKILL, **more):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        (self.folder / "batches").write_bytes(b"")
        request = self.request | {"ranks": self.ranks, "port": port, "at": at, "signal": int(sign)} | more
        return self.trainee.ask(request)

    def text(self, name):
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def complete(self):
        self.attempt()
        assert "RuntimeError: enough" in self.text("error-0.txt"), self.text("log.txt")[-3000:]
        return self.text("digest")

    def steps(self, metric="train_loss"):
        api = mlflow_runs.client(self.settings)
        runs = api.search_runs([self.ctx.experiment], f"tags.mlflow.parentRunId = '{self.ctx.mlflow_run}'")
        assert len(runs) == 1
        return sorted(point.step for point in api.get_metric_history(runs[0].info.run_id, metric))


@pytest.fixture(scope="package")
def make_training(trainee):
    return functools.partial(Training, trainee)


class Recorder:
    """A sink in memory."""

    def __init__(self):
        self.reports, self.model = {}, None

    def report(self, step, metrics):
        self.reports.setdefault(step, {}).update(metrics)

    def sync(self):
        pass

    def save(self, model, example):
        self.model = model


@pytest.fixture
def start(data, tmp_path):
    """Call a training function, as an attempt does; one after another go on from the same state."""

    def start(function, source=data, state=tmp_path / "state", **options):
        sink = Recorder()
        run = TrainingRun({}, 1, source, sink, "cpu", state=state, **options)
        sink.run = run
        try:
            execute(function, run, "f")
        finally:
            start.last = sink
        return sink

    return start
