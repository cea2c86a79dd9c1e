"""What else holds forgotten rows is named, and what named their versions is still understood."""

import subprocess
import sys
from dataclasses import replace

import pytest
from forgetting.world import KEY, World, leftovers

from airloom.cli import main
from airloom.contracts import DatasetVersion
from airloom.datasets import edit, tag_delete, versions
from airloom.datasets.snapshots import snapshot
from airloom.errors import Redacted
from airloom.lineage.impact import impact
from airloom.lineage.impact import render as impact_text
from airloom.lineage.trace import render as trace_text
from airloom.lineage.trace import trace
from airloom.lineage.why import why
from airloom.retention.collect import collect, rules_of
from airloom.retention.dataset_objects import references
from airloom.retention.forget import forget, plan, render
from airloom.retention.in_use import InUse
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tracking.tags import Tag

SPLIT = {"train": 0.5, "test": 0.5}


def test_models_and_evidence_are_named_and_lineage_says_redacted(make_home, make_world, tmp_path, unvalidated):
    world = World(make_home(tmp_path), tmp_path / "suite.json")
    settings = world.settings
    old = world.put("ada", KEY, "bob", "cid")
    mlflow = replace(make_world(settings, "late"), snapshot=snapshot.prepare(settings, old, SPLIT))
    made = mlflow.register("first")
    client = runs.client(settings)
    for tag, value in ((Tag.DATASET, old.name), (Tag.SNAPSHOT, mlflow.snapshot.id), (Tag.DATASET_COMMIT, old.commit)):
        client.set_tag(made.mlflow_run, tag, value)
    client.set_registered_model_alias("late", "champion", "1")
    without = world.put("dan")
    replace(mlflow, snapshot=snapshot.prepare(settings, without, SPLIT)).register("second")

    for planned in (plan(settings, "people", [KEY]), forget(settings, "people", [KEY], reason="r")):
        places = {(place.eraser, place.name): place for place in planned.places}
        assert (
            "trained on people@v1 @champion" in places["model", "late/1"].note and not places["model", "late/1"].erased
        )
        assert ("model", "late/2") in places and ("evidence", f"run {made.mlflow_run}") in places
        assert "model late/1: trained on people@v1" in render(planned)

    lineage = trace(settings, "late/1")
    assert (lineage.missing, lineage.dataset.redacted, lineage.dataset.commit) == ("", 1, old.commit)
    assert "people@v1" in trace_text(lineage) and "REDACTED: 1 of its rows were forgotten" in trace_text(lineage)
    for target in (old.commit, old.commit[:9], "people@v1"):
        affected = impact(settings, target)
        assert (affected.versions[0].name, affected.versions[0].redacted) == ("people@v1", 1)
        assert [(m.name, m.version) for m in affected.models] == [("late", "1"), ("late", "2")]
        assert "(REDACTED: 1 forgotten)" in impact_text(affected)
    with pytest.raises(Redacted, match="people@v1 is REDACTED"):
        snapshot.check_whole(settings, mlflow.snapshot)
    assert leftovers(settings.home / "data", settings.data_repo) == []
    tag_delete.delete(settings, "people@v1", reason="r")
    in_use = InUse(commits={("people", old.commit): "late/1 is the champion"})
    assert "late/1 is the champion" in references(settings, in_use).values()


def test_two_homes_share_a_remote_and_the_other_one_follows(tmp_path, unvalidated):
    remote, store = tmp_path / "remote.git", tmp_path / "store"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", remote], check=True)
    homes = [
        World(Settings(home=tmp_path / name, data_remote=str(remote), dvc_remote=str(store)), tmp_path / "s.json")
        for name in ("one", "two")
    ]
    one, two = homes
    first = one.put("ada", KEY, "bob")
    two.put("cid")
    there = snapshot.prepare(two.settings, versions.get(two.settings, "people", 2), SPLIT)
    assert snapshot.open_anew(two.settings, there).table("train").num_rows == there.rows["train"]

    answer = forget(one.settings, "people", [KEY], reason="r")

    assert {place.name for place in answer.places if place.eraser == "other"} >= {
        str(remote),
        "other homes of this remote",
    }
    assert leftovers(one.settings.home, one.settings.data_repo) == []
    assert not any(KEY.encode() in path.read_bytes() for path in store.rglob("*") if path.is_file())
    # The other home stands on the old history, and loses once.
    assert two.put("dan").name == "people@v4" and two.names(4) == ["ada", "bob", "cid", "dan"]
    with pytest.raises(Redacted, match="people@v2"):
        snapshot.open_anew(two.settings, there)
    assert isinstance(first, DatasetVersion) and leftovers(two.settings.home, two.settings.data_repo)
    rules = replace(rules_of("1s", "1s"), now=9e9)
    collect(two.settings, rules, print)
    subprocess.run(["git", "-C", remote, "gc", "-q", "--prune=now"], check=True)
    (two.settings.home / "snapshots" / there.id / "snapshot.json").unlink()
    assert leftovers(two.settings.home, two.settings.data_repo) == leftovers(store, remote) == []
    assert two.names(4) == ["ada", "bob", "cid", "dan"]


