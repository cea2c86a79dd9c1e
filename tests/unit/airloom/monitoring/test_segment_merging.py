"""Small files become one: no row twice, none lost, whoever reads, forgets, or is killed meanwhile."""

import json
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from airloom.monitoring import prediction_id
from airloom.monitoring import prediction_log as form
from airloom.monitoring import prediction_query as query
from airloom.monitoring import segment_merging as merging
from airloom.monitoring.segment_lock import reading
from airloom.monitoring.segment_merging import Merger
from airloom.monitoring.segment_retention import erase
from airloom.settings import Settings
from airloom_serving.logged_rows import Answered
from airloom_serving.prediction_log import FORM, write


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "FILES", 5)
    monkeypatch.setattr(merging, "YOUNG", 0.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, project=tmp_path, database="", tracking_uri="")


def small_files(settings: Settings, count: int = 5) -> tuple[Merger, list[str]]:
    merger, ids = Merger(), list[str]()
    for _ in range(count):
        new = prediction_id.several("m", "1", 3)
        merger.add(write(settings.prediction_log, [Answered("m", "1", new, [1, 2, 3], 1.0, 3)]))
        ids += new
        time.sleep(0.002)
    return merger, ids


def names(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.prediction_log.rglob("*") if path.is_file())


def test_enough_small_files_become_one_with_the_same_rows(settings: Settings) -> None:
    merger, ids = small_files(settings, 4)
    before = query.table(settings)
    assert not merger.merge(settings.prediction_log, FORM)
    more, later = small_files(settings, 1)
    merger._small += more._small
    assert merger.merge(settings.prediction_log, FORM)
    (name,) = names(settings)
    assert form.is_merged(name)
    after = query.table(settings)
    assert sorted(after["id"].to_pylist()) == sorted(ids + later)
    assert after.slice(0, 12).equals(before)
    assert form.find(settings, later[1]).id == later[1]


def test_who_reads_keeps_the_files_that_were_there(settings: Settings) -> None:
    merger, _ = small_files(settings)
    with reading(settings.prediction_log):
        before = names(settings)
        assert not merger.merge(settings.prediction_log, FORM)
        assert names(settings) == before
    assert merger.merge(settings.prediction_log, FORM)
    assert len(names(settings)) == 1


def test_a_row_that_is_forgotten_meanwhile_does_not_come_back(settings: Settings, monkeypatch) -> None:
    merger, ids = small_files(settings)
    written = pq.write_table

    def forgotten(*arguments: object, **options: object) -> None:
        written(*arguments, **options)
        monkeypatch.setattr(pq, "write_table", written)
        erase(settings, ids[4])  # after its file was read

    monkeypatch.setattr(pq, "write_table", forgotten)
    assert not merger.merge(settings.prediction_log, FORM)
    assert merger.merge(settings.prediction_log, FORM)
    assert sorted(query.table(settings)["id"].to_pylist()) == sorted({*ids} - {ids[4]})


def test_a_kill_between_two_steps_loses_no_row_and_doubles_none(settings: Settings, monkeypatch) -> None:
    merger, ids = small_files(settings)
    unlink, left = Path.unlink, [3]

    def killed(path: Path, **options: object) -> None:
        if path.suffix == ".parquet":
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        merger.merge(settings.prediction_log, FORM)
    monkeypatch.undo()
    assert query.table(settings).num_rows < 15  # its rows wait
    erase(settings, ids[0])
    assert sorted(query.table(settings)["id"].to_pylist()) == sorted(ids[1:])
    (path,) = settings.prediction_log.rglob("*.parquet")
    assert len(json.loads(pq.read_schema(path).metadata[b"airloom.replaces"])) == 5


def test_files_that_are_collected_meanwhile_are_no_error(settings: Settings) -> None:
    merger, _ = small_files(settings)
    gone = sorted(settings.prediction_log.rglob("*.parquet"))
    gone[0].unlink()
    assert merger.merge(settings.prediction_log, FORM)
    assert query.table(settings).num_rows == 12
    for path in settings.prediction_log.rglob("*.parquet"):
        path.unlink()
    merger, _ = small_files(settings)
    for path in settings.prediction_log.rglob("*.parquet"):
        path.unlink()
    assert merger.merge(settings.prediction_log, FORM)
    assert names(settings) == []


def test_a_merged_file_is_not_followed_again(settings: Settings, monkeypatch) -> None:
    monkeypatch.setattr(query, "POLL_SECONDS", 0.0)
    merger, _ = small_files(settings)
    coming = query.follow(settings, query.Question(), set())
    assert next(coming).num_rows == 15
    assert merger.merge(settings.prediction_log, FORM)
    assert next(coming).num_rows == 0
