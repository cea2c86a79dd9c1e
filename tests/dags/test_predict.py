"""Batch prediction in a DAG: the last tasks of a pipeline, and the operator of a DAG of one's own."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException

from airloom.errors import ConfigError
from airloom.pipeline.steps import predict
from airloom.spec.load import load_pipeline
from airloom_operators.factory import build_dag
from airloom_operators.predict import BatchPredictOperator
from airloom_operators.templates import names

PROJECT = Path(__file__).resolve().parents[2]
FILE = PROJECT / "configs" / "pipelines" / "digits.yaml"


def write(folder: Path, **changes: object) -> Path:
    made = folder / "digits.yaml"
    values = yaml.safe_load(FILE.read_text()) | changes
    made.write_text(yaml.safe_dump({name: value for name, value in values.items() if value is not None}))
    return made


def test_the_new_champion_answers_what_the_file_names_after_it_serves(tmp_path) -> None:
    one = {"dataset": "incoming", "commit": "answers"}
    dag = build_dag(write(tmp_path, predict=[one]))
    assert dag.get_task("predict").upstream_task_ids == {"resolve", "register", "deploy"}
    assert "- predict: the new champion answers `incoming`" in dag.doc_md
    several = build_dag(write(tmp_path, predict=[one, {"dataset": "digits@v1", "split": "test", "scores": True}]))
    assert [several.get_task(f"predict_{entry}").arguments["entry"] for entry in (0, 1)] == [0, 1]
    assert several.get_task("deploy").downstream_task_ids == {"predict_0", "predict_1"}
    assert str(predict.STEP.key(SimpleNamespace(key="digits/r"), {"entry": 1})) == "digits/r/predict-1"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"predict": [{"dataset": "incoming"}], "deploy": None}, "without `deploy` no run makes one"),
        ({"predict": [{"dataset": "In coming"}]}, "is no name of a dataset"),
        ({"predict": [{"dataset": "incoming", "commit": "No"}]}, "predict.0.commit"),
        ({"predict": [{"dataset": "incoming", "splitt": "test"}]}, "predict.0.splitt"),
        ({"predict": [{}]}, "predict.0.dataset"),
    ],
)
def test_what_the_file_gets_wrong_is_named(tmp_path, changes, says) -> None:
    with pytest.raises(ConfigError) as caught:
        load_pipeline(write(tmp_path, **changes))
    assert says in str(caught.value)


def test_names_come_as_a_list_or_as_text() -> None:
    for given, wanted in ((["a", "b"], ["a", "b"]), ("a, b", ["a", "b"]), ("['a']", ["a"]), ("", []), (None, [])):
        assert names("columns", given) == wanted
    for wrong in ([1], {"a": 1}, [""], "3"):
        with pytest.raises(ConfigError, match=r"columns is .*, no list of names"):
            names("columns", wrong)


@pytest.fixture
def home(migrated, tmp_path, monkeypatch):
    """A home with a dataset, and no model."""
    import shutil

    from airloom.datasets.commit import commit
    from airloom.datasets.ingest.images import image_table
    from airloom.settings import Settings

    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(tmp_path))
    (tmp_path / "home" / "mlflow").mkdir(parents=True)
    shutil.copy(migrated, tmp_path / "home" / "mlflow" / "mlflow.db")
    settings = Settings(home=tmp_path / "home", project=tmp_path, tracking_uri="")
    suite = PROJECT / "configs" / "expectations" / "digits.json"
    labels = np.random.default_rng(0).integers(0, 10, 60)
    images = np.random.default_rng(1).uniform(0, 0.5, (60, 1, 8, 8)).astype(np.float32)
    commit(settings, "digits", image_table(images, labels), message="first", suite=suite)
    return settings


def test_a_model_that_is_not_there_fails_the_task_before_a_job(home) -> None:
    from airflow.sdk.exceptions import AirflowException

    task = BatchPredictOperator(task_id="predict", model="digits@champion", dataset="digits@v1", scores="False")
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="predict", map_index=-1, max_tries=0)
    context = {"ti": ti, "dag": SimpleNamespace(dag_id="d"), "run_id": "r", "task": task}
    with pytest.raises(AirflowException, match="there is no registered model digits"):
        task.execute(context)
    assert not (home.home / "jobs").exists() or not list((home.home / "jobs").iterdir())
    wrong = BatchPredictOperator(task_id="predict", model="digits", dataset="digits", columns=[3])
    with pytest.raises(AirflowFailException, match="columns is"):
        wrong.execute(context)
