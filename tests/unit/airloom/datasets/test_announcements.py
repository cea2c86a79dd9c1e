"""What is announced next, and when the announcing DAG is woken for it."""

import itertools
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from airloom.datasets import announcements, tag_delete, versions
from airloom.datasets.announcements import AGAIN_SECONDS, Wake, highest_key, number_of, partition_key, wake
from airloom.datasets.commit import commit
from airloom.datasets.ingest.images import image_table
from airloom.datasets.storage.repository import git
from airloom.errors import ConfigError
from airloom.settings import Settings


def test_a_partition_key_is_the_version_and_nothing_else():
    assert number_of(partition_key(12)) == 12
    for key in ("", "3", "v0", "v03", "V3", "v3 ", "v3\n", "v-1", "v٣", "v1e3", "2026-01-01", "v" + "9" * 10, "../v3"):
        with pytest.raises(ConfigError, match="names no dataset version"):
            number_of(key)


def test_the_highest_event_counts_in_any_order_and_foreign_keys_do_not():
    assert highest_key([]) == 0
    assert highest_key(["v2", None, "2026-01-01", "v10", "v9"]) == 10
    assert highest_key(["v2"], 7) == 7  # the events of v3 to v7 were cleaned away


def test_nothing_new_wakes_nobody():
    assert wake(0, 0, None, 100) is None
    assert wake(3, 3, Wake(2, 0), 10_000) is None
    assert wake(3, 5, None, 100) is None


def test_a_version_wakes_at_once_and_again_only_when_nothing_came_of_it():
    assert wake(3, 2, None, 100) == Wake(2, 100)
    assert wake(3, 2, Wake(2, 100), 100.5) is None
    assert wake(4, 2, Wake(2, 100), 100.5) is None  # the run that was woken takes one after the other
    assert wake(4, 3, Wake(2, 100), 100.5) == Wake(3, 100.5)
    assert wake(3, 2, Wake(2, 100), 100 + AGAIN_SECONDS) is not None


def test_waking_in_vain_becomes_seldom_until_there_is_a_step_forward():
    last, times = Wake(2, 0), [0.0]
    for second in range(3600):
        again = wake(3, 2, last, second)
        if again:
            last, times = again, [*times, again.at]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert gaps == [30, 60, 120, 240, 480, 600, 600, 600, 600]
    assert wake(4, 3, last, last.at + 1) == Wake(3, last.at + 1, AGAIN_SECONDS)


def test_what_a_home_keeps_may_be_missing_or_spoiled(settings):
    assert announcements.kept(settings, "digits") == 0
    announcements.keep(settings, "digits", 3)
    assert announcements.kept(settings, "digits") == 3
    (settings.home / "announced" / "digits").write_text("nonsense")
    assert announcements.kept(settings, "digits") == 0


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    settings = Settings(home=tmp_path_factory.mktemp("three") / "home", project=Path(__file__).resolve().parents[4])
    random = np.random.default_rng(0)
    tables = [image_table(random.uniform(0.1, 0.6, (4, 1, 8, 8)).astype(np.float32), np.arange(4)) for _ in range(3)]
    return settings, [commit(settings, "digits", table, message="more") for table in tables]


@pytest.fixture
def three(settings, committed):
    """Three versions in a home of the test's own."""
    shutil.copytree(committed[0].home, settings.home)
    return committed[1]


def test_versions_come_one_by_one_in_order(settings, three):
    assert versions.highest(settings, "digits") == 3
    assert [announcements.pending(settings, "digits", known) for known in range(4)] == [*three, None]


def test_without_a_repository_there_is_nothing(settings):
    assert versions.highest(settings, "digits") == 0
    assert announcements.pending(settings, "digits", 0) is None


def test_without_a_version_there_is_nothing(settings, three):
    assert versions.highest(settings, "digit") == 0  # a prefix of another name
    assert announcements.pending(settings, "digit", 0) is None


def test_the_tenth_version_is_newer_than_the_ninth(settings, three):
    for number in range(4, 12):
        git(settings.data_repo, "tag", f"digits@v{number}", "main")
    assert versions.highest(settings, "digits") == 11


def test_a_label_beside_the_versions_is_none(settings, three):
    git(settings.data_repo, "tag", "digits@vintage", "main")
    git(settings.data_repo, "tag", "digits@v9-final", "main")
    assert versions.highest(settings, "digits") == 3


def test_a_version_whose_tag_appears_late_is_not_passed_over(settings, three, monkeypatch):
    late = git(settings.data_repo, "rev-parse", "digits@v2").stdout.strip()
    git(settings.data_repo, "tag", "-d", "digits@v2")

    def appear(seconds: float) -> None:
        git(settings.data_repo, "update-ref", "refs/tags/digits@v2", late)

    monkeypatch.setattr(time, "sleep", appear)
    assert announcements.pending(settings, "digits", 1) == three[1]


def test_a_version_that_is_gone_does_not_hold_up_the_next(settings, three, monkeypatch):
    git(settings.data_repo, "tag", "-d", "digits@v2")
    monkeypatch.setattr(announcements, "GAP_SECONDS", 0.01)
    assert announcements.pending(settings, "digits", 1) == three[2]


def test_a_deleted_version_is_not_announced(settings, three):
    tag_delete.delete(settings, "digits@v2", reason="wrong source")
    assert announcements.pending(settings, "digits", 1) == three[2]
    tag_delete.delete(settings, "digits", reason="all wrong")
    assert announcements.pending(settings, "digits", 0) is None
    assert versions.highest(settings, "digits") == 3


def test_what_a_compaction_leaves_is_no_version(settings, three):
    git(settings.data_repo, "update-ref", "refs/storage/digits/v3", "main")
    assert versions.highest(settings, "digits") == 3
    assert announcements.pending(settings, "digits", 3) is None
