"""Several writers at once, writers that die, and what someone gets who has only git and DVC."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from airloom.datasets import edit, tag_delete, versions
from airloom.datasets.commit import commit
from airloom.datasets.read import read
from airloom.datasets.storage import git, repository
from airloom.datasets.storage.store import Store
from airloom.errors import DataError
from airloom.settings import Settings

COMMITTER = """# starts warm
import sys
from pathlib import Path
import great_expectations, pygit2
import dvc.repo
from airloom.datasets.commit import commit
from airloom.datasets.ingest import read_file
from airloom.settings import load

batch, message = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
print(commit(load(), "digits", read_file(Path(batch)), message=message).number, flush=True)
"""


def committer(
    settings: Settings, folder: Path, table: pa.Table, message="m", start_new_session=False, path="", **more: str
):
    """A process that commits as soon as a line comes in; `path` is its PYTHONPATH."""
    folder.mkdir()
    with pa.ipc.new_file(str(folder / "batch.arrow"), table.schema) as writer:
        writer.write_table(table)
    environment = {
        "AIRLOOM_HOME": str(settings.home),
        "AIRLOOM_PROJECT": str(settings.project),
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": path,
    }
    environment |= {f"AIRLOOM_{name.upper()}": value for name, value in more.items()}
    command = [sys.executable, "-c", COMMITTER, str(folder / "batch.arrow"), message]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=start_new_session,
    )


def start(process):
    """Let it commit."""
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()


def await_file(path: Path) -> None:
    end = time.monotonic() + 200
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.01)


def rows(table):
    return sorted(map(str, table.to_pylist()))


@pytest.mark.parametrize("home", ["a home", "a #1 home, or 'two'"])
def test_a_stranger_pulls_the_same_rows(settings, batch, tmp_path, home, stranger):
    settings = Settings(home=tmp_path / home, project=settings.project)
    commit(settings, "digits", batch(0), message="one")
    made = commit(settings, "digits", batch(1), message="two")
    assert stranger.pulled(settings).equals(read(settings, made))
    assert settings.home.stat().st_mode & 0o077 == 0


def test_dvcs_own_commands_work_on_it(settings, batch, stranger):
    first = commit(settings, "digits", batch(0), message="one")
    commit(settings, "digits", batch(1), message="two")
    stranger.clone(settings)
    folder, dvc = stranger.folder, stranger.dvc
    assert "deleted" in dvc("data", "status") or "missing" in dvc("status").lower()
    dvc("pull", "-q")
    assert "up to date" in dvc("status")
    listed = {name: (folder / "digits" / f"{name}.dvc").read_text() for name in ("shards", "index")}
    ignored = (folder / "digits" / ".gitignore").read_text()
    for name in listed:
        dvc("add", "-q", f"digits/{name}")
        assert (folder / "digits" / f"{name}.dvc").read_text() == listed[name]
    assert (folder / "digits" / ".gitignore").read_text() == ignored
    changes = json.loads(dvc("diff", "--json", "digits@v1", "digits@v2"))
    assert len([c for c in changes["added"] if c["path"].endswith(".arrow")]) == 2
    dvc("get", "-q", settings.data_repo, "digits/shards", "--rev", "digits@v1", "-o", folder / "got")
    (file,) = (folder / "got").iterdir()
    assert pa.ipc.open_file(str(file)).read_all().equals(read(settings, first))
    dvc("gc", "-q", "--workspace", "--force")
    assert "up to date" in dvc("status")


@pytest.mark.timeout(900)
@pytest.mark.matrix(("homes", "writers"), [(4, 16)], sample=[(2, 4)])
def test_processes_of_several_homes_on_one_remote_all_land(
    settings, batch, tmp_path, stranger, record_property, warm_start, homes, writers
):
    remote, store = tmp_path / "remote.git", tmp_path / "store"
    store.mkdir()
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(remote)], check=True)
    shared = {"data_remote": str(remote), "dvc_remote": str(store)}
    path = warm_start.path
    places = [Settings(home=tmp_path / f"home{n}", project=settings.project, **shared) for n in range(homes)]
    processes = [
        committer(places[n % homes], tmp_path / f"w{n}", batch(n), f"writer {n}", path=path, **shared)
        for n in range(writers)
    ]
    for process in processes:  # all have imported everything, and wait for a line
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    numbers = sorted(int(process.communicate(timeout=600)[0]) for process in processes)
    assert numbers == list(range(1, writers + 1))
    log = repository.git(remote, "log", "--format=%s", "main").stdout.splitlines()
    assert {line.partition(": ")[2] for line in log[:-1]} == {f"writer {n}" for n in range(writers)}
    assert len(log) == writers + 1  # the first commit made the repository
    third = Settings(home=tmp_path / "third", project=settings.project, **shared)
    expected = rows(pa.concat_tables([batch(n) for n in range(writers)]))
    assert rows(read(third, versions.latest(third, "digits"))) == expected
    assert rows(stranger.pulled(third)) == expected
    record_property("writers", f"{writers} processes in {homes} homes released together: {len(log) - 1} commits")
    with pytest.raises(DataError, match="changed or deleted meanwhile"):
        first = versions.get(third, "digits", 1)
        edit.delete_rows(places[0], first, [0], message="m")
        edit.delete_rows(places[1], first, [0], message="m")


def test_what_a_dead_writer_left_is_swept(settings, batch):
    commit(settings, "digits", batch(0), message="one")
    left = settings.dvc_cache / "files" / "md5" / "0123.999999999.tmp"
    left.write_bytes(b"half")
    mine = settings.dvc_cache / "files" / "md5" / f"0123.{os.getpid()}.tmp"
    mine.write_bytes(b"half")
    commit(settings, "digits", batch(1), message="two")
    assert not left.exists()
    assert mine.exists()


def test_the_git_remote_dies_in_mid_push_and_a_retry_completes(settings, batch, tmp_path):
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(remote)], check=True)
    home = replace(settings, data_remote=str(remote))
    commit(home, "digits", batch(0), message="one")
    hook = remote / "hooks" / "pre-receive"  # all objects have arrived, no ref has moved
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nkill -9 $PPID\n")
    hook.chmod(0o755)
    with pytest.raises(DataError, match=r"(?s)the push of digits@v2 failed.*\n  -> nothing is visible; try again"):
        commit(home, "digits", batch(1), message="two")
    assert versions.latest(home, "digits").number == 1
    hook.unlink()
    assert read(home, commit(home, "digits", batch(1), message="two")).num_rows == 12
    remote.rename(tmp_path / "away")
    with pytest.raises(DataError, match=r"remote\.git was not fetched"):
        versions.latest(home, "digits")


def test_half_of_the_objects_arrive_and_a_retry_completes(settings, batch, tmp_path):
    """A folder of the DVC remote does not take what belongs into it."""
    other = replace(settings, home=tmp_path / "other")
    (shard,) = versions.manifest_of(other, commit(other, "digits", batch(1), message="m")).shards
    commit(settings, "digits", batch(0), message="one")
    blocked = settings.dvc_remote_folder / "files" / "md5" / shard.index[:2]
    assert not blocked.exists(), "another object is there already; take another seed"
    blocked.write_text("no folder")
    with pytest.raises(DataError, match="did not reach the DVC remote"):
        commit(settings, "digits", batch(1), message="two")
    assert versions.latest(settings, "digits").number == 1
    blocked.unlink()
    made = commit(settings, "digits", batch(1), message="two")
    assert read(settings, made).num_rows == 12 and made.number == 2


def test_a_refused_tag_leaves_the_branch_where_it_was(settings, batch):
    commit(settings, "digits", batch(0), message="one")
    before = repository.head(settings.data_repo)
    hook = settings.data_repo / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\ncase "$1" in refs/tags/*) exit 1;; esac\n')
    hook.chmod(0o755)
    with pytest.raises(DataError, match=r"the push of digits@v2 failed"):
        commit(settings, "digits", batch(1), message="two")
    assert repository.head(settings.data_repo) == before
    hook.unlink()
    assert commit(settings, "digits", batch(1), message="two").number == 2


def test_fetches_into_one_mirror_wait_for_each_other(settings, batch, tmp_path):
    commit(settings, "digits", batch(0), message="one")
    mirror = Settings(home=tmp_path / "mirror", project=settings.project, data_remote=str(settings.data_repo))
    versions.latest(mirror, "digits")
    commit(settings, "digits", batch(1), message="two")
    slow, log = tmp_path / "slow", tmp_path / "log"
    slow.write_text(f"#!/bin/sh\necho begin >> '{log}'\nsleep 0.4\ngit upload-pack \"$@\"\necho end >> '{log}'\n")
    slow.chmod(0o755)
    repository.git(mirror.data_repo, "config", "remote.origin.uploadpack", str(slow))
    with ThreadPoolExecutor(3) as pool:
        assert {v.number for v in pool.map(lambda _: versions.latest(mirror, "digits"), range(3))} == {2}
    assert log.read_text() == "begin\nend\n" * 3


@pytest.mark.parametrize(
    "what", ["main:digits/manifest.json", "main:digits", "main^{tree}", "main:digits/deleted.json"]
)
def test_what_git_lost_is_not_taken_for_absent(settings, batch, what):
    """Else a new dataset would begin below the old one's name, or deleted versions would come back."""
    commit(settings, "digits", batch(0), message="one")
    commit(settings, "digits", batch(1), message="two")
    tag_delete.delete(settings, "digits@v2", reason="wrong")
    lost = repository.git(settings.data_repo, "rev-parse", what).stdout.strip()
    (settings.data_repo / "objects" / lost[:2] / lost[2:]).unlink()
    for use in (lambda: commit(settings, "digits", batch(2), message="m"), lambda: versions.latest(settings, "digits")):
        with pytest.raises(DataError, match=r"is missing in|not a tree object|Could not read") as caught:
            use()
        assert "git fsck" in caught.value.hint


