"""Random questions to trace and impact, each compared with a walk over the rows, the runs and the registry."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from lineage.world import World, build, known

from airloom.datasets import read as reading
from airloom.datasets.storage.git import git
from airloom.datasets.storage.manifest import VersionManifest
from airloom.lineage import ledger_sql
from airloom.lineage.impact import impact
from airloom.lineage.ledger_client import ClientLedger
from airloom.lineage.ledger_sql import SqlLedger
from airloom.lineage.trace import trace
from airloom.tracking import runs

QUESTIONS = 100


@pytest.fixture(scope="module")
def world(make_home, tmp_path_factory) -> World:
    folder = tmp_path_factory.mktemp("world")
    return build(make_home(folder), 7, folder)


class Walk:
    """Everything, looked up the slow way: rows from the shards, runs and versions from MLflow's client."""

    def __init__(self, world: World) -> None:
        self.world, self.ledger = world, ClientLedger(world.settings)
        self.batches = {
            version.name: Counter(reading.read(world.settings, version)["batch"].to_pylist())
            for version in known(world)
        }
        self.snapshots = {one.id: one for one in world.snapshots}
        self.runs = self.ledger._runs
        self.versions = {(v.name, str(v.version)): v.tags for v in self.ledger._versions}

    def taken(self, snapshot: str) -> Counter[int]:
        """Rows that a snapshot takes, by the commit that brought them."""
        read = self.snapshots[snapshot]
        wanted = [tag for tag in read.tags if not tag.startswith("!")]
        unwanted = [tag[1:] for tag in read.tags if tag.startswith("!")]
        tags = self.world.tags
        return Counter(
            {
                number: rows
                for number, rows in self.batches[read.version_name].items()
                if number > read.since and set(wanted) <= set(tags[number]) and not set(unwanted) & set(tags[number])
            }
        )

    def snapshot_of(self, run: str) -> str:
        tags = self.runs[run].tags
        return tags.get("airloom.snapshot") or self.runs[tags["mlflow.parentRunId"]].tags["airloom.snapshot"]

    def standing(self, snapshots: set[str]) -> dict[str, set]:
        """Runs, models and aliases on these snapshots."""
        models = {which for which, tags in self.versions.items() if tags["airloom.snapshot"] in snapshots}
        aliases = {
            f"{m}@{a}" for m, names in self.ledger.aliases().items() for a, n in names.items() if (m, n) in models
        }
        return {
            "runs": {r for r in self.runs if self.snapshot_of(r) in snapshots},
            "models": models,
            "aliases": aliases,
        }

    def stored(self) -> Iterator[tuple[str, VersionManifest]]:
        """The name of a version and each manifest that it has or had."""
        for commit in git(self.world.settings.data_repo, "rev-list", "--all").stdout.split():
            text = git(self.world.settings.data_repo, "show", f"{commit}:flights/manifest.json", check=False).stdout
            if text:
                manifest = VersionManifest.from_json(text)
                yield manifest.name, manifest


@pytest.fixture(scope="module")
def walk(world) -> Walk:
    return Walk(world)


