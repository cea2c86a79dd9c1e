"""What impact says of what it is not, of deletions and of what it cannot know."""

from dataclasses import replace

import pytest

from airloom.datasets import versions
from airloom.datasets.storage.git import git
from airloom.errors import ConfigError, DataError, RegistryError
from airloom.lineage.impact import impact, render
from airloom.monitoring import counts
from airloom.settings import Settings


@pytest.mark.parametrize(
    ("target", "error", "says"),
    [
        ("digits", DataError, "'digits' is no dataset version, commit or shard"),
        ("", DataError, "'' is no dataset version"),
        ("../../x", DataError, "'../../x' is no dataset version"),
        ("digits@v99", DataError, "no version digits@v99.*\n.*the newest is digits@v2"),
        ("digitz@v1", DataError, "no dataset digitz"),
        ("digits@v1@v2", ConfigError, "names no version"),
        ("digits@golden", DataError, "no tag digits@golden"),
        ("0" * 40, DataError, "there is no commit 0000"),
        ("0" * 32, DataError, "no shards begin with 0000"),
        ("--help0", DataError, "'--help0' is no dataset version"),
    ],
)
def test_what_it_is_not_is_said(world, target: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        impact(world.settings, target)


def test_a_commit_without_rows_is_said(world) -> None:
    first = git(world.settings.data_repo, "rev-list", "--max-parents=0", "main").stdout.strip()
    with pytest.raises(DataError, match="brought no rows: Start the data repository"):
        impact(world.settings, first)


def test_an_ambiguous_shard_is_said_with_those_that_it_may_be(world) -> None:
    version = versions.latest(world.settings, "digits")
    names = [shard.md5 for shard in versions.manifest_of(world.settings, version).shards]
    assert len(names) > 1
    assert impact(world.settings, names[0][:8]).versions
    with pytest.raises(DataError, match="is no dataset version"):
        impact(world.settings, names[0][:6])  # a guess, not a hash


def test_without_a_data_repository_it_says_so_and_makes_none(tmp_path) -> None:
    settings = Settings(home=tmp_path / "home", project=tmp_path, tracking_uri="", database="")
    for target in ("0" * 32, "digits@v1"):
        with pytest.raises(DataError):
            impact(settings, target)
    assert not settings.data_repo.exists()


def test_counts_that_cannot_be_read_are_an_error_never_nought(world) -> None:
    broken = world.settings.home / "broken.db"
    broken.write_bytes(b"no database " * 100)
    with pytest.raises(RegistryError, match=r"broken\.db cannot be read"):
        impact(replace(world.settings, database=f"sqlite:///{broken}"), "digits@v1")


def test_it_is_readable(world) -> None:
    made = world.register("first")
    totals = {(made.model, made.version): {"total": 1234, "first": 1.0, "last": 2.0}}
    counts.write(world.settings.database_address, "a test", totals, 5)
    found = impact(world.settings, "digits@v2")
    text = render(replace(found, models=[model for model in found.models if model.name == made.model]))
    assert text.startswith("version digits@v2: 1 model versions")
    assert "digits@v2              400 rows of it" in text
    assert f"{made.model}/1 1,234 predictions" in text
