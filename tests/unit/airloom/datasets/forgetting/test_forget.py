"""Forgotten rows are nowhere: walked by hand, not by what the code believes of itself."""

import json

import pyarrow as pa
import pytest
from forgetting.world import KEY, LAYOUT, NOTE, VALUES, World, git, leftovers, people

from airloom.datasets import diff, edit, tag_delete, versions
from airloom.datasets.commit import commit
from airloom.datasets.compact import compact
from airloom.datasets.export import export_named
from airloom.datasets.ingest import from_table
from airloom.datasets.read import read
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage.index import Index
from airloom.datasets.storage.rows import content_id
from airloom.datasets.storage.store import Store
from airloom.errors import ConfigError, DataError, Redacted, ValidationFailed
from airloom.retention.forget import forget, plan

SPLIT = {"train": 0.5, "test": 0.5}


def test_a_forgotten_row_is_in_no_file_and_no_object_of_git(settings, tmp_path):
    world = World(settings, tmp_path / "suite.json")  # with Great Expectations, whose report shows values
    world.put("ada", KEY, "bob")
    digests = world.digests()
    world.put("cid")
    world.put("dan", "eve")
    before = versions.list_versions(settings, "people")
    assert leftovers(settings.home, settings.data_repo)

    answer = forget(settings, "people", [KEY], reason="asked to be forgotten", author="Ada")

    assert answer.done and answer.rows == 1 and answer.version == "people@v4" and answer.left == []
    assert answer.versions == {"people@v1": 1, "people@v2": 1, "people@v3": 1}
    assert leftovers(settings.home, settings.data_repo, [*VALUES, *digests]) == []
    after = versions.list_versions(settings, "people")
    assert [(v.name, v.id, v.rows) for v in after[:3]] == [(v.name, v.id, v.rows) for v in before]
    assert [v.state for v in after] == ["REDACTED"] * 3 + ["READY"]
    assert world.names(4) == ["ada", "bob", "cid", "dan", "eve"]
    assert world.names(2, allow_redacted=True) == ["ada", "bob", "cid"]
    assert git(settings.data_repo, "fsck", "--strict") == b""


def test_what_others_pull_has_the_other_rows_only(world, stranger):
    world.put("ada", KEY, "bob")
    world.put("cid")
    edit.delete_rows(world.settings, versions.latest(world.settings, "people"), [0], message="m")
    forget(world.settings, "people", [KEY], reason="r")
    stranger.clone(world.settings)
    stranger.dvc("pull", "-q")
    stranger.dvc("get", world.settings.data_repo, "people/shards", "--rev", "people@v1", "-o", "old")
    for folder, names in (
        (stranger.folder / "people" / "shards", {"ada", "bob", "cid"}),
        (stranger.folder / "old", {"ada", "bob"}),
    ):
        tables = [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in folder.iterdir()]
        assert {name for table in tables for name in table.column("who").to_pylist()} == names
    assert leftovers(stranger.folder, stranger.folder) == []


def test_a_row_that_was_removed_before_goes_from_its_shards_and_the_version_stays_what_it_is(world):
    world.put("ada", KEY, "bob")
    without = edit.delete_rows(world.settings, versions.latest(world.settings, "people"), [1], message="m")
    before = snapshot.prepare(world.settings, without, SPLIT)
    rows = {name: snapshot.open_anew(world.settings, before).table(name) for name in SPLIT}
    answer = forget(world.settings, "people", [KEY], reason="r")
    assert answer.version == "" and answer.versions == {"people@v1": 1}
    assert leftovers(world.settings.home, world.settings.data_repo) == []
    newest = versions.latest(world.settings, "people")
    manifest = versions.manifest_of(world.settings, newest)
    assert (newest.name, newest.id, newest.state) == ("people@v2", without.id, "READY")
    assert content_id(Store(world.settings), manifest) == newest.id and manifest.shards[0].dead_rows == 0
    again = snapshot.prepare(world.settings, newest, SPLIT)
    assert again == before.with_(commit=newest.commit)
    assert {name: snapshot.open_anew(world.settings, before).table(name) for name in SPLIT} == rows


