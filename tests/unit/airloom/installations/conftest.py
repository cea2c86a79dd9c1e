"""Production and development: two homes over one MLflow server and one repository of data."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from airloom.contracts import Decision, Evaluation
from airloom.settings import Settings
from airloom.tracking.tags import Tag

SUITE = "configs/expectations/digits.json"


@pytest.fixture(autouse=True)
def _no_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "AIRLOOM_NAMESPACE", "AIRLOOM_DATABASE"):
        monkeypatch.setenv(name, "")


@pytest.fixture(scope="module")
def mlflow_server(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow that several installations use."""
    folder = tmp_path_factory.mktemp("mlflow")
    shutil.copy(migrated, folder / "mlflow.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder / "a"),
    ]
    own = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # as the stack's: nine processes less
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, env=own)
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + 120
    while time.monotonic() < until:
        try:
            if httpx.get(f"{url}/health", trust_env=False).is_success:
                break
        except httpx.TransportError:
            time.sleep(0.2)  # until a server that starts listens; there is no event to await
    yield url
    process.terminate()
    process.wait(30)


@pytest.fixture(scope="session")
def make_installation(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Settings]:
    """A new state folder with a project; a name where one is given."""

    def make(namespace: str = "", **values: Any) -> Settings:
        folder = tmp_path_factory.mktemp(namespace or "nameless")
        (folder / "project").mkdir()
        settings = Settings(home=folder / "home", project=folder / "project", namespace=namespace, **values)
        settings.make_home()
        return settings

    return make


@dataclass
class Both:
    """Two worlds, each with a pipeline `digits`."""

    production: Any
    development: Any

    def register(self, world: Any, key: str, wrong: tuple[int, ...] = (), **said: Any) -> Any:
        """As a pipeline does: with what the training read on its run; `said` differs from that."""
        from airloom.registry.register import register
        from airloom.tracking import runs

        ctx, client = world.ctx(key), runs.client(world.settings)
        trained, read = world.train(ctx, wrong), world.snapshot.with_(**said)
        tags = {Tag.SNAPSHOT_RECORD: json.dumps(read.to_dict()), Tag.SNAPSHOT: read.id, Tag.DATASET: read.version_name}
        for tag, value in (tags | {Tag.PARAMETERS: json.dumps({"width": 8}), Tag.SEED: "7"}).items():
            client.set_tag(trained.mlflow_run, tag, value)
        client.log_text(trained.mlflow_run, "torch==2.0\n", "environment/requirements.txt")
        client.log_metric(trained.mlflow_run, "loss", 0.5, step=1)
        evaluation = Evaluation({"accuracy": 1.0}, "", {}, "evaluation/predictions.parquet", 10)
        passed = Decision(True, ["passed: accuracy 1.0000, at least 0.5"], "gate/evidence.json", None)
        return register(world.settings, ctx, trained, evaluation, passed)


@pytest.fixture(scope="module")
def both(
    mlflow_server: str,
    make_installation: Callable[..., Settings],
    make_world: Callable[[Settings, str], Any],
    request: pytest.FixtureRequest,
) -> Both:
    from airloom.datasets.commit import commit
    from airloom.datasets.ingest.images import image_table
    from airloom.datasets.snapshots import snapshot

    production = make_installation("production", tracking_uri=mlflow_server)
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, 400)
    images = generator.uniform(0, 0.5, (400, 64)).astype(np.float32)
    images[np.arange(400), labels] = 1
    table = image_table(images.reshape(-1, 1, 8, 8), labels)
    version = commit(production, "digits", table, message="all", suite=request.config.rootpath / SUITE)
    shared = {"data_remote": str(production.data_repo), "dvc_remote": str(production.dvc_remote_folder)}
    development = make_installation("development", tracking_uri=mlflow_server, **shared)
    worlds = [make_world(settings, "digits") for settings in (production, development)]
    for world in worlds:
        split = {str(name): share for name, share in world.pipeline.dataset.split.items()}
        world.snapshot = snapshot.prepare(world.settings, version, split)
    trust(production, development)
    return Both(*worlds)


def trust(here: Settings, there: Settings) -> None:
    """As people do: the public key that one installation shows is trusted by the other."""
    from airloom.registry import keys

    signing, shown = keys.signing_key(there), here.home / "their.pem"
    shown.write_text(keys.public_pem(keys.trusted(there)[signing.id]))
    keys.trust(here, shown, there.installation)
