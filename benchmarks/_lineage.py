"""A grown installation, and how long a question about its lineage takes: for benchmarks/metadata.py."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from airloom.contracts import DatasetVersion, Snapshot
from airloom.datasets.commit import commit
from airloom.datasets.ingest.images import image_table
from airloom.datasets.snapshots import snapshot
from airloom.monitoring import prediction_id
from airloom.settings import Settings
from airloom.tracking import runs as mlflow_runs
from airloom_serving.counter import PredictionCounter
from airloom_serving.logged_rows import Answered
from airloom_serving.prediction_log import FILE_ROWS, PredictionLog

PROJECT = Path(__file__).resolve().parent.parent
RUNS, TRIALS = 10_000, 18  # a pipeline run has a parent, a training and so many trials
PREDICTIONS, REQUEST = 1_000_000, 100  # rows; of one request
VERSIONS = 20  # of the dataset
MODELS = 4
TIMES = 15
SPLIT = {"train": 0.6, "validation": 0.15, "test": 0.25}
METRICS = ("train_loss", "validation_loss", "validation_accuracy")
Known = list[tuple[str, str, Snapshot]]  # model, version, what it was trained on


def lineage(folder: Path, runs: int = RUNS, predictions: int = PREDICTIONS) -> dict[str, Any]:
    """Make the installation, ask, and compare each answer with what was made; milliseconds of each command."""
    settings = Settings(home=folder / "home", project=PROJECT, tracking_uri="", database="")
    snapshots = [snapshot.prepare(settings, version, SPLIT) for version in _dataset(settings)]
    began = time.perf_counter()
    known, standing = _runs(settings, snapshots, runs)
    made = {"runs_s": time.perf_counter() - began}
    began = time.perf_counter()
    some, counted = _predictions(settings, known, predictions)
    made["predictions_s"] = time.perf_counter() - began
    chance, trace_ms, impact_ms = random.Random(0), [], []  # noqa: S311 - a sample, no secret
    for number in range(TIMES):
        model, version, read, one = chance.choice(some)
        took, found = _asked(settings, "trace", one)
        trace_ms.append(took)
        assert (found["model"]["name"], found["model"]["version"]) == (model, version)
        assert found["logged"]["id"] == one and found["snapshot"] == read.id and len(found["commits"]) == read.version
        at = chance.choice(snapshots) if number else snapshots[0]  # the first commit is in every version
        took, found = _asked(settings, "impact", at.version_name if number % 2 else at.commit)
        impact_ms.append(took)
        later = [read for read in snapshots if read.version >= at.version]
        assert {entry["id"] for entry in found["snapshots"]} == {read.id for read in later}
        assert len(found["runs"]) == sum(standing[read.id] for read in later)
        ids = {read.id for read in later}
        assert found["predictions"] == sum(counted[model, v] for model, v, read in known if read.id in ids)
    bytes_ = sum(file.stat().st_size for file in settings.prediction_log.rglob("*.parquet"))
    facts = {"runs": runs, "predictions": predictions, "model_versions": len(known), "log_mb": bytes_ / 1e6}
    return {"trace_ms": trace_ms, "impact_ms": impact_ms, **facts, **made}


def _dataset(settings: Settings) -> list[DatasetVersion]:
    generator, made = np.random.default_rng(0), []
    for number in range(1, VERSIONS + 1):
        labels = generator.integers(0, 10, 200)
        images = generator.uniform(0, 0.5, (200, 1, 8, 8)).astype(np.float32)
        images[np.arange(200), 0, 0, labels % 8] = 1
        made.append(commit(settings, "digits", image_table(images, labels), message=f"batch {number}", author="Ada"))
    return made


def _runs(settings: Settings, snapshots: list[Snapshot], runs: int) -> tuple[Known, dict[str, int]]:
    """Write them as pipelines do; the registered versions, and the number of runs on each snapshot."""
    client, known = mlflow_runs.client(settings), list[tuple[str, str, Snapshot]]()
    standing = dict.fromkeys((read.id for read in snapshots), 0)
    for model in range(MODELS):
        client.create_registered_model(f"m{model}")
    for number in range(runs // (TRIALS + 2)):
        read, name = snapshots[number % len(snapshots)], f"m{number % MODELS}"
        key = f"{name}/scheduled__{number}"
        tags = {
            "airloom.dataset": read.version_name,
            "airloom.dataset.commit": read.commit,
            "airloom.snapshot": read.id,
        }
        experiment, parent = mlflow_runs.ensure_parent(settings, name, key, tags)
        training = ""
        for child in range(TRIALS + 1):
            kind = "trial" if child else "train"
            own = {"mlflow.parentRunId": parent, "airloom.kind": kind, "airloom.key": f"{key}/{kind}/{child}"}
            own |= {} if child else tags | {"airloom.snapshot.record": json.dumps(read.to_dict()), "airloom.seed": "0"}
            run = client.create_run(experiment, tags=own, run_name=f"{kind}-{child}").info.run_id
            mlflow_runs.log_parameters(client, run, {"lr": 0.1 / (child + 1), "width": 16 * (child + 1), "epochs": 12})
            mlflow_runs.log_metrics(client, run, dict.fromkeys(METRICS, 0.5), 1)
            training = training or run
        standing[read.id] += TRIALS + 2
        if number % 2 == 0:
            known.append((name, _register(client, name, key, parent, training, tags, read), read))
    return known, standing


def _register(
    client: Any, name: str, key: str, parent: str, training: str, tags: dict[str, str], read: Snapshot
) -> str:
    own = {"airloom.state": "ready", "airloom.run": parent, "airloom.train_run": training, "airloom.pipeline_run": key}
    own |= {"airloom.dataset.id": read.version_id, "airloom.code.sha256": "c0de", "airloom.gate": "passed " * 50}
    own |= {"airloom.digests": json.dumps({f"file{n}": "0" * 64 for n in range(12)})}
    version = client.create_model_version(name, f"runs:/{training}/model", training, tags=tags | own).version
    client.set_registered_model_alias(name, "champion", version)
    return str(version)


def _predictions(settings: Settings, known: Known, rows: int) -> tuple[list[Any], dict[tuple[str, str], int]]:
    """Answer as the server does, by its own writer; some of the ids, and how many each version gave."""
    log, counter = PredictionLog(settings.prediction_log), PredictionCounter(settings.database_address)
    log.start()
    counter.start()
    some, counted = [], dict.fromkeys(((model, version) for model, version, _ in known), 0)
    for number in range(rows // REQUEST):
        model, version, read = known[number % len(known)]
        ids = [prediction_id.new(model, version) for _ in range(REQUEST)]
        while log.waiting > FILE_ROWS:  # a client that asks no quicker than the disk writes
            time.sleep(0.01)
        log.add(Answered(model, version, ids, [n % 10 for n in range(REQUEST)], 1.5, REQUEST))
        counter.add(model, version, REQUEST)
        counted[model, version] += REQUEST
        some += [(model, version, read, ids[number % REQUEST])] if number % 97 == 0 else []
    log.stop()
    counter.stop()
    assert log.dropped == 0
    return some, counted


def _asked(settings: Settings, *command: str) -> tuple[float, Any]:
    """Milliseconds of a new process, and its answer."""
    _forget(settings.home)
    mine = {"AIRLOOM_HOME": str(settings.home), "AIRLOOM_PROJECT": str(settings.project)}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRLOOM_", "MLFLOW_"))}
    began = time.perf_counter()
    line = [sys.executable, "-m", "airloom", *command, "--json"]
    done = subprocess.run(line, env=environment | mine, capture_output=True, text=True, check=False)
    took = (time.perf_counter() - began) * 1000
    assert done.returncode == 0, done.stderr
    return took, json.loads(done.stdout)


def _forget(home: Path) -> None:
    """Put the installation's files out of the machine's cache: databases, log, git."""
    os.sync()
    for path in home.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