def test_impact_of_random_versions_and_commits_is_what_the_rows_say(world, walk) -> None:
    chance, all_counts = random.Random(1), {}
    for place, which in enumerate(world.models):
        all_counts[which] = 2 * (100 + place)
    for _ in range(QUESTIONS // 4):
        version = chance.choice(world.versions)
        found = impact(world.settings, chance.choice([version.name, version.commit, version.commit[:12]]))
        number = version.number
        holding = {name: rows[number] for name, rows in walk.batches.items() if rows[number] or name == version.name}
        assert {one.name: one.rows for one in found.versions} == holding
        assert [one.name for one in found.versions if one.deleted] == [
            name for name in holding if name == world.versions[2].name
        ]
        snapshots = {
            identity: walk.taken(identity)[number]
            for identity, read in walk.snapshots.items()
            if walk.taken(identity)[number] or read.version == number
        }
        assert {one.id: one.rows for one in found.snapshots} == snapshots
        _agrees(found, walk.standing(set(snapshots)), all_counts)


def test_impact_of_random_shards_is_what_the_manifests_say(world, walk) -> None:
    chance = random.Random(2)
    stored = list(walk.stored())
    shards = sorted({shard.md5 for _, manifest in stored for shard in manifest.shards})
    for md5 in chance.choices(shards, k=QUESTIONS // 4):
        found = impact(world.settings, chance.choice([md5, md5[:14]]))
        parts = {
            name: Counter({span.version: span.rows for span in shard.live_spans()})
            for name, manifest in stored
            for shard in manifest.shards
            if shard.md5 == md5
        }
        assert {one.name for one in found.versions} == set(parts)
        snapshots = {
            identity
            for identity, read in walk.snapshots.items()
            if any(walk.taken(identity)[number] for number in parts.get(read.version_name, ()))
        }
        assert {one.id for one in found.snapshots} == snapshots
        expected = walk.standing(snapshots)
        assert {one.id for one in found.runs} == expected["runs"]
        assert set(found.aliases) == expected["aliases"]


def test_traces_of_random_predictions_models_and_runs_are_what_the_stores_say(world, walk) -> None:
    chance = random.Random(3)
    models = [f"{name}/{number}" for name, number in world.models]
    for _ in range(QUESTIONS // 2):
        target = chance.choice([*world.predictions, *models, *world.runs, *world.keys])
        found = trace(world.settings, target)
        if target in world.predictions or target in models:
            places = world.predictions if target in world.predictions else models
            which = world.models[places.index(target)]
            assert (found.model.name, found.model.version) == which
            snapshot = walk.versions[which]["airloom.snapshot"]
            assert found.run.train == walk.versions[which]["airloom.train_run"]
        else:
            run = (
                target
                if target in world.runs
                else next(r.id for r in walk.runs.values() if r.tags["airloom.key"] == target)
            )
            snapshot = walk.snapshot_of(run)
            assert run in (found.run.parent, found.run.train, found.run.id)
        read = walk.snapshots[snapshot]
        assert (found.snapshot, found.dataset.version) == (snapshot, read.version_name)
        rows = {entry.version: (entry.rows, entry.read) for entry in found.commits}
        held, taken = walk.batches[read.version_name], walk.taken(snapshot)
        if found.read is None:  # a trial does not say what of the snapshot it read
            taken = held
        assert {name: pair for name, pair in rows.items() if pair[0]} == {
            f"flights@v{number}": (count, taken[number]) for number, count in held.items()
        }
        assert found.missing == ""


def test_predictions_of_versions_that_are_gone_are_said(world) -> None:
    assert impact(world.settings, "flights@v1").unattributed == 7


@pytest.mark.parametrize(("most", "page"), [(500, 1000), (7, 3)], ids=["few", "more than a page"])
def test_the_tables_answer_as_the_client_does(world, monkeypatch, most: int, page: int) -> None:
    monkeypatch.setattr(ledger_sql, "MOST", most)
    monkeypatch.setattr(runs, "PAGE", page)
    sql, client = SqlLedger(world.settings.mlflow_tables), ClientLedger(world.settings)
    assert sql.numbers() == client.numbers() != []
    assert sql.aliases() == client.aliases()
    for model, number, _ in sql.numbers():
        assert sql.version(model, number) == client.version(model, number) is not None
    for run in world.runs:
        assert sql.run(run) == client.run(run) is not None
    assert sorted(map(str, sql.briefs(world.runs))) == sorted(map(str, client.briefs(world.runs)))
    for key in ("airloom.snapshot", "airloom.dataset", "mlflow.parentRunId", "nothing"):
        assert sql.tagged_runs(key) == client.tagged_runs(key)
        assert sql.tagged_versions(key) == client.tagged_versions(key)
    some = sorted(set(sql.tagged_runs("airloom.snapshot").values()))[:3]
    assert sql.tagged_runs("airloom.snapshot", some) == client.tagged_runs("airloom.snapshot", some) != {}
    assert sql.tagged_versions("airloom.snapshot", some) == client.tagged_versions("airloom.snapshot", some)
    assert sql.run("0" * 32) is None and client.run("0" * 32) is None
    assert sql.version("flights", "999") is None and client.version("flights", "999") is None


def test_without_the_tables_the_client_answers_the_same(world, monkeypatch) -> None:
    wanted = world.predictions[0]
    expected = trace(world.settings, wanted), impact(world.settings, "flights@v1")
    monkeypatch.setattr(SqlLedger, "fits", staticmethod(lambda _: False))
    assert (trace(world.settings, wanted), impact(world.settings, "flights@v1")) == expected


def _agrees(found, expected, all_counts) -> None:
    assert {one.id for one in found.runs} == expected["runs"]
    assert {(one.name, one.version) for one in found.models} == expected["models"]
    assert set(found.aliases) == expected["aliases"]
    assert found.predictions == sum(all_counts[which] for which in expected["models"])
