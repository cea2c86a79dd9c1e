"""The announcing DAG on a real Airflow database: one event a version, whatever is run again."""

import asyncio
import contextlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airloom.datasets.announcements import keep, kept
from airloom.datasets.commit import commit
from airloom.datasets.ingest.images import image_table
from airloom.datasets.storage.repository import git
from airloom.settings import Settings
from airloom_operators import announce
from airloom_operators.assets import each_version
from airloom_operators.triggers import dataset as trigger
from airloom_operators.triggers.dataset import DatasetVersionTrigger

PROJECT = Path(__file__).resolve().parents[2]
SUITE = PROJECT / "configs" / "expectations" / "digits.json"


@pytest.fixture(scope="module")
def committed(tmp_path_factory) -> Settings:
    """Three versions of a dataset."""
    settings = Settings(home=tmp_path_factory.mktemp("announcing") / "home", project=PROJECT)
    random = np.random.default_rng(0)
    for number in range(3):
        images = random.uniform(0.1, 0.6, (4, 1, 8, 8)).astype(np.float32)
        commit(settings, "ticks", image_table(images, np.arange(4)), message=f"tick {number}", suite=SUITE)
    return settings


class Repository:
    """A data repository whose versions appear when a test says so."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tags = folder, {}
        for number in (1, 2, 3):
            self.tags[number] = git(folder, "rev-parse", f"refs/tags/ticks@v{number}").stdout.strip()
            git(folder, "update-ref", "-d", f"refs/tags/ticks@v{number}")

    def publish(self, *numbers: int) -> None:
        for number in numbers:
            git(self.folder, "update-ref", f"refs/tags/ticks@v{number}", self.tags[number])


@pytest.fixture
def repository(committed, tmp_path, monkeypatch) -> Repository:
    shutil.copytree(committed.home, tmp_path / "home")
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    return Repository(Settings().data_repo)


class Announcer:
    """The announcing DAG, with two DAGs that wait for its events."""

    def __init__(self, register: Callable[..., None]) -> None:
        from airflow.sdk import DAG
        from airflow.utils.session import create_session

        self.session = create_session
        self.dag = announce.build_announcer("ticks")
        register(
            self.dag, *(DAG(n, schedule=each_version("ticks"), is_paused_upon_creation=False) for n in ("one", "two"))
        )

    def run(self) -> str:
        """Run it once; the state of its task."""
        return self.dag.test().get_task_instance("announce").state

    def events(self) -> list[tuple[str, int]]:
        from airflow.models.asset import AssetEvent

        with self.session() as session:
            return [(e.partition_key, e.extra["version"]) for e in session.query(AssetEvent).order_by(AssetEvent.id)]

    def runs(self) -> list[tuple[str, str]]:
        """The runs that Airflow's scheduler will make, in its order."""
        from airflow.models.asset import AssetPartitionDagRun as Run

        with self.session() as session:
            return [(run.target_dag_id, run.partition_key) for run in session.query(Run).order_by(Run.id)]

    def kept(self) -> int | None:
        """The state `announced` of the repository asset."""
        from airflow.models.asset_state_store import AssetStateStoreModel

        with self.session() as session:
            rows = session.query(AssetStateStoreModel).filter_by(key=announce.ANNOUNCED)
            values = [json.loads(row.value) for row in rows]
        return values[0] if values else None

    def forget(self, *, state: bool = True) -> None:
        """As `airflow db clean` does; the state goes only with the whole database."""
        from airflow.models.asset import AssetEvent, AssetPartitionDagRun, PartitionedAssetKeyLog
        from airflow.models.asset_state_store import AssetStateStoreModel

        tables = [PartitionedAssetKeyLog, AssetPartitionDagRun, AssetEvent, *([AssetStateStoreModel] if state else [])]
        with self.session() as session:
            for table in tables:
                session.query(table).delete()


@pytest.fixture
def announcer(register, repository) -> Iterator[Announcer]:
    made = Announcer(register)
    yield made
    made.forget()


def test_each_version_becomes_one_event_in_order_and_one_run_of_each_waiting_dag(announcer, repository) -> None:
    assert announcer.run() == "skipped"
    repository.publish(1)
    assert (announcer.run(), announcer.kept()) == ("success", 1)
    repository.publish(2, 3)
    assert [announcer.run() for _ in range(4)] == ["success", "success", "skipped", "skipped"]
    assert announcer.events() == [("v1", 1), ("v2", 2), ("v3", 3)]
    for dag in ("one", "two"):
        assert [key for target, key in announcer.runs() if target == dag] == ["v1", "v2", "v3"]
    assert announcer.kept() == kept(Settings(), "ticks") == 3