def test_a_lost_tag_is_named(settings, batch):
    for number in range(2):
        commit(settings, "digits", batch(number), message="m")
    repository.git(settings.data_repo, "tag", "-d", "digits@v2")
    for name in ("digits", "digits@v2"):
        with pytest.raises(DataError, match="lost the tag digits@v2"):
            versions.find(settings, name)


def test_a_commit_leaves_git_nothing_that_it_does_not_name(settings, batch):
    commit(settings, "digits", batch(0), message="m")
    assert repository.git(settings.data_repo, "fsck", "--unreachable", "--no-reflogs").stdout == ""


def test_a_lock_that_somebody_holds_is_waited_for_and_named(settings, batch, monkeypatch):
    monkeypatch.setattr(git, "PATIENCE_S", 0.5)
    commit(settings, "digits", batch(0), message="one")
    lock = settings.data_repo / "refs" / "heads" / "main.lock"
    lock.touch()
    with pytest.raises(DataError, match=r"another git process holds .*main\.lock"):
        commit(settings, "digits", batch(1), message="two")
    os.utime(lock, (0, 0))
    at_work = subprocess.Popen(["git", "cat-file", "--batch"], cwd=settings.data_repo, stdin=subprocess.PIPE)
    with pytest.raises(DataError, match=r"main\.lock"):  # old, but a git is at work there
        commit(settings, "digits", batch(1), message="two")
    at_work.communicate()
    assert commit(settings, "digits", batch(1), message="two").number == 2


