"""The dataset operators in a DAG, on a real data repository."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from airloom.datasets import versions
from airloom.datasets.snapshots import snapshot
from airloom.datasets.validation import quarantine
from airloom.settings import Settings
from airloom_operators.base import who
from airloom_operators.datasets.commit import CommitDatasetOperator
from airloom_operators.datasets.compact import CompactDatasetOperator
from airloom_operators.datasets.export import ExportDatasetOperator
from airloom_operators.datasets.forget import ForgetRowsOperator
from airloom_operators.datasets.manage import DeleteDatasetOperator, TagDatasetOperator
from airloom_operators.datasets.prepare import PrepareSnapshotOperator

LOW = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "height", "min_value": 0, "max_value": 99}}


def write_project(folder: Path) -> None:
    """A suite, two good batches of trees and one with a tree of 900 metres."""
    suite = folder / "configs" / "expectations" / "trees.json"
    suite.parent.mkdir(parents=True)
    suite.write_text(json.dumps({"name": "trees", "expectations": [LOW], "meta": {}}))
    batches = {"oaks": range(1, 30), "pines": range(30, 60), "spoiled": [900]}
    for name, heights in batches.items():
        lines = [f"{height},{name}{height},{int(height > 20)}" for height in heights]
        (folder / f"{name}.csv").write_text("\n".join(["height,tree,tall", *lines]))


def build():
    from airflow.sdk import DAG

    trees: dict[str, Any] = {"dataset": "trees", "author": "Ada"}
    with DAG("tree_work", schedule=None, default_args={"trigger_rule": "all_done", "retries": 0}) as dag:
        [
            CommitDatasetOperator(
                task_id="oaks", source="oaks.csv", message="oaks", type="tabular", label="tall", key="tree", **trees
            ),
            CommitDatasetOperator(task_id="oaks_again", source="oaks.csv", message="oaks", **trees),
            CommitDatasetOperator(task_id="pines", source="pines.csv", message="pines", tags=["kind=pine"], **trees),
            CommitDatasetOperator(task_id="spoiled", source="spoiled.csv", message="very tall", **trees),
            TagDatasetOperator(task_id="tag", version="trees@v2", tag="golden"),
            PrepareSnapshotOperator(
                task_id="prepare", version="trees@golden", split={"train": 0.5, "test": 0.5}, tags=["kind=pine"]
            ),
            ExportDatasetOperator(
                task_id="export", name="{{ ti.xcom_pull('prepare')['id'] }}", target="out/train.parquet", split="train"
            ),
            CompactDatasetOperator(task_id="compact", dataset="trees"),
            DeleteDatasetOperator(task_id="delete", name="trees@v1", reason="only oaks"),
            PrepareSnapshotOperator(task_id="no_rows", version="trees", tags=["kind=fir"]),
        ]
        tasks = dag.tasks
        for before, after in itertools.pairwise(tasks):
            before >> after
    return dag


class Result:
    """The states and return values of a run."""

    def __init__(self, run: Any) -> None:
        tasks = {ti.task_id: ti for ti in run.get_task_instances()}
        self.states = {name: str(ti.state) for name, ti in tasks.items()}
        self.values = {name: ti.xcom_pull(task_ids=name) for name, ti in tasks.items()}


@pytest.fixture(scope="module")
def done(register, tmp_path_factory, warm_jobs) -> Result:
    folder = tmp_path_factory.mktemp("trees")
    write_project(folder)
    dag = build()
    register(dag)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRLOOM_HOME", str(folder / "home"))
        patch.setenv("AIRLOOM_PROJECT", str(folder))
        result = Result(dag.test())
    result.settings = Settings(home=folder / "home", project=folder)
    return result


def test_a_commit_makes_a_version_and_the_same_rows_again_skip(done) -> None:
    assert (done.states["oaks"], done.states["oaks_again"], done.states["pines"]) == ("success", "skipped", "success")
    assert done.values["oaks"]["name"] == "trees@v1"
    assert [v.name for v in versions.list_versions(done.settings, "trees")] == ["trees@v2"]
    newest = versions.latest(done.settings, "trees")
    assert (newest.author, newest.tags, newest.rows, newest.source) == ("Ada", ["kind=pine"], 59, "pines.csv")


def test_rows_that_do_not_pass_fail_the_task_and_lie_in_quarantine(done) -> None:
    assert done.states["spoiled"] == "failed"
    (held,) = quarantine.list_batches(done.settings)
    assert (held.dataset, held.rows) == ("trees", 1)


def test_a_snapshot_is_prepared_and_a_split_of_it_exported(done) -> None:
    made = done.values["prepare"]
    assert done.states["prepare"] == "success"
    assert sum(made["rows"].values()) == 30
    assert snapshot.record(done.settings, made["id"])["state"] == snapshot.READY
    assert done.values["export"]["rows"] == made["rows"]["train"]
    assert pq.read_table(done.values["export"]["path"]).num_rows == made["rows"]["train"]


def test_a_snapshot_that_fails_fails_its_task(done) -> None:
    assert done.states["no_rows"] == "failed"


def test_tag_compaction_and_deletion_leave_the_version_what_it_was(done) -> None:
    assert done.values["tag"] == {"tag": "trees@golden", "version": "trees@v2"}
    assert done.states["compact"] == "success"
    assert (done.values["compact"]["version"], done.values["compact"]["shards"]) == ("trees@v2", 1)
    assert done.values["delete"] == {"deleted": ["trees@v1"]}
    assert versions.tagged(done.settings, "trees", "golden").id == done.values["pines"]["id"]


def test_who_triggered_the_run_is_the_author_and_a_schedule_is_the_service(done) -> None:
    gone = versions.deletions(done.settings.data_repo, "trees")["1"]
    assert gone["who"] == "dag_test"  # as Airflow calls who runs `dag.test`
    triggered, scheduled = (SimpleNamespace(triggering_user_name=name) for name in ("ada", None))
    assert who({"dag_run": triggered}, done.settings) == "ada"
    assert who({"dag_run": scheduled}, done.settings) == who({}, done.settings) == "airloom (service)"
    context = {"dag_run": triggered, "dag": SimpleNamespace(dag_id="d"), "run_id": "manual__1"}
    context["ti"] = SimpleNamespace(task_id="t", map_index=-1)
    operator = CommitDatasetOperator(task_id="t", dataset="trees", source="oaks.csv", message="oaks")
    assert "ada" in json.dumps(operator.job_of(done.settings, context)[1].to_dict())


def test_rows_are_forgotten_by_a_file_of_keys_that_airflow_does_not_keep(
    register, tmp_path, monkeypatch, warm_jobs
) -> None:
    from airflow.sdk import DAG

    write_project(tmp_path)
    (tmp_path / "keys.txt").write_text("oaks3\noaks4\n")
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(tmp_path))
    with DAG("tree_forgetting", schedule=None, default_args={"retries": 0}) as dag:
        kinds = {"type": "tabular", "label": "tall", "key": "tree"}
        rows = CommitDatasetOperator(task_id="oaks", dataset="trees", source="oaks.csv", message="oaks", **kinds)
        gone = ForgetRowsOperator(task_id="forget", dataset="trees", keys_file="keys.txt", reason="felled")
        rows >> gone
    register(dag)
    values = Result(dag.test()).values["forget"]
    assert values["done"] and values["versions"] == {"trees@v1": 2} and values["version"] == "trees@v2"
    assert "oaks3" not in json.dumps(values)
    jobs = [path for path in (tmp_path / "home" / "jobs").rglob("*") if path.is_file()]
    launched = [path for path in jobs if b"airloom.retention.forget" in path.read_bytes()]
    assert launched and not any(b"oaks3" in path.read_bytes() for path in jobs if path.parent == launched[0].parent)
