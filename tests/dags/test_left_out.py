"""DAGs of pipelines without `tune`, `gate`, `deploy`."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException

from airloom.contracts import RunContext, Snapshot
from airloom.jobs.table import Attempts
from airloom.registry import models
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tracking.tags import Tag
from airloom_operators.factory import build_dag

PROJECT = Path(__file__).resolve().parents[2]
FILE = PROJECT / "configs" / "pipelines" / "digits.yaml"
ALL = ["resolve", "tune", "train", "evaluate", "gate", "register", "deploy"]
MODEL = """
import torch
from airloom.training import fit

def train(run):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    fit(run, model, loss=torch.nn.functional.cross_entropy, optimizer=torch.optim.SGD(model.parameters(), lr=0.5))
    run.save_model(model)
"""


def write(folder: Path, *left_out: str, **changes: object) -> Path:
    values = {name: value for name, value in yaml.safe_load(FILE.read_text()).items() if name not in left_out}
    made = folder / "digits.yaml"
    made.write_text(yaml.safe_dump(values | changes))
    return made


@pytest.mark.parametrize("left_out", [(), ("tune",), ("deploy",), ("gate", "deploy"), ("tune", "gate", "deploy")])
def test_a_step_that_is_left_out_has_no_task_and_the_others_keep_their_order(tmp_path, left_out) -> None:
    dag = build_dag(write(tmp_path, *left_out))
    order = [task.task_id for task in dag.topological_sort()]
    assert order == [name for name in ALL if name not in left_out]
    for before, after in itertools.pairwise(order):
        assert after in dag.get_task(before).downstream_task_ids
    for name in ("tune", "gate", "deploy"):
        assert (f"- no `{name}`: " in dag.doc_md) == (name in left_out)
    register = dag.get_task("register")
    assert (register.decision is None) == ("gate" in left_out)


def test_candidates_without_a_study_train_side_by_side(tmp_path) -> None:
    both = {"cnn": {"train": "examples/digits/model.py:train"}, "mlp": {"train": "examples/digits/mlp.py:train"}}
    dag = build_dag(write(tmp_path, "tune", "train", candidates=both))
    assert dag.get_task("resolve").downstream_task_ids >= {"train_cnn", "train_mlp"}
    assert dag.get_task("evaluate").upstream_task_ids == {"resolve", "train_cnn", "train_mlp"}


def test_a_task_of_what_is_left_out_fails_at_once_and_says_why(tmp_path, monkeypatch) -> None:
    """A DAG by hand of such a pipeline: what nobody judged is not deployed by a run."""
    from airloom_operators.deploy import DeployOperator

    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    spec = yaml.safe_load(write(tmp_path, "tune", "gate", "deploy").read_text())
    context = RunContext("digits", spec, "digits/r", "0" * 32, "1", Snapshot("s", "digits", 1, "v", "c", {}, {}))
    version = {"model": "digits", "version": "1", "mlflow_run": "0" * 32}
    deploy = DeployOperator(task_id="deploy", context=context.to_dict(), registered=version)
    with pytest.raises(AirflowFailException, match="nobody judges what pipeline digits trains") as caught:
        deploy.execute({})
    assert "`airloom model promote digits/VERSION`" in str(caught.value)


@pytest.mark.long  # quick: the tasks above, and the run without Airflow in unit/airloom/pipeline
def test_a_pipeline_with_only_train_runs_to_a_registered_version(tmp_path, register, monkeypatch, capfd) -> None:
    from airloom.datasets.commit import commit
    from airloom.datasets.ingest.images import image_table

    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(tmp_path))
    settings = Settings(home=tmp_path / "home", project=tmp_path, tracking_uri="")
    (tmp_path / "model.py").write_text(MODEL)
    suite = PROJECT / "configs" / "expectations" / "digits.json"
    labels = np.random.default_rng(0).integers(0, 10, 200)
    images = np.random.default_rng(1).uniform(0, 0.5, (200, 64)).astype(np.float32)
    images[np.arange(200), labels] = 1
    table = image_table(images.reshape(-1, 1, 8, 8), labels)
    commit(settings, "only", table, message="first", author="Ada", suite=suite)
    file = tmp_path / "only.yaml"
    values = {"pipeline": "only", "dataset": {"name": "only"}, "train": "model.py:train", "parameters": {"epochs": 1}}
    file.write_text(yaml.safe_dump(values))
    dag = build_dag(file)
    register(dag)
    run = dag.test(run_conf={}, use_executor=False)
    states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
    assert states == dict.fromkeys(["resolve", "train", "evaluate", "register"], "success")
    assert "nobody judged it, and the pipeline file has no `deploy`" in capfd.readouterr().out
    assert {a.key.rpartition("/")[2] for a in Attempts(settings.database_address).recent()} == {"train", "evaluate"}
    shown = models.show(settings, "only/1")
    assert shown.tags[Tag.STUDY] == "not tuned"
    assert shown.tags[Tag.GATE].startswith("NOT JUDGED")
    client = runs.client(settings)
    assert models.champion(client, "only") is None
    parent = client.get_run(shown.tags[Tag.RUN])
    assert (parent.info.status, parent.data.tags[Tag.OUTCOME]) == ("FINISHED", "registered")
