"""The data repository under strangers, odd paths, rivals, stale locks and killed writers."""

import signal
import subprocess
import sys
import time

import pyarrow as pa
import pytest

from airloom.datasets import announcements, repository, snapshot, versions
from airloom.datasets.commit import commit
from airloom.datasets.read import read
from airloom.errors import DataError
from airloom.settings import Settings

COMMITTER = """
import sys
from pathlib import Path
import great_expectations
import dvc.repo
from airloom.datasets.commit import commit
from airloom.datasets.ingest import read_file
from airloom.settings import Settings

home, project, batch = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
print(commit(Settings(home=Path(home), project=Path(project)), "digits", read_file(Path(batch)), message="m").number)
"""


def committer(settings, folder, table):
    """A process that commits as soon as a line comes in."""
    folder.mkdir()
    with pa.ipc.new_file(str(folder / "batch.arrow"), table.schema) as writer:
        writer.write_table(table)
    arguments = [settings.home, settings.project, folder / "batch.arrow"]
    command = [sys.executable, "-c", COMMITTER, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def start(process):
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()


def pulled(settings, folder):
    """What someone gets who has only git and DVC, as one table in no particular order."""
    clone = ["git", "clone", "-q", str(settings.data_repo), str(folder)]
    subprocess.run(clone, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "dvc", "pull", "-q"], cwd=folder, check=True, capture_output=True)
    files = sorted((folder / "digits" / "shards").glob("*.arrow"))
    return pa.concat_tables([pa.ipc.open_file(pa.memory_map(str(file))).read_all() for file in files])


def rows(table):
    return sorted(map(str, table.to_pylist()))


@pytest.mark.parametrize("home", ["a home", "a #1 home, or 'two'"])
def test_a_stranger_pulls_the_same_rows(settings, batch, tmp_path, home):
    settings = Settings(home=tmp_path / home, project=settings.project)
    commit(settings, "digits", batch(0), message="one")
    made = commit(settings, "digits", batch(1), message="two")
    assert rows(pulled(settings, tmp_path / "stranger")) == rows(read(settings, made))
    assert {path.name for path in (settings.home / "data").iterdir()} >= {"cache", "remote", "datasets.git"}


def test_two_at_once_both_land(settings, batch, tmp_path):
    other = committer(settings, tmp_path / "other", batch(0))
    start(other)
    mine = commit(settings, "digits", batch(1), message="mine").number  # in this process, at the same time
    assert sorted([mine, int(other.communicate(timeout=60)[0])]) == [1, 2]
    made = versions.latest(settings, "digits")
    assert rows(read(settings, made)) == rows(pa.concat_tables([batch(0), batch(1)]))
    assert not list((settings.home / "data" / "writers").iterdir())


@pytest.mark.parametrize("delay", [0.15, 0.5, 0.8])
def test_a_killed_writer_leaves_nothing_half(settings, batch, tmp_path, delay):
    process = committer(settings, tmp_path / "killed", batch(0))
    start(process)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = versions.list_versions(settings, "digits") if versions.list_datasets(settings) else []
    assert all(read(settings, version).equals(batch(0)) for version in before)
    made = commit(settings, "digits", batch(1), message="next")
    assert made.number == len(before) + 1
    assert rows(read(settings, made)) == rows(pa.concat_tables([batch(0)] * len(before) + [batch(1)]))
    assert not list((settings.home / "data" / "writers").iterdir())


def test_a_stale_lock_is_named(settings, batch):
    commit(settings, "digits", batch(0), message="one")
    lock = settings.data_repo / "refs" / "heads" / "main.lock"
    lock.touch()
    with pytest.raises(DataError, match=r"main\.lock"):
        commit(settings, "digits", batch(1), message="two")
    lock.unlink()
    assert commit(settings, "digits", batch(1), message="two").number == 2


def test_another_refusal_is_raised_at_once(settings, batch):
    commit(settings, "digits", batch(0), message="one")
    hook = settings.data_repo / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho x >> '{settings.home / 'calls'}'\necho no thanks >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(DataError, match="no thanks"):
        commit(settings, "digits", batch(1), message="two")
    assert (settings.home / "calls").read_text() == "x\n"
    assert versions.latest(settings, "digits").number == 1


def test_git_is_deaf_to_the_caller(settings, batch, tmp_path, monkeypatch):
    (tmp_path / "config").write_text("[commit]\n    gpgsign = true\n[tag]\n    gpgsign = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    commit(settings, "digits", batch(0), message="one", author="Ada")
    found = repository.git(settings.data_repo, "log", "-1", "--format=%an %cn", "main").stdout
    assert found == "Ada airloom\n"


def test_snapshots_and_announcements(settings, batch):
    made = commit(settings, "digits", batch(0, 30), message="one")
    split = {"train": 0.6, "validation": 0.15, "test": 0.25}
    first = snapshot.prepare(settings, made, split)
    assert first == snapshot.prepare(settings, made, dict(reversed(split.items())))
    parts = [snapshot.rows(settings, first, name) for name in split]
    assert [part.num_rows for part in parts] == [first.rows[name] for name in split]
    assert rows(pa.concat_tables(parts)) == rows(batch(0, 30))
    expected = [{"dataset": "digits", "version": 1, "commit": made.commit}]
    assert announcements.pending(settings, "digits") == expected
    announcements.done(settings, "digits", 1)
    assert announcements.pending(settings, "digits") == []
    assert settings.home.stat().st_mode & 0o077 == 0
