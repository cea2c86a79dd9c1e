"""Clones of the datasets in another folder, and homes that were moved, copied, or made by an earlier release."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from airloom.datasets import versions
from airloom.datasets.commit import commit
from airloom.datasets.read import read
from airloom.datasets.storage import dvc_config, repository
from airloom.datasets.storage.store import Store
from airloom.errors import ConfigError
from airloom.settings import Settings
from airloom.stack.report import doctor

# What earlier releases wrote for the home's own DVC client.
OLD_LOCAL = """[core]
    no_scm = true
    site_cache_dir = "{home}/user/dvc"
[cache]
    dir = "{home}/data/cache"
    type = hardlink,copy
"""


def moved(settings: Settings, to: Path) -> Settings:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(settings.home, to)
    return replace(settings, home=to)


def test_a_moved_home_commits_reads_and_is_cloned_where_it_is_now(settings, batch, tmp_path, stranger):
    first = commit(settings, "digits", batch(0), message="one")
    local = settings.home / "data" / "dvc" / ".dvc" / "config.local"
    local.write_text(OLD_LOCAL.format(home=settings.home))
    after = moved(settings, tmp_path / "elsewhere" / "home")
    assert [finding.ok for finding in doctor(after) if finding.check == "datasets"] == [False]
    commit(after, "digits", batch(1), message="two")
    shutil.rmtree(after.dvc_cache)  # all of it comes from the remote
    assert read(after, versions.get(after, "digits", 1)).equals(batch(0))
    assert not settings.home.exists()  # nothing was written to the old place
    assert stranger.pulled(after).num_rows == 12
    assert [finding.ok for finding in doctor(after) if finding.check == "datasets"] == [True]
    assert first.commit == versions.get(after, "digits", 1).commit
    where = f"url={after.dvc_remote_folder}"  # a revision of before the move still names the old place
    got = stranger.folder / "got"
    stranger.dvc(
        "get", "-q", after.data_repo, "digits/shards", "--rev", "digits@v1", "-o", got, "--remote-config", where
    )
    assert len(list(got.iterdir())) == 1


def test_a_copied_home_keeps_to_itself(settings, batch, tmp_path):
    commit(settings, "digits", batch(0), message="one")
    before = sorted(settings.dvc_remote_folder.rglob("*"))
    shutil.copytree(settings.home, tmp_path / "copy")
    copy = replace(settings, home=tmp_path / "copy")
    commit(copy, "digits", batch(1), message="in the copy")
    assert sorted(settings.dvc_remote_folder.rglob("*")) == before
    assert [v.number for v in versions.list_versions(settings, "digits")] == [1]


def test_a_home_that_stays_makes_no_commit_of_it(settings, batch):
    commit(settings, "digits", batch(0), message="one")
    head = repository.head(settings.data_repo)
    assert "remote" in repository.renew_remote(settings)
    _ = Store(settings).remote
    assert repository.head(settings.data_repo) == head


def test_no_file_of_a_clone_names_a_place_below_the_users_home(settings, batch, tmp_path, stranger, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    commit(settings, "digits", batch(0), message="one")
    searched = ("grep", "-I", "-F", str(tmp_path), "main")
    assert repository.git(settings.data_repo, *searched, check=False).stdout == ""
    text = repository.read_file(settings.data_repo, "main", repository.CONFIG)
    assert dvc_config.url_of(text) == "~/a home/data/remote"
    own = (settings.home / "data" / "dvc" / ".dvc" / "config").read_text()
    assert dvc_config.url_of(own) == "../../remote"
    stranger.clone(settings)
    stranger.dvc("pull", "-q")
    assert list((stranger.folder / "digits" / "shards").iterdir())


def test_addresses_that_are_not_this_homes_own_stay(settings, batch, tmp_path):
    commit(settings, "digits", batch(0), message="one")
    text = repository.read_file(settings.data_repo, "main", repository.CONFIG)
    for url in ("s3://bucket/data/remote", "/mnt/big/store", "../../remote", "ssh://host/data/remote", ""):
        other = text.replace(dvc_config.url_of(text), url)
        assert dvc_config.renewed(settings, other) == other
    old = text.replace(dvc_config.url_of(text), "/old/home/data/remote")
    assert dvc_config.url_of(dvc_config.renewed(settings, old)) == str(settings.dvc_remote_folder)
    for more in ({"data_remote": str(tmp_path / "shared.git")}, {"dvc_remote": "s3://bucket/x"}):
        assert dvc_config.renewed(replace(settings, **more), old) == old


@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=30))
def test_any_path_survives_dvcs_configuration(name):
    from configobj import ConfigObj

    settings = Settings(home=Path("/srv") / name.replace("/", "-").replace("\0", "-").strip(".~ ").join("hh"))
    try:
        text = dvc_config.first(settings)
    except ConfigError:
        assert {"'", '"'} <= set(name)
        return
    section = ConfigObj(text.splitlines(), interpolation=False)['remote "store"']
    assert section["url"] == dvc_config.url_of(text) == str(settings.dvc_remote_folder)


def test_folders_shared_by_homes_may_be_named_from_where_one_works(settings, batch, tmp_path, monkeypatch, stranger):
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", tmp_path / "shared.git"], check=True)
    monkeypatch.chdir(tmp_path)
    home = Settings(home=tmp_path / "one", project=settings.project, data_remote="shared.git", dvc_remote="store")
    assert (home.data_remote, home.dvc_remote) == (str(tmp_path / "shared.git"), str(tmp_path / "store"))
    commit(home, "digits", batch(0), message="one")
    monkeypatch.chdir("/")
    other = Settings(home=tmp_path / "two", project=settings.project, data_remote=str(tmp_path / "shared.git"))
    assert read(other, versions.latest(other, "digits")).equals(batch(0))
    assert stranger.pulled(other).num_rows == 6
    kept = Settings(home=tmp_path / "x", data_remote="ada@host:data.git", dvc_remote="s3://bucket/x")
    assert (kept.data_remote, kept.dvc_remote) == ("ada@host:data.git", "s3://bucket/x")
