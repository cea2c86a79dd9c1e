"""Rows that are deleted or corrected, versions that are named, deleted and compacted."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from airloom.datasets import edit, race, tag_delete, versions
from airloom.datasets.commit import commit
from airloom.datasets.compact import compact
from airloom.datasets.ingest import from_table
from airloom.datasets.ingest.images import image_arrays, image_table
from airloom.datasets.read import read
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage import repository
from airloom.datasets.storage.rows import VersionRows
from airloom.datasets.storage.schema import Layout
from airloom.datasets.storage.store import Store
from airloom.errors import ConfigError, DataError, NothingChanged, ValidationFailed

LAYOUT = Layout("image", label="label")
SPLIT = {"train": 0.5, "test": 0.5}


def rows(table):
    return from_table(table, LAYOUT)


def without(table, *gone):
    return table.take([row for row in range(table.num_rows) if row not in gone])


def test_deleted_rows_are_gone_and_the_older_version_keeps_them(settings, batch):
    first = commit(settings, "digits", batch(0), message="one")
    second = commit(settings, "digits", batch(1), message="two")
    third = edit.delete_rows(settings, second, [1, 7, 11], message="blurred", author="Ada")
    whole = pa.concat_tables([batch(0), batch(1)])
    assert read(settings, third).equals(without(whole, 1, 7, 11))
    assert read(settings, second).equals(whole)
    assert read(settings, first).equals(batch(0))
    manifest = versions.manifest_of(settings, third)
    assert manifest.changed == {"added": 0, "deleted": 3}
    assert [shard.dead_rows for shard in manifest.shards] == [1, 2]
    labels = read(settings, third).column("label").to_pylist()
    counted = {}
    for shard in manifest.shards:
        for value, count in shard.statistics["label"]["counts"].items():
            counted[value] = counted.get(value, 0) + count
    assert counted == {str(v): labels.count(v) for v in set(labels)}


def test_the_id_is_that_of_the_same_rows_committed_at_once(settings, batch, tmp_path):
    commit(settings, "digits", batch(0), message="one")
    made = edit.delete_rows(settings, versions.latest(settings, "digits"), [0], message="m")
    other = replace(settings, home=tmp_path / "other")
    assert commit(other, "digits", without(batch(0), 0), message="at once").id == made.id


def test_a_corrected_row_stands_at_the_end_and_keeps_its_split(settings, batch):
    first = commit(settings, "digits", batch(0, 40), message="one")
    before = snapshot.open_snapshot(settings, snapshot.prepare(settings, first, SPLIT))
    train = before.table("train")
    images, labels = image_arrays(train.slice(0, 1))
    corrected = image_table(images * 0.5, labels)
    number = read(settings, first).column("image").to_pylist().index(train.column("image")[0].as_py())
    second = edit.fix_rows(settings, first, [number], rows(corrected), message="exposure")
    assert read(settings, second).equals(pa.concat_tables([without(batch(0, 40), number), corrected]))
    after = snapshot.open_snapshot(settings, snapshot.prepare(settings, second, SPLIT))
    assert after.table("train").equals(pa.concat_tables([train.slice(1), corrected]))
    assert after.table("test").equals(before.table("test"))


def test_one_fixed_row_costs_few_bytes(settings, batch):
    first = commit(settings, "digits", batch(0, 3000), message="one")
    before = sum(path.stat().st_size for path in settings.dvc_remote_folder.rglob("*") if path.is_file())
    edit.fix_rows(settings, first, [1234], rows(batch(9, 1)), message="fix")
    after = sum(path.stat().st_size for path in settings.dvc_remote_folder.rglob("*") if path.is_file())
    assert after - before < 64 * 1024 + 64 * 4


def test_rows_that_changed_meanwhile_are_refused_by_name(settings, batch):
    first = commit(settings, "digits", batch(0), message="one")
    edit.delete_rows(settings, first, [2], message="m")
    with pytest.raises(
        DataError, match=r"row 2 of digits@v1: changed or deleted meanwhile, digits@v2 does not have it"
    ):
        edit.delete_rows(settings, first, [1, 2], message="m")
    assert edit.delete_rows(settings, first, [1, 3], message="the others may go").rows == 3


def test_of_equal_rows_the_one_that_was_named_goes(settings, batch):
    twice = pa.concat_tables([batch(0, 2), batch(0, 2)])
    first = commit(settings, "digits", twice, message="one")
    assert read(settings, edit.delete_rows(settings, first, [2], message="m")).equals(without(twice, 2))
    compact(settings, "digits")
    second = versions.latest(settings, "digits")
    assert edit.delete_rows(settings, second, [0, 2], message="m").rows == 1


def test_a_correction_is_validated_and_must_fit(settings, batch):
    first = commit(settings, "digits", batch(0), message="one")
    images, _ = image_arrays(batch(1, 1))
    with pytest.raises(ValidationFailed, match="99"):
        edit.fix_rows(settings, first, [0], rows(image_table(images, np.array([99]))), message="m")
    with pytest.raises(DataError, match="2 rows were given for 1"):
        edit.fix_rows(settings, first, [0], rows(batch(1, 2)), message="m")
    with pytest.raises(DataError, match="delete the dataset instead"):
        edit.delete_rows(settings, first, range(6), message="m")
    for wrong in ([6], [-1], [0, 0], []):
        with pytest.raises(ConfigError):
            edit.delete_rows(settings, first, wrong, message="m")
    assert versions.latest(settings, "digits") == first


def test_a_correction_that_changes_nothing_makes_no_version(settings, batch):
    first = commit(settings, "digits", batch(0), message="one")
    with pytest.raises(NothingChanged, match="exactly these rows"):
        edit.fix_rows(settings, first, [5], rows(batch(0).slice(5)), message="the same")
    assert versions.latest(settings, "digits") == first


def test_a_row_is_committed_into_the_split_of_its_twin(settings, batch):
    first = commit(settings, "digits", batch(0), message="one")
    fixed = edit.fix_rows(settings, first, [0], rows(batch(5, 1)), message="fix")
    second = commit(settings, "digits", pa.concat_tables([batch(6, 1), batch(5, 1)]), message="twin")
    before, after = (VersionRows(Store(settings), versions.manifest_of(settings, v)).all() for v in (fixed, second))
    assert after.anchor[-1].tobytes() == before.anchor[-1].tobytes() != after.input[-1].tobytes()


def test_compaction_keeps_number_id_order_and_splits(settings, batch, small_shards):
    for seed in range(8):
        commit(settings, "digits", batch(seed), message=str(seed), tags=[f"seed={seed}"])
    last = edit.delete_rows(settings, versions.latest(settings, "digits"), [3, 20, 21], message="m")
    last = edit.fix_rows(settings, last, [5], rows(batch(9, 1)), message="m")
    table = read(settings, last)
    asked = {"since": 2, "tags": ["seed=4"]}
    before = snapshot.open_snapshot(settings, snapshot.prepare(settings, last, SPLIT, **asked)).table("train")
    old = versions.manifest_of(settings, last)
    same, manifest = compact(settings, "digits")
    assert same == last
    assert len(manifest.shards) < len(old.shards)
    assert manifest.revision == 1 and not any(shard.dead for shard in manifest.shards)
    assert read(settings, last).equals(table)
    assert (
        VersionRows(Store(settings), old).all().anchor.tobytes()
        == VersionRows(Store(settings), manifest).all().anchor.tobytes()
    )
    again = replace(settings, home=settings.home)
    for folder in (settings.home / "snapshots").iterdir():
        (folder / "snapshot.json").unlink()
    snapshot._opened.cache_clear()
    assert snapshot.open_snapshot(again, snapshot.prepare(again, last, SPLIT, **asked)).table("train").equals(before)
    assert [v.number for v in versions.list_versions(settings, "digits")] == list(range(1, 11))
    with pytest.raises(NothingChanged):
        compact(settings, "digits")
    assert commit(settings, "digits", batch(30), message="goes on").number == 11


def test_a_snapshot_of_before_a_compaction_reads_on(settings, batch):
    for seed in range(3):
        last = commit(settings, "digits", batch(seed), message="m")
    made = snapshot.prepare(settings, last, SPLIT)
    before = snapshot.open_snapshot(settings, made).table("test")
    compact(settings, "digits")
    snapshot._opened.cache_clear()
    assert snapshot.open_snapshot(settings, made).table("test").equals(before)


def test_a_version_has_a_name_of_its_own(settings, batch):
    first = commit(settings, "digits", batch(0), message="one")
    second = commit(settings, "digits", batch(1), message="two")
    assert tag_delete.tag(settings, first, "golden") == "digits@golden"
    assert versions.find(settings, "digits@golden") == first
    assert tag_delete.tag(settings, first, "golden") == "digits@golden"
    with pytest.raises(ConfigError, match="--move"):
        tag_delete.tag(settings, second, "golden")
    tag_delete.tag(settings, second, "golden", move=True)
    assert versions.find(settings, "digits@golden") == second
    with pytest.raises(DataError, match="tags of digits: digits@golden"):
        versions.find(settings, "digits@silver")
    for bad in ("v3", "a b", "../x", "", "-x", "x" * 65):
        with pytest.raises(ConfigError):
            tag_delete.tag(settings, first, bad)


def test_a_deleted_version_is_hidden_and_its_number_never_comes_again(settings, batch):
    commit(settings, "digits", batch(0), message="one")
    second = commit(settings, "digits", batch(1), message="two")
    with pytest.raises(ConfigError, match="reason"):
        tag_delete.delete(settings, "digits@v2", reason=" ")
    tag_delete.delete(settings, "digits@v2", reason="wrong camera", author="Ada")
    assert versions.latest(settings, "digits").number == 1
    with pytest.raises(DataError, match=r"Ada deleted digits@v2 on .*: wrong camera"):
        versions.get(settings, "digits", 2)
    with pytest.raises(DataError):
        snapshot.prepare(settings, versions.get(settings, "digits", 2), SPLIT)
    third = commit(settings, "digits", batch(2), message="three")
    assert (third.number, third.rows, third.parent) == (3, 12, versions.get(settings, "digits", 1).id)
    assert read(settings, third).equals(pa.concat_tables([batch(0), batch(2)]))
    assert Store(settings).path(versions.manifest_of(settings, second).shards[1].md5).exists()
    tag_delete.delete(settings, "digits", reason="all of it")
    assert versions.list_datasets(settings) == []
    with pytest.raises(DataError, match=r"no dataset digits"):
        versions.latest(settings, "digits")
    assert commit(settings, "digits", batch(0), message="anew").number == 4


def test_a_commit_follows_on_the_newest_version_that_was_deleted_and_a_compaction(settings, batch):
    for seed in range(3):
        commit(settings, "digits", batch(seed), message="m")
    tag_delete.delete(settings, "digits@v3", reason="wrong")
    same, _ = compact(settings, "digits")
    assert same.number == 2
    assert commit(settings, "digits", batch(3), message="m").number == 4
    tag_delete.delete(settings, "digits@v4", reason="wrong")
    tag_delete.delete(settings, "digits@v2", reason="wrong")
    last = edit.delete_rows(settings, versions.latest(settings, "digits"), [0], message="m")
    assert (last.number, last.rows) == (5, 5)


def test_a_number_that_was_given_is_not_given_again_wherever_main_stands(settings, batch):
    first = commit(settings, "digits", batch(0), message="m")
    for seed in (1, 2):
        commit(settings, "digits", batch(seed), message="m")
    repository.git(settings.data_repo, "update-ref", "refs/heads/main", first.commit)
    assert commit(settings, "digits", batch(3), message="m").number == 4


def test_a_tag_that_somebody_set_meanwhile_is_passed_over(settings, batch, monkeypatch):
    first, publish = commit(settings, "digits", batch(0), message="m"), repository.publish

    def late(*arguments):
        repository.git(settings.data_repo, "update-ref", "refs/tags/digits@v2", first.commit)
        return publish(*arguments)

    monkeypatch.setattr(repository, "publish", late)
    assert commit(settings, "digits", batch(1), message="m").number == 3


def test_nobody_is_a_loser_where_nobody_else_wrote(settings, batch, monkeypatch):
    commit(settings, "digits", batch(0), message="m")
    monkeypatch.setattr(race, "REFUSALS", 2)
    monkeypatch.setattr(race, "LOSSES", 5)

    def refuse(*_):
        raise repository.NotFirst("cannot lock ref 'refs/heads/main'")

    monkeypatch.setattr(repository, "publish", refuse)
    with pytest.raises(DataError, match=r"was not changed: git refuses the push 2 times.*nobody else wrote.*lock ref"):
        commit(settings, "digits", batch(1), message="m")
    with pytest.raises(DataError, match=r"digits@v1 was not deleted: git refuses"):
        tag_delete.delete(settings, "digits@v1", reason="r")


def test_a_snapshot_of_rows_that_were_deleted_and_came_again_is_of_the_new_version(settings, batch):
    commit(settings, "digits", batch(0), message="m")
    second = commit(settings, "digits", batch(1, 40), message="m")
    before = snapshot.prepare(settings, second, SPLIT)
    tag_delete.delete(settings, "digits@v2", reason="too early")
    third = commit(settings, "digits", batch(1, 40), message="m")
    made = snapshot.prepare(settings, third, SPLIT)
    assert (made.id, made.version, made.commit) == (before.id, 3, third.commit)
    assert sum(snapshot.open_snapshot(settings, made).table(name).num_rows for name in SPLIT) == 46