def test_the_command_plans_asks_and_forgets(world, monkeypatch, capsys):
    world.put("ada", KEY)
    monkeypatch.setenv("AIRLOOM_HOME", str(world.settings.home))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(world.settings.project))

    def airloom(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["airloom", "dataset", *words])
        with pytest.raises(SystemExit) as ended:
            main.main()
        out = capsys.readouterr()
        return int(ended.value.code or 0), out.out, out.err

    code, out, _ = airloom("forget", "people", "--key", KEY, "--dry-run")
    assert code == 0 and "1 row would be forgotten" in out and "people@v1 (1)" in out
    code, _, err = airloom("forget", "people", "--key", KEY, "--reason", "asked")
    assert code == 1 and "say --yes" in err
    code, _, err = airloom("forget", "people", "--key", KEY, "--yes")
    assert code == 1 and "a forgetting needs a reason" in err
    keys = world.suite.with_name("keys.txt")
    keys.write_text(f"{KEY}\n")
    code, out, err = airloom("forget", "people", "--keys-file", str(keys), "--reason", "asked", "--yes", "--json")
    assert code == 0 and '"version": "people@v2"' in out and "git's unreachable objects go" in err
    assert "REDACTED (1 forgotten)" in airloom("log", "people")[1]
    assert '"state": "REDACTED"' in airloom("log", "people", "--json")[1]
    shown = airloom("show", "people@v1")[1]
    assert "REDACTED" in shown and "asked" in shown
    assert "it is REDACTED: 1 of its 2 rows were forgotten" in airloom("verify", "people@v1")[1]
    code, _, err = airloom("export", "people@v1", str(world.suite.with_name("x.parquet")))
    assert code == 1 and "--allow-redacted" in err
    code, out, _ = airloom("export", "people@v1", str(world.suite.with_name("x.parquet")), "--allow-redacted")
    assert code == 0 and "1 rows" in out
    code, _, err = airloom("forget", "people", "--key", KEY, "--reason", "asked", "--yes")
    assert code == 1 and "no version of people has a row with the key" in err


def test_what_two_trainings_differ_in_is_unknown_where_one_is_redacted(make_home, make_world, tmp_path, unvalidated):
    import json

    world = World(make_home(tmp_path), tmp_path / "suite.json")
    old, new = world.put("ada", KEY, "bob", "cid"), world.put("dan")
    mlflow = make_world(world.settings, "late")
    for key, version in (("one", old), ("two", new)):
        read = snapshot.prepare(world.settings, version, SPLIT)
        made = replace(mlflow, snapshot=read).register(key)
        client = runs.client(world.settings)
        training = client.get_model_version("late", made.version).run_id
        client.set_tag(training, Tag.SNAPSHOT_RECORD, json.dumps(read.to_dict()))
    forget(world.settings, "people", [KEY], reason="r")
    assert "people@v1 is REDACTED" in why(world.settings, "late/1", "late/2").data.unknown


def test_another_homes_snapshot_of_a_version_whose_shards_were_cut_reads_the_same_rows(tmp_path, unvalidated):
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", remote], check=True)
    places = {"data_remote": str(remote), "dvc_remote": str(tmp_path / "store")}
    one, two = (World(Settings(home=tmp_path / name, **places), tmp_path / "s.json") for name in ("one", "two"))
    one.put(KEY, "ada", "bob", "cid", "dan", "eve")
    without = edit.delete_rows(one.settings, versions.latest(one.settings, "people"), [0], message="m")
    asked = snapshot.prepare(two.settings, versions.get(two.settings, "people", 2), SPLIT)
    before = {name: snapshot.open_anew(two.settings, asked).table(name) for name in SPLIT}
    forget(one.settings, "people", [KEY], reason="r")
    assert versions.latest(two.settings, "people").id == without.id  # which fetches
    collect(
        two.settings, replace(rules_of("1s", "1s"), now=9e9), print
    )  # as long as it has the old commit, it reads that
    assert {name: snapshot.open_anew(two.settings, asked).table(name) for name in SPLIT} == before
