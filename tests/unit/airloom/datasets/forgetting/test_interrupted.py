"""A forgetting that is killed at any of its steps is whole after it was run again; and one that others disturb."""

import threading

import pytest
from forgetting.world import KEY, VALUES, World, leftovers

from airloom.datasets import tag_delete, versions
from airloom.datasets.compact import compact
from airloom.datasets.forgetting import erasers, journal
from airloom.datasets.forgetting import forget as forgetting
from airloom.datasets.storage import repository, rewrite
from airloom.datasets.storage.store import Store
from airloom.errors import ConfigError, DataAway, DataError
from airloom.retention.forget import forget


class Killed(BaseException):
    """What ends a process at once: nothing catches it."""


STEPS = [
    (forgetting, "_leave_out"),
    (forgetting.Redactor, "redact"),
    (Store, "push"),
    (rewrite, "write"),
    (journal, "keep"),
    (rewrite, "publish"),
    (erasers.Snapshots, "erase"),
    (forgetting, "_unlink"),
    (rewrite, "prune"),
    (journal, "done"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step[0].__name__.rpartition('.')[2]}.{step[1]}")
def test_killed_at_any_step_it_is_run_again_and_completes(world: World, monkeypatch, step, after):
    world.put("ada", KEY, "bob")
    from airloom.datasets.snapshots import snapshot

    snapshot.prepare(world.settings, world.put("cid"), {"train": 1.0})
    owner, name = step
    real = getattr(owner, name)

    def dies(*arguments, **options):
        if after:
            out = real(*arguments, **options)
            list(out or ()) if name == "_unlink" else None
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dies)
        with pytest.raises(Killed):
            forget(world.settings, "people", [KEY], reason="r")
    for version in versions.list_versions(world.settings, "people"):  # nothing is half visible
        rows = world.names(version.number, allow_redacted=True)
        assert len(rows) == version.rows - version.redacted and (KEY in rows) == (
            version.number < 3 and not version.redacted
        )
    try:
        answer = forget(world.settings, "people", [KEY], reason="r")
        assert answer.done
    except DataError as refused:  # all was done but to say so
        assert step == (journal, "done") and after, refused
    assert leftovers(world.settings.home, world.settings.data_repo) == []
    assert [v.state for v in versions.list_versions(world.settings, "people")] == ["REDACTED", "REDACTED", "READY"]
    assert journal.read(world.settings) is None and world.names(3) == ["ada", "bob", "cid"]
    assert versions.redactions(world.settings.data_repo, "people").versions["1"].rows == 1


@pytest.mark.parametrize(
    "where", [(rewrite, "publish"), (rewrite, "write"), (forgetting, "_places")], ids=["publish", "write", "places"]
)
def test_a_forgetting_that_loses_against_a_commit_starts_again(world, monkeypatch, where):
    world.put("ada", KEY, "bob")
    real, others = getattr(*where), iter([("cid", KEY), ("dan",)])

    def late(*arguments):
        if names := next(others, ()):
            world.put(*names)
        return real(*arguments)

    monkeypatch.setattr(*where, late)
    answer = forget(world.settings, "people", [KEY], reason="r")
    assert leftovers(world.settings.home, world.settings.data_repo) == []
    assert answer.done and world.names(versions.latest(world.settings, "people").number) == ["ada", "bob", "cid", "dan"]
    states = [version.state for version in versions.list_versions(world.settings, "people")]
    assert (states[0], states[-1]) == ("REDACTED", "READY") and states.count("REDACTED") >= 2


@pytest.mark.parametrize("kind", ["commit", "compaction", "tag"])
def test_a_writer_that_loses_against_a_forgetting_applies_again_on_the_new_history(world, monkeypatch, kind):
    first = world.put("ada", KEY, "bob")
    world.put("cid")
    real, calls = repository.publish, []

    def publish(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            forget(world.settings, "people", [KEY], reason="r")
        return real(*arguments, **options)

    monkeypatch.setattr(repository, "publish", publish)
    if kind == "commit":
        assert world.put("dan").name == "people@v4"
        assert world.names(4) == ["ada", "bob", "cid", "dan"]
    elif kind == "compaction":
        compact(world.settings, "people")
        assert world.names(3) == ["ada", "bob", "cid"]
    else:
        calls.append(())
        forget(world.settings, "people", [KEY], reason="r")
        tag_delete.tag(world.settings, first, "golden")
        assert versions.find(world.settings, "people@golden").name == "people@v1"
    if kind == "compaction":  # what it wrote before it lost is of no version
        from airloom.retention.dataset_objects import objects
        from airloom.retention.in_use import InUse
        from airloom.retention.items import Rules

        for item in objects(world.settings, Rules(9e9, 1, 1), InUse()):
            assert not item.goes or not item.take()
    rewrite.prune(world.settings)
    assert leftovers(world.settings.home, world.settings.data_repo) == []


def test_a_batch_whose_objects_a_forgetting_takes_is_committed_or_says_so(world, monkeypatch):
    """The same person is committed anew while the old rows are forgotten: the new version has them, whole."""
    world.put("ada", KEY)
    real, calls = repository.publish, []

    def publish(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            forget(world.settings, "people", [KEY], reason="r")
        return real(*arguments, **options)

    monkeypatch.setattr(repository, "publish", publish)
    with pytest.raises(DataError, match="are gone from") as refused:
        world.put("zed", KEY)
    assert "`dataset forget` did" in refused.value.hint
    assert leftovers(world.settings.home, world.settings.data_repo) == []
    world.put("zed", KEY)
    assert world.names(3) == ["ada", "zed", KEY]


def test_one_forgetting_at_a_time_and_a_refusing_remote_changes_nothing(world, monkeypatch):
    world.put("ada", KEY)
    answers, inside = [], threading.Event()
    real = forgetting.search

    def slow(*arguments):
        if not inside.is_set():
            inside.set()
            with pytest.raises(ConfigError, match="another forgetting is under way"):
                forget(world.settings, "people", [KEY], reason="r")
            answers.append("refused")
        return real(*arguments)

    monkeypatch.setattr(forgetting, "search", slow)
    hook = world.settings.data_repo / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho no rewriting here >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(DataAway, match="no rewriting here"):
        forget(world.settings, "people", [KEY], reason="r")
    hook.unlink()
    assert answers == ["refused"] and KEY in world.names(1)
    assert forget(world.settings, "people", [KEY], reason="r").done
    assert leftovers(world.settings.home, world.settings.data_repo, VALUES) == []
