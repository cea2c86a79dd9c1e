from pathlib import Path

import mlflow  # noqa: TID253 - a test of MLflow code
import numpy as np
import pytest

from airloom.errors import ConfigError, JobFailed, RegistryError
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tracking.tags import Tag
from airloom.training import TensorSource
from airloom.training.stopping import Budget
from airloom.training.train import train

BEST = {"width": 8}


def test_train_logs_a_model_without_pickle_a_retry_returns_it_and_other_parameters_train_again(
    settings, pipeline, ctx, data
):
    first = train(settings, pipeline, ctx, BEST, data)
    assert {"extra_files/model.onnx", "extra_files/golden.json", "MLmodel"} <= set(first.digests)
    assert not [name for name in first.digests if name.endswith((".pth", ".pkl"))]
    assert train(settings, pipeline, ctx, BEST, data) == first
    api = runs.client(settings)
    run = api.get_run(first.mlflow_run)
    assert (run.info.status, run.data.tags["mlflow.parentRunId"]) == ("FINISHED", ctx.mlflow_run)
    assert len(api.get_metric_history(first.mlflow_run, "validation_accuracy")) == 3
    assert "source/model.py" in [a.path for a in api.list_artifacts(first.mlflow_run, "source")]
    assert len(api.get_run(ctx.mlflow_run).data.tags["airloom.code.sha256"]) == 64
    model = mlflow.pyfunc.load_model(first.model_uri)
    assert model.predict(np.zeros((5, 1, 8, 8), np.float32)).shape == (5, 10)

    other = train(settings, pipeline, ctx, {"width": 4}, data)
    assert other.mlflow_run != first.mlflow_run
    assert other.parameters["width"] == 4


def test_a_raising_function_fails_the_run_with_its_text_and_line(settings, make, ctx, data):
    with pytest.raises(JobFailed, match=r"ValueError: no such layer .*model\.py:\d+"):
        train(settings, make("model.py:raises"), ctx, BEST, data)
    assert runs.find_child(runs.client(settings), ctx, "train").info.status == "FAILED"


def test_a_function_that_saves_nothing_is_an_error(settings, make, ctx, data):
    with pytest.raises(JobFailed, match="saved no model"):
        train(settings, make("model.py:silent"), ctx, BEST, data)


def test_nan_names_epoch_and_value(settings, make, ctx, data):
    with pytest.raises(JobFailed, match=r"is (nan|inf) in epoch \d"):
        train(settings, make(lr=1e30), ctx, BEST, data)


@pytest.mark.parametrize("door", ["tensors", "data", "loader"])
def test_the_test_split_is_out_of_reach(start, door):
    def function(run):
        getattr(run, door)("test", *([2] if door == "loader" else []))

    with pytest.raises(ConfigError, match="cannot read the split 'test'"):
        start(function)


def test_an_empty_split_is_named(settings, pipeline, ctx, data):
    inputs, labels = data.tensors("validation")
    empty = TensorSource({"train": data.tensors("train"), "validation": (inputs[:0], labels[:0])})
    with pytest.raises(ConfigError, match="the validation split is empty"):
        train(settings, pipeline, ctx, BEST, empty)


def test_the_cost_and_the_end_are_recorded(settings, pipeline, ctx, data, tmp_path):
    trained = train(settings, pipeline, ctx, BEST, data, budget=Budget(steps=7), state=tmp_path / "state")
    recorded = runs.client(settings).get_run(trained.mlflow_run).data
    assert recorded.tags["airloom.ended"] == "budget met: steps 7"
    for name in ("device_seconds", "cpu_seconds", "peak_memory_bytes", "samples_per_second"):
        assert recorded.metrics[f"cost.{name}"] > 0
    assert list((tmp_path / "state").glob("training-*/checkpoints/*.pt"))


def test_a_training_that_ended_before_a_failure_is_kept(settings, pipeline, ctx, data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(
            "airloom.training.export.store._digests", raising(OSError("no space"))
        )  # behind the model's logging
        train(settings, pipeline, ctx, BEST, data, state=tmp_path)
    (checkpoint, *_) = sorted(tmp_path.glob("training-*/checkpoints/*.pt"))
    trained = train(settings, pipeline, ctx, BEST, data, state=tmp_path)
    assert checkpoint.exists()
    found = runs.client(settings).search_logged_models([ctx.experiment])
    assert [f"models:/{model.model_id}" for model in found] == [trained.model_uri]
    assert [p.step for p in runs.client(settings).get_metric_history(trained.mlflow_run, "train_loss")] == [0, 1, 2]


def raising(error):
    def function(*args, **kwargs):
        raise error

    return function


def test_the_parent_is_found_again_by_its_key(settings, ctx):
    assert runs.ensure_parent(settings, "small", ctx.key, {}) == (ctx.experiment, ctx.mlflow_run)
    assert runs.ensure_parent(settings, "small", "small/it's another", {})[1] != ctx.mlflow_run


def test_a_dead_server_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "")
    settings = Settings(home=tmp_path, tracking_uri="http://127.0.0.1:9")
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1:9(.|\n)*airloom up"):
        runs.ensure_parent(settings, "small", "k", {})


def test_the_run_and_the_models_environment_name_the_torch_that_trained(settings, pipeline, ctx, data, monkeypatch):
    monkeypatch.setattr("torch.__version__", "9.8.7+cu999")  # as in an environment of resources.interpreter
    trained = train(settings, pipeline, ctx, BEST, data)
    assert runs.client(settings).get_run(trained.mlflow_run).data.tags[Tag.TORCH] == "9.8.7+cu999"
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=trained.model_uri))
    assert "torch==9.8.7" in (folder / "requirements.txt").read_text().splitlines()