def test_a_task_that_dies_before_its_success_is_recorded_has_announced_nothing(
    announcer, repository, monkeypatch
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    def die(*_: Any, **__: Any) -> None:
        raise AirflowFailException("the last moment")

    repository.publish(1, 2)
    task = announcer.dag.get_task("announce")
    with monkeypatch.context() as patch:
        patch.setattr(type(task), "post_execute", die)
        assert announcer.run() == "failed"
    assert (announcer.events(), announcer.kept()) == ([], None)
    assert [announcer.run() for _ in range(3)] == ["success", "success", "skipped"]
    assert announcer.events() == [("v1", 1), ("v2", 2)]


def test_what_could_not_be_kept_is_not_announced_again(announcer, repository) -> None:
    def fail(_: Any) -> None:
        raise OSError("no connection")

    announcer.dag.get_task("announce").on_success_callback = [fail]
    repository.publish(1, 2, 3)
    assert [announcer.run() for _ in range(3)] == ["success"] * 3
    assert announcer.kept() is None
    assert announcer.run() == "skipped"
    assert announcer.events() == [("v1", 1), ("v2", 2), ("v3", 3)]
    assert announcer.kept() == 3


def test_events_that_were_cleaned_away_are_not_sent_again(announcer, repository) -> None:
    repository.publish(1, 2)
    assert [announcer.run() for _ in range(2)] == ["success"] * 2
    announcer.forget(state=False)
    assert announcer.run() == "skipped"
    repository.publish(3)
    assert announcer.run() == "success"
    assert announcer.events() == [("v3", 3)]


def test_a_new_airflow_database_does_not_start_over(announcer, repository) -> None:
    repository.publish(1, 2)
    assert [announcer.run() for _ in range(2)] == ["success"] * 2
    announcer.forget()
    repository.publish(3)
    assert [announcer.run() for _ in range(2)] == ["success", "skipped"]
    assert announcer.events() == [("v3", 3)]


def test_a_dataset_of_another_repository_is_refused_by_name_and_announces_nothing(
    announcer, repository, monkeypatch, tmp_path
) -> None:
    """Two projects of one Airflow, each with a dataset of that name."""
    repository.publish(1)
    assert announcer.run() == "success"
    other = Settings(home=tmp_path / "another home", project=PROJECT)
    images = np.random.default_rng(1).uniform(0.1, 0.6, (4, 1, 8, 8)).astype(np.float32)
    for number in range(2):
        commit(other, "ticks", image_table(images + number / 10, np.arange(4)), message=f"other {number}", suite=SUITE)
    monkeypatch.setenv("AIRLOOM_HOME", str(other.home))
    told: list[str] = []
    task = announcer.dag.get_task("announce")
    task.on_failure_callback = [lambda context: told.append(str(context["exception"]))]
    assert announcer.run() == "failed"
    assert announcer.events() == [("v1", 1)]
    assert "ticks is in this Airflow already, with the versions of another data repository" in told[0]
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    repository.publish(2)
    assert announcer.run() == "success"  # the first one goes on


def test_without_what_the_home_kept_the_state_in_airflow_stands_in(announcer, repository) -> None:
    repository.publish(1, 2)
    assert [announcer.run() for _ in range(2)] == ["success"] * 2
    announcer.forget(state=False)
    (Settings().home / "announced" / "ticks").unlink()
    assert announcer.run() == "skipped"


def test_an_event_that_a_person_sends_hides_no_version(announcer, repository) -> None:
    from airflow.models.asset import AssetEvent, AssetModel

    with announcer.session() as session:
        asset = session.query(AssetModel).filter_by(uri="airloom://datasets/ticks").one()
        session.add(AssetEvent(asset_id=asset.id, partition_key="v9", extra={"version": 9, "from_rest_api": True}))
    repository.publish(1)
    assert announcer.run() == "success"
    assert announcer.events() == [("v9", 9), ("v1", 1)]


def test_a_repository_that_git_cannot_read_passes_no_version_over(announcer, repository) -> None:
    announcer.dag.get_task("announce").retries = 0
    repository.publish(1)
    head = (repository.folder / "HEAD").read_text()
    (repository.folder / "HEAD").write_text("nonsense")
    assert announcer.run() in {"failed", "up_for_retry"}
    assert announcer.kept() is None
    (repository.folder / "HEAD").write_text(head)
    assert announcer.run() == "success"
    assert announcer.events() == [("v1", 1)]


async def watch(wanted: int, then: Callable[[int], None] = print) -> list[dict[str, Any]]:
    """So many events of the watcher, however long they take, and any that come soon after them.

    `then` is called with the count after each event.
    """
    watcher, enough = DatasetVersionTrigger("ticks"), asyncio.Event()
    found: list[dict[str, Any]] = []

    async def take() -> None:
        async for event in watcher.run():
            found.append(event.payload)
            then(len(found))
            if len(found) >= wanted:
                enough.set()

    taking = asyncio.create_task(take())
    if wanted:
        waiting = asyncio.create_task(enough.wait())
        await asyncio.wait([taking, waiting], timeout=100, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
    await asyncio.wait([taking], timeout=0.3)
    taking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await taking
    return found


def test_the_watcher_wakes_once_a_step_and_does_not_spin(repository, monkeypatch) -> None:
    monkeypatch.setattr(trigger, "POLL_SECONDS", 0.01)
    assert asyncio.run(watch(0)) == []
    repository.publish(1, 2)

    def announce_one(count: int) -> None:
        keep(Settings(), "ticks", count)

    assert asyncio.run(watch(2, announce_one)) == [
        {"newest": 2, "announced": 0},
        {"newest": 2, "announced": 1},
    ]
    assert asyncio.run(watch(0)) == []  # after a restart
    repository.publish(3)
    assert asyncio.run(watch(1)) == [{"newest": 3, "announced": 2}]  # nobody announces it


def test_the_watcher_wakes_again_when_nothing_came_of_it_and_outlives_a_failing_git(repository, monkeypatch) -> None:
    monkeypatch.setattr(trigger, "POLL_SECONDS", 0.01)
    monkeypatch.setattr("airloom.datasets.announcements.AGAIN_SECONDS", 0.2)
    repository.publish(1)
    head = repository.folder / "HEAD"
    text = head.read_text()

    def spoil_once(count: int) -> None:
        if count == 1:
            head.write_text("nonsense")
            threading.Timer(0.3, head.write_text, [text]).start()

    found = asyncio.run(watch(2, spoil_once))
    assert len(found) >= 2
    assert {tuple(event.items()) for event in found} == {(("newest", 1), ("announced", 0))}