def test_compacted_and_deleted_versions_and_a_row_that_came_twice_are_searched_too(world, small_shards):
    world.put(*(f"p{n}" for n in range(40)), KEY)
    compacted = world.put("cid", KEY, "dan")
    edit.delete_rows(world.settings, compacted, [0], message="m")
    compact(world.settings, "people")
    tag_delete.delete(world.settings, "people@v2", reason="r")
    tag_delete.tag(world.settings, versions.get(world.settings, "people", 1), "golden")
    answer = forget(world.settings, "people", [KEY, "p7"], reason="r")
    assert answer.rows == 3 - 1 and answer.versions == {"people@v1": 2, "people@v2": 3, "people@v3": 3}
    assert leftovers(world.settings.home, world.settings.data_repo) == []
    assert versions.find(world.settings, "people@golden").name == "people@v1"
    assert len(world.names(4)) == 40 - 2 + 2 and len(world.names(1, allow_redacted=True)) == 39
    world.put("fay")
    assert world.names(5)[-1] == "fay"


def test_of_two_datasets_with_one_shard_object_the_other_keeps_it(world):
    world.put("ada", KEY)
    world.put("ada", KEY, dataset="others")
    forget(world.settings, "people", [KEY], reason="r")
    other = versions.latest(world.settings, "others")
    assert other.state == "READY" and KEY in read(world.settings, other).column("who").to_pylist()
    assert world.names(2) == ["ada"]
    forget(world.settings, "others", [KEY], reason="r")
    assert leftovers(world.settings.home, world.settings.data_repo) == []


def test_an_unknown_key_a_reason_with_the_key_and_a_dry_run_change_nothing(world):
    world.put("ada", KEY)
    refs, files = world.refs(), sorted(world.settings.home.rglob("*"))
    with pytest.raises(DataError, match="no version of people has a row with the key 'nobody'"):
        forget(world.settings, "people", [KEY, "nobody"], reason="r")
    with pytest.raises(ConfigError, match="the reason names a key"):
        forget(world.settings, "people", [KEY], reason=f"{KEY} asked for it")
    with pytest.raises(DataError, match="there is no dataset nothing"):
        forget(world.settings, "nothing", [KEY], reason="r")
    planned = plan(world.settings, "people", [KEY])
    assert (planned.rows, planned.version, planned.done) == (1, "people@v2", False)
    assert world.refs() == refs and set(sorted(world.settings.home.rglob("*"))) - set(files) <= {
        world.settings.home / "data" / "forget.lock",
    }


def test_readers_of_a_redacted_version_refuse_and_say_what_to_do(world, tmp_path):
    first = world.put("ada", KEY, "bob", "cid")
    old = snapshot.prepare(world.settings, first, SPLIT)
    world.put("dan")
    forget(world.settings, "people", [KEY], reason="asked to", author="Eve")
    version, newest = (versions.get(world.settings, "people", number) for number in (1, 3))
    readers = [
        lambda: read(world.settings, version),
        lambda: read(world.settings, first),  # looked up before
        lambda: export_named(world.settings, "people@v1", tmp_path / "x.parquet", "parquet"),
        lambda: diff.diff(world.settings, version, newest),
        lambda: diff.row_changes(world.settings, version, newest),
        lambda: snapshot.prepare(world.settings, version, SPLIT),
        lambda: snapshot.open_anew(world.settings, old),
        lambda: edit.delete_rows(world.settings, version, [2], message="by a number that it has no more"),
    ]
    for reader in readers:
        with pytest.raises(Redacted, match=r"people@v1 is REDACTED: 1 of its 4 rows .*Eve on .*asked to") as refused:
            reader()
        assert "--allow-redacted" in refused.value.hint
    left = snapshot.prepare(world.settings, version, SPLIT, allow_redacted=True)
    assert left.id != old.id and sum(left.rows.values()) == 3
    assert snapshot.open_anew(world.settings, left).table("train").num_rows == left.rows["train"]
    _, rows = export_named(world.settings, "people@v1", tmp_path / "x.parquet", "parquet", allow_redacted=True)
    assert rows == 3 and diff.diff(world.settings, version, newest, allow_redacted=True).rows["added"] == 1
    assert edit.rows_with_keys(world.settings, newest, ["ada"]) == [0]
    # A second forgetting: what was left then is another.
    forget(world.settings, "people", ["bob"], reason="asked to as well")
    with pytest.raises(Redacted, match="2 of its 4 rows"):
        snapshot.open_anew(world.settings, left)


