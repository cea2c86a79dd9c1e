"""A generated history: commits of every kind, snapshots with filters, runs, model versions, aliases, counters.

Each row of the dataset has the number of the commit that brought it in its column `batch`, so that what the lineage
says can be compared with the rows themselves.
"""

import contextlib
import json
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from airloom.contracts import DatasetVersion, Snapshot
from airloom.datasets import versions
from airloom.datasets.commit import commit
from airloom.datasets.compact import compact
from airloom.datasets.edit import delete_rows, fix_rows
from airloom.datasets.ingest import from_table
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage.schema import Layout
from airloom.datasets.tag_delete import delete
from airloom.errors import NothingChanged
from airloom.monitoring import counts, prediction_id
from airloom.settings import Settings
from airloom.tracking import runs as mlflow_runs

SUITE = {"name": "s", "expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "label"}}]}
SPLIT = {"train": 0.6, "validation": 0.15, "test": 0.25}


@dataclass
class World:
    """What was made, beside the stores themselves."""

    settings: Settings
    chance: random.Random
    versions: list[DatasetVersion] = field(default_factory=list)
    tags: dict[int, list[str]] = field(default_factory=dict)  # of the commits
    snapshots: list[Snapshot] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    models: list[tuple[str, str]] = field(default_factory=list)
    predictions: list[str] = field(default_factory=list)
    made: int = 0

    def rows(self, number: int, count: int) -> "from_table":  # type: ignore[valid-type]
        self.made += count
        values = {"x": [float(self.made - n) for n in range(count)], "batch": [number] * count}
        return from_table(pa.table(values | {"label": [n % 3 for n in range(count)]}), Layout("tabular", "label"))


def build(settings: Settings, seed: int, folder: Path, commits: int = 9, runs: int = 24) -> World:
    """Make it; the same seed makes the same one."""
    world = World(settings, random.Random(seed))
    suite = folder / "suite.json"
    suite.write_text(json.dumps(SUITE))
    for number in range(1, commits + 1):
        _commit(world, number, suite)
    _snapshots(world)
    for number in range(runs):
        _run(world, number)
    shutil.rmtree(settings.home / "snapshots" / world.snapshots[0].id)  # one that only the runs know
    _count(world)
    delete(settings, world.versions[2].name, reason="a test")
    return world


def _commit(world: World, number: int, suite: Path) -> None:
    settings, chance = world.settings, world.chance
    kind = "append" if number < 3 else chance.choice(["append", "append", "delete", "fix", "replace"])
    tags = sorted(chance.sample(["left", "right", "night"], chance.randint(0, 2)))
    head = world.versions[-1] if world.versions else None
    some = sorted(chance.sample(range(head.rows), 5)) if head else []
    told = {"message": f"{kind} {number}", "author": "Ada"}
    if kind == "delete":
        made = delete_rows(settings, head, some, **told)  # type: ignore[arg-type]
        tags = []
    elif kind == "fix":
        made = fix_rows(settings, head, some, world.rows(number, 5), suite=suite, **told)  # type: ignore[arg-type]
        tags = []
    else:
        mode = "replace" if kind == "replace" else "append"
        made = commit(settings, "flights", world.rows(number, 40), mode=mode, tags=tags, suite=suite, **told)  # type: ignore[arg-type]
    world.versions.append(made)
    world.tags[number] = tags
    if chance.random() < 0.4:
        with contextlib.suppress(NothingChanged):
            compact(settings, "flights")


def _snapshots(world: World) -> None:
    for version in world.versions:
        filters = [{}] + [{"since": world.chance.randrange(version.number)}] * (version.number > 1)
        filters += [{"tags": [world.chance.choice(["left", "!left", "night", "!right"])]}]
        for asked in filters:
            try:
                world.snapshots.append(snapshot.prepare(world.settings, version, SPLIT, **asked))
            except Exception as error:
                assert "has no rows" in str(error)


def _run(world: World, number: int) -> None:
    settings, chance = world.settings, world.chance
    client, read = mlflow_runs.client(settings), chance.choice(world.snapshots)
    name = chance.choice(["flights", "delays"])
    key = f"{name}/manual__{number}"
    tags = {"airloom.dataset": read.version_name, "airloom.dataset.commit": read.commit, "airloom.snapshot": read.id}
    experiment, parent = mlflow_runs.ensure_parent(settings, name, key, tags)
    own = {"mlflow.parentRunId": parent, "airloom.key": f"{key}/train/0", "airloom.kind": "train"}
    own |= {"airloom.snapshot.record": json.dumps(read.to_dict())}
    own |= {"airloom.snapshot": read.id, "airloom.dataset": read.version_name} if chance.random() < 0.5 else {}
    training = client.create_run(experiment, tags=own, run_name="train-0").info.run_id
    client.log_param(training, "lr", number)
    trial = {"mlflow.parentRunId": parent, "airloom.key": f"{key}/trial/0", "airloom.kind": "trial"}
    world.runs += [parent, training, client.create_run(experiment, tags=trial, run_name="trial-0").info.run_id]
    world.keys.append(key)
    if chance.random() < 0.2:
        client.delete_run(world.runs[-1])
    if chance.random() < 0.6:
        _register(world, name, key, parent, training, read)


def _register(world: World, name: str, key: str, parent: str, training: str, read: Snapshot) -> None:
    client = mlflow_runs.client(world.settings)
    if name not in {model for model, _ in world.models}:
        client.create_registered_model(name)
    tags = {"airloom.state": "ready", "airloom.snapshot": read.id, "airloom.dataset": read.version_name}
    tags |= {"airloom.dataset.id": read.version_id, "airloom.dataset.commit": read.commit, "airloom.run": parent}
    tags |= {"airloom.train_run": training, "airloom.pipeline_run": key, "airloom.code.sha256": f"c0de{len(key)}"}
    made = client.create_model_version(name, f"runs:/{training}/model", training, tags=tags)
    world.models.append((name, str(made.version)))
    for alias in ("champion", "previous", "shadow"):
        if world.chance.random() < 0.3:
            client.set_registered_model_alias(name, alias, made.version)
    world.predictions.append(prediction_id.new(name, str(made.version)))


def _count(world: World) -> None:
    """Two server processes, one of which writes twice; and a version that the registry does not know."""
    at = {"first": 1.0, "last": 2.0}
    for writer in ("one", "two", "one"):
        totals = {which: {"total": 100 + place, **at} for place, which in enumerate(world.models)}
        counts.write(world.settings.database_address, writer, totals, 5)
    counts.write(world.settings.database_address, "two", {("gone", "1"): {"total": 7, **at}}, 5)


def known(world: World) -> list[DatasetVersion]:
    """Every version, the deleted one too."""
    return [version for version, _ in versions.history(world.settings, "flights")]
