"""One run a dataset version, whatever is stopped, repeated or cleared. Comes before test_loop.py ends the stack."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import psutil
import pytest

from airloom.datasets.commit import commit
from airloom.datasets.ingest.images import image_table
from airloom.errors import NothingChanged
from airloom.stack import control
from airloom.stack.airflow_api import AirflowApi

pytestmark = [pytest.mark.system, pytest.mark.timeout(600, func_only=True)]
STOPPED = ("airflow-scheduler", "airflow-triggerer")
WAITING = ("ticks_one", "ticks_two")
DAGS = """
from airflow.sdk import DAG

from airloom_operators.announce import build_announcer
from airloom_operators.assets import each_version
from airloom_operators.resolve import ResolveOperator

announcer = build_announcer("ticks")
for name in ("ticks_one", "ticks_two"):
    with DAG(name, schedule=each_version("ticks"), max_active_runs=1, default_args={"owner": "airloom"}) as dag:
        ResolveOperator(task_id="resolve", pipeline_file="ticks.yaml")
    globals()[name] = dag
"""


class Ticks:
    """A dataset with two DAGs that resolve each of its versions."""

    def __init__(self, airloom, api: AirflowApi) -> None:
        self.settings, self.api, self.count = airloom.settings, api, 0
        text = (airloom.project / "configs" / "pipelines" / "digits.yaml").read_text()
        text = text.replace("pipeline: digits", "pipeline: ticks").replace("name: digits", "name: ticks")
        (airloom.project / "ticks.yaml").write_text(text)
        (airloom.project / "dags" / "ticks.py").write_text(DAGS)
        self.suite = airloom.project / "configs" / "expectations" / "digits.json"

    def commit(self, seed: int | None = None) -> int:
        """Commit from outside Airflow; a new seed gives new rows."""
        self.count += seed is None
        random = np.random.default_rng(self.count if seed is None else seed)
        rows = image_table(random.uniform(0.1, 0.6, (50, 1, 8, 8)).astype(np.float32), random.integers(0, 10, 50))
        return commit(self.settings, "ticks", rows, message="tick", suite=self.suite).number

    def runs(self, dag: str) -> list[dict[str, Any]]:
        return self.api.dag_runs(dag)

    def finished(self, versions: int) -> bool:
        """Whether both DAGs ended a run for each of so many versions."""
        states = [[run["state"] for run in self.runs(dag)] for dag in WAITING]
        return all(len(found) >= versions and set(found) == {"success"} for found in states)

    def check(self, versions: int) -> None:
        """Both DAGs have exactly one run a version, in order, each with its own version."""
        for dag in WAITING:
            runs = self.runs(dag)
            assert [run["partition_key"] for run in runs] == [f"v{n}" for n in range(1, versions + 1)], dag
            assert {run["run_type"] for run in runs} == {"asset_triggered"}
            started = [run["start_date"] for run in runs]
            assert started == sorted(started)
            resolved = [self.api.xcom(dag, run["dag_run_id"], "resolve")["snapshot"]["version"] for run in runs]
            assert resolved == list(range(1, versions + 1))


def until(true: Callable[[], bool], seconds: float = 150) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def ticks(airloom) -> Iterator[Ticks]:
    with AirflowApi(airloom.settings) as api:
        made = Ticks(airloom, api)
        made.commit()
        until(lambda: made.finished(1))
        yield made


def gone(pid: int) -> bool:
    """Whether nothing of a process group lives; its leader stays a zombie while supervisord cannot reap it."""
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == pid and process.status() != psutil.STATUS_ZOMBIE:
                return False
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return True


@contextmanager
def stopped(settings, *signals: signal.Signals) -> Iterator[None]:
    """Scheduler and triggerer are ended; supervisord, which would start them again, sleeps until the block ends."""
    supervisor = psutil.Process(control.supervisor_pid(settings))
    pids = [state.pid for state in control.states(settings) if state.name in STOPPED]
    assert len(pids) == 2
    supervisor.suspend()
    try:
        for pid, number in [(pid, number) for number in signals for pid in pids]:
            if not gone(pid):
                os.killpg(pid, number)
                time.sleep(2)
        until(lambda: all(gone(pid) for pid in pids), 100)
        yield
    finally:
        supervisor.resume()


@pytest.mark.long  # `make test` has bursts in dags/test_announcing.py, and make accept NAME=datasets plays one
def test_a_burst_while_airflow_is_stopped_gives_each_version_its_run_also_after_another_restart(ticks) -> None:
    with stopped(ticks.settings, signal.SIGTERM, signal.SIGKILL):
        assert [ticks.commit() for _ in range(5)] == [2, 3, 4, 5, 6]
        assert [len(ticks.runs(dag)) for dag in WAITING] == [1, 1]
    until(lambda: ticks.finished(6))
    ticks.check(6)
    with stopped(ticks.settings, signal.SIGKILL):
        pass
    control.wait_healthy(ticks.settings, print, 120)
    assert ticks.commit() == 7  # when this one is through, an event too many would be as well
    until(lambda: ticks.finished(7))
    ticks.check(7)


def test_a_commit_without_change_starts_nothing(ticks) -> None:
    with pytest.raises(NothingChanged):
        ticks.commit(seed=ticks.count)
    before = ticks.count
    ticks.commit()
    until(lambda: ticks.finished(before + 1))
    ticks.check(before + 1)


def test_clearing_or_starting_the_announcing_task_announces_nothing_twice(ticks) -> None:
    dag, wanted = "announce-ticks", {"success", "failed", "skipped"}
    (run,) = [
        run["dag_run_id"]
        for run in ticks.runs(dag)
        if [t["state"] for t in ticks.api.tasks(dag, run["dag_run_id"])] == ["success"]
        and ticks.api.xcom(dag, run["dag_run_id"], "announce")["version"] == 2
    ]
    ticks.api.clear(dag, run, "announce")
    by_hand = ticks.api.trigger(dag, {})

    def ended() -> bool:
        (again,), (other,) = ticks.api.tasks(dag, run), ticks.api.tasks(dag, by_hand)
        return again["try_number"] == 2 and {again["state"], other["state"]} <= wanted

    until(ended)
    assert [ticks.api.tasks(dag, name)[0]["state"] for name in (run, by_hand)] == ["skipped", "skipped"]
    before = ticks.count
    ticks.commit()
    until(lambda: ticks.finished(before + 1))
    ticks.check(before + 1)


def test_every_dag_on_a_dataset_got_one_run_for_each_of_the_demos_versions(airloom) -> None:
    with AirflowApi(airloom.settings) as api:
        for dag in ("digits", "digits_for_others"):
            runs = [run for run in api.dag_runs(dag) if run["run_type"] == "asset_triggered"]
            assert [run["partition_key"] for run in runs] == ["v1", "v2"], dag
        until(lambda: {run["state"] for run in api.dag_runs("digits_for_others")} == {"success"})
    files = sorted(path.name[:9] for path in (airloom.project / "exports").iterdir())
    assert files == ["digits-v1", "digits-v2"]