def test_a_version_of_that_row_alone_is_empty_and_the_newest_is_never(world):
    world.put(KEY)
    with pytest.raises(DataError, match="nothing of people@v1 would be left"):
        forget(world.settings, "people", [KEY], reason="r")
    world.put("ada")
    forget(world.settings, "people", [KEY], reason="r")
    assert world.names(1, allow_redacted=True) == [] and world.names(3) == ["ada"]
    with pytest.raises(DataError, match="nothing of people@v3 would be left"):
        forget(world.settings, "people", ["ada"], reason="r")
    tag_delete.delete(world.settings, "people", reason="all of it")
    forget(world.settings, "people", ["ada"], reason="r")
    assert leftovers(world.settings.home, world.settings.data_repo, [b"of ada"]) == []
    assert world.put("bob").number == 4


def test_no_index_keeps_a_digest_of_the_key_and_rows_stay_in_their_split(world):
    first = world.put("ada", KEY, "bob")
    fixed = edit.fix_rows(world.settings, first, [1], from_table(people("mistyped"), LAYOUT), message="m")
    before = snapshot.prepare(world.settings, fixed, SPLIT).rows
    manifest = versions.manifest_of(world.settings, first)
    anchor = Index.open(Store(world.settings).path(manifest.shards[0].index)).anchor[1].tobytes()
    assert leftovers(world.settings.home, world.settings.data_repo, [anchor])
    forget(world.settings, "people", [KEY], reason="r")
    assert leftovers(world.settings.home, world.settings.data_repo, [*VALUES, anchor]) == []
    newest = versions.latest(world.settings, "people")
    assert newest.id == fixed.id and snapshot.prepare(world.settings, newest, SPLIT).rows == before


def test_batches_that_made_no_version_and_reports_go_or_are_named(settings, tmp_path):
    world = World(settings, tmp_path / "suite.json")
    world.put("ada", "bob", KEY)
    strict = tmp_path / "strict.json"
    low = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "amount", "max_value": 0}}
    strict.write_text(json.dumps({"name": "s", "expectations": [low]}))
    with pytest.raises(ValidationFailed):
        commit(settings, "people", from_table(people("cid", KEY), LAYOUT), message="m", suite=strict)
    log = settings.home / "jobs" / "some" / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text(f"found {KEY} in row 1\n")
    answer = forget(settings, "people", [KEY], reason="r")
    assert ("log", "jobs/some/log.txt") in {(place.eraser, place.name) for place in answer.places if not place.erased}
    log.unlink()
    erased = {place.eraser for place in answer.places if place.erased}
    assert {"report", "quarantine"} <= erased
    named = [place for place in answer.places if place.eraser == "report" and not place.erased]
    assert len(named) == 1 and "1 reports of batches that made no version" in named[0].note
    for path in (settings.home / named[0].name).iterdir():
        if NOTE in path.read_text() or "8675309" in path.read_text():
            path.unlink()  # as the answer says
    assert leftovers(settings.home, settings.data_repo) == []
    assert "erased" in (settings.home / versions.get(settings, "people", 1).report).read_text()
