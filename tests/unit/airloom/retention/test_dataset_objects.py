"""Which objects of datasets go, over real git and DVC."""

from dataclasses import replace

import pytest

from airloom.datasets import tag_delete, versions
from airloom.datasets.compact import compact
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage import repository
from airloom.datasets.storage.store import Store
from airloom.errors import AirloomError, ConfigError, CorruptFile, DataError
from airloom.retention import collect as collecting
from airloom.retention.dataset_objects import references
from airloom.retention.in_use import InUse


def test_objects_of_a_deleted_version_go_and_no_other(home):
    first = home.commit(1)
    before = set(home.objects())
    home.commit(2)
    tag_delete.delete(home.settings, "digits@v2", reason="wrong labels")
    assert not any(item.goes for item in home.plan("shard", days=0).values())  # young
    planned = home.plan("shard")
    names = {item.name.rpartition("md5/")[2].replace("/", "") for item in planned.values() if item.goes}
    assert names == set(home.objects()) - before
    assert {item.why for item in planned.values() if not item.goes} == {f"{first.name} has it"}
    home.collect()
    assert set(home.objects()) == before
    assert home.verify() == 2
    assert home.commit(3).number == 3  # the rows of v1 are read to append to them
    assert home.verify() > 2


def test_what_a_dead_commit_left_goes(home):
    home.commit(1)
    store = Store(home.settings)
    left, _ = store.write(lambda sink: sink.write(b"of a commit that died"))
    store.push({left: 21})
    assert len(home.objects()[left]) == 2
    home.collect(days=0)
    assert left in home.objects()
    home.collect()
    assert left not in home.objects()


def test_a_commit_takes_up_what_was_about_to_go(home):
    """Between the plan and the removal a commit names the object again."""
    home.commit(1)
    home.commit(2)
    tag_delete.delete(home.settings, "digits@v2", reason="a mistake")
    planned = [item for item in home.plan("shard").values() if item.goes]
    assert home.commit(2).number == 3
    refused = {item.take() for item in planned}
    assert "a commit under way has taken it up" in refused
    assert home.verify() == 6


def test_both_storages_of_a_compacted_version_stay(home):
    for seed in (1, 2, 3):
        home.commit(seed)
    version = versions.latest(home.settings, "digits")
    prepared = snapshot.prepare(home.settings, version, {"train": 0.5, "test": 0.5})
    before = set(home.objects())
    compact(home.settings, "digits")
    home.collect()
    assert before < set(home.objects())
    opened = snapshot.open_snapshot(home.settings, prepared)
    assert sum(len(opened.table(name)) for name in ("train", "test")) == 120
    assert home.verify() > 6


def test_a_deleted_version_stays_while_a_model_needs_it(home, make_world):
    from airloom.tracking import runs

    home.commit(1)
    second = home.commit(2)
    world = make_world(home.settings, "small")
    world.snapshot = snapshot.prepare(home.settings, second, {"train": 0.5, "test": 0.5})
    made = world.register("one")
    tag_delete.delete(home.settings, "digits@v2", reason="gone")
    whole = set(home.objects())
    assert {item.why for item in home.plan("shard", days=10).values()} >= {
        "small version 1 is younger than the retention"
    }
    runs.client(home.settings).set_registered_model_alias("small", "previous", made.version)
    home.collect()
    assert set(home.objects()) == whole
    assert "small version 1 is the previous" in {item.why for item in home.plan("shard").values()}
    runs.client(home.settings).delete_registered_model_alias("small", "previous")
    home.collect()
    assert set(home.objects()) < whole
    home.verify()


def test_a_shared_remote_is_left_alone(home):
    home.commit(1)
    left, _ = Store(home.settings).write(lambda sink: sink.write(b"x"))
    Store(home.settings).push({left: 1})
    shared = replace(home.settings, dvc_remote=str(home.settings.dvc_remote_folder))
    collecting.collect(shared, home.rules(60), print)
    assert [path.is_relative_to(home.settings.dvc_remote_folder) for path in home.objects()[left]] == [True]


def test_nothing_goes_where_the_repository_cannot_be_read(home):
    home.commit(1)
    version = home.commit(2)
    blob = repository.git(home.settings.data_repo, "rev-parse", f"{version.commit}:digits/manifest.json").stdout.strip()
    whole = set(home.objects())
    path = home.settings.data_repo / "objects" / blob[:2] / blob[2:]
    path.unlink()
    with pytest.raises(CorruptFile, match=version.commit[:12]):
        home.collect()
    with pytest.raises(AirloomError):
        references(home.settings, InUse())
    assert set(home.objects()) == whole


def test_two_collections_at_once_are_one(home):
    with collecting._alone(home.settings), pytest.raises(ConfigError, match="another collection"):
        home.collect()


def test_a_commit_that_outlasts_the_grace_of_a_collection_names_it(home, monkeypatch):
    """The collection takes what the commit has written, and no version names yet."""
    home.commit(1)
    push = Store.push

    def late(store, sizes):
        home.collect(days=2)  # by its clock the objects are older than its --grace of a day
        push(store, sizes)

    monkeypatch.setattr(Store, "push", late)
    with pytest.raises(DataError, match="objects that this commit wrote are gone") as caught:
        home.commit(2)
    assert "`airloom gc` took them: the commit has outlasted --grace" in caught.value.hint
    monkeypatch.undo()
    assert home.commit(2).number == 2
