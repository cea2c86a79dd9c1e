"""SIGKILL at seeded random moments, of real processes, through the whole final training with a real MLflow store."""

import json
import random
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from airloom.contracts import RunContext, Snapshot
from airloom.metadata import tracking
from airloom.pipeline.spec import Pipeline

PIPELINE = {
    "pipeline": "small",
    "dataset": {"name": "small"},
    "tune": {"trials": 1, "objective": {"metric": "validation_accuracy"}, "space": {"width": {"int": [4, 16]}}},
    "gate": {"at_least": {"accuracy": 0.5}, "against_champion": {"metric": "accuracy", "non_inferior_by": 0.1}},
}


@pytest.fixture(scope="module")
def trainee():
    """The process that forks trainings; one for all tests, as it takes seconds to import."""
    command = [sys.executable, str(Path(__file__).with_name("trainee.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()


class Training:
    """One training, attempt by attempt."""

    def __init__(self, trainee, settings, folder, function, ranks=1, pause=0.002):
        folder.mkdir()
        shutil.copy(Path(__file__).with_name("functions.py"), settings.project / "model.py")
        self.trainee, self.settings, self.folder, self.ranks = trainee, settings, folder, ranks
        values = PIPELINE | {"train": f"model.py:{function}", "parameters": {"folder": str(folder), "pause": pause}}
        key = f"small/{folder.name}"
        experiment, run = tracking.ensure_parent(settings, "small", key, {})
        snapshot = Snapshot("s", "small", 1, "v", "c", {"train": 0.6, "validation": 0.15, "test": 0.25}, {})
        self.pipeline = Pipeline.model_validate(values)
        self.ctx = RunContext("small", "unused.yaml", key, run, experiment, snapshot)
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
        request = self.request | {"ranks": self.ranks, "port": port, "at": at, "signal": int(sign)} | more
        self.trainee.stdin.write(json.dumps(request) + "\n")
        self.trainee.stdin.flush()
        return json.loads(self.trainee.stdout.readline())

    def text(self, name):
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def complete(self):
        self.attempt()
        assert "RuntimeError: enough" in self.text("error-0.txt"), self.text("log.txt")[-3000:]
        return self.text("digest")

    def steps(self, metric="train_loss"):
        api = tracking.client(self.settings)
        runs = api.search_runs([self.ctx.experiment], f"tags.mlflow.parentRunId = '{self.ctx.mlflow_run}'")
        assert len(runs) == 1
        return sorted(point.step for point in api.get_metric_history(runs[0].info.run_id, metric))


@pytest.fixture(scope="module")
def undisturbed(trainee, make_home, tmp_path_factory):
    """The digest of the weights without a kill, by function and ranks."""
    folder = tmp_path_factory.mktemp("undisturbed")
    settings = make_home(folder)
    found = {}

    def digest(function, ranks):
        if (function, ranks) not in found:
            name = folder / f"{function}-{ranks}"
            found[function, ranks] = Training(trainee, settings, name, function, ranks, pause=0).complete()
        return found[function, ranks]

    return digest


def kill_and_compare(training, expected, kills, seed, epochs):
    chance = random.Random(seed)  # noqa: S311 - a repeatable choice, no secret
    for _ in range(kills):
        victim = chance.randrange(training.ranks)
        ended = training.attempt(at=chance.randint(5, 60), more=chance.uniform(0, 0.02), victim=victim)
        assert ended["codes"][victim] == -signal.SIGKILL, training.text("log.txt")[-3000:]
        assert ended["seconds"] < 10
    assert training.complete() == expected
    assert training.steps() == list(range(epochs))
    began = [int(batch) for batch in training.text("began").split()]
    assert any(began[1:]), "no attempt went on inside an epoch"


@pytest.mark.parametrize(("function", "kills", "epochs"), [("with_fit", 5, 6), ("own_loop", 3, 4)])
def test_killed_trainings_end_with_the_same_bits(trainee, undisturbed, make_home, tmp_path, function, kills, epochs):
    training = Training(trainee, make_home(tmp_path), tmp_path / "killed", function)
    kill_and_compare(training, undisturbed(function, 1), kills, 7, epochs)


def test_two_ranks_end_with_the_same_bits(trainee, undisturbed, make_home, tmp_path):
    training = Training(trainee, make_home(tmp_path), tmp_path / "killed", "with_fit", ranks=2)
    kill_and_compare(training, undisturbed("with_fit", 2), 3, 11, 6)