def test_the_next_commit_removes_the_locks_of_a_killed_git(settings, batch, tmp_path, monkeypatch):
    monkeypatch.setattr(git, "STALE_S", 0.2)
    commit(settings, "digits", batch(0), message="one")
    hook = settings.data_repo / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntest $1 = prepared || exit 0\necho > '{tmp_path / 'locked'}'\nsleep 60\n")
    hook.chmod(0o755)
    writer = committer(settings, tmp_path / "killed", batch(1), start_new_session=True)
    start(writer)
    await_file(tmp_path / "locked")
    os.killpg(writer.pid, signal.SIGKILL)
    writer.communicate()
    hook.unlink()
    assert list((settings.data_repo / "refs").rglob("*.lock"))
    assert commit(settings, "digits", batch(2), message="two").number == 2
    assert not list(settings.data_repo.rglob("*.lock"))


def test_a_mirror_gets_rid_of_such_locks_too(settings, batch, tmp_path, monkeypatch):
    monkeypatch.setattr(git, "STALE_S", 0.2)
    commit(settings, "digits", batch(0), message="one")
    mirror = Settings(home=tmp_path / "mirror", project=settings.project, data_remote=str(settings.data_repo))
    assert versions.latest(mirror, "digits").number == 1
    second = commit(settings, "digits", batch(1), message="two")
    (mirror.data_repo / "refs" / "tags" / "digits@v2.lock").touch()
    assert read(mirror, versions.latest(mirror, "digits")).equals(read(settings, second))


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
    commit(settings, "digits", batch(0), message="one\n\nwith a body", author="Ada")
    found = repository.git(settings.data_repo, "log", "-1", "--format=%an %cn %s", "main").stdout
    assert found == "Ada airloom digits@v1: one\n"
    assert versions.latest(settings, "digits").message == "one\n\nwith a body"


def test_a_manifest_changed_by_hand_reads_nothing_outside(settings, batch):
    made = commit(settings, "digits", batch(0), message="one")
    for name in ("../../../../etc/passwd", "x" * 32, "ab", "", "0" * 32 + "\n"):
        with pytest.raises(DataError, match="names no object"):
            Store(settings).path(name)
    assert read(settings, made).num_rows == 6


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_data_remote_of_another_owner_is_refused_with_a_way_that_helps(tmp_path):
    remote = tmp_path / "shared.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(remote)], check=True)
    for path in (remote, *remote.rglob("*")):
        os.chown(path, 4711, 4711)
    settings = Settings(home=tmp_path / "home", data_remote=str(remote))
    with pytest.raises(DataError, match="dubious ownership") as caught:
        repository.refresh(settings)
    assert "chown" in caught.value.hint
    assert "ssh://" in caught.value.hint
