"""How the MLflow run of a pipeline run ends, in a real store: by an error, by a person, and open again."""

import os
import signal

import pytest

from airloom.errors import JobFailed, MlflowAway, StoppedByRequest
from airloom.tracking import runs
from airloom.tracking.ending import end_run, ending, open_again
from airloom.tracking.tags import Tag


def seen(world, run: str) -> tuple[str, str | None]:
    found = runs.client(world.settings).get_run(run)
    return found.info.status, found.data.tags.get(Tag.OUTCOME)


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (JobFailed("train failed", "look"), ("FAILED", "failed")),
        (ValueError("a fault of ours"), ("FAILED", "failed")),
        (KeyboardInterrupt(), ("KILLED", "stopped")),
        (StoppedByRequest("enough"), ("KILLED", "stopped")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_ends_the_run_and_goes_on_its_way(small, error: BaseException, end: tuple[str, str]) -> None:
    ctx = small.ctx()
    with pytest.raises(type(error)) as raised, ending(small.settings, ctx):
        raise error
    assert raised.value is error
    assert seen(small, ctx.mlflow_run) == end


def test_ctrl_c_is_a_person(small) -> None:
    ctx = small.ctx()
    with pytest.raises(KeyboardInterrupt), ending(small.settings, ctx):
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
    assert seen(small, ctx.mlflow_run) == ("KILLED", "stopped")


def test_what_goes_well_ends_itself(small) -> None:
    ctx = small.ctx()
    with ending(small.settings, ctx):
        pass
    assert seen(small, ctx.mlflow_run) == ("RUNNING", None)


def test_without_mlflow_the_error_comes_at_once(small) -> None:
    ctx = small.ctx()
    with pytest.raises(MlflowAway), ending(small.settings, ctx):
        raise MlflowAway("MLflow does not answer", "airloom up")
    assert seen(small, ctx.mlflow_run) == ("RUNNING", None)


def test_a_run_that_mlflow_lost_hides_no_error(small, caplog: pytest.LogCaptureFixture) -> None:
    ctx = small.ctx()
    runs.client(small.settings).delete_run(ctx.mlflow_run)
    with pytest.raises(JobFailed), ending(small.settings, ctx):
        raise JobFailed("train failed", "look")
    assert f"MLflow run {ctx.mlflow_run} stays open" in caplog.text


def test_a_run_opens_again_and_takes_back_only_what_went_badly(small) -> None:
    ctx = small.ctx()
    end_run(small.settings, ctx.mlflow_run, "KILLED", "stopped")
    for _ in range(2):
        open_again(small.settings, ctx.mlflow_run)
        assert seen(small, ctx.mlflow_run) == ("RUNNING", None)
    end_run(small.settings, ctx.mlflow_run, "FINISHED", "deployed")
    open_again(small.settings, ctx.mlflow_run)
    assert seen(small, ctx.mlflow_run) == ("RUNNING", "deployed")


def test_mlflow_calls_a_run_by_its_data_and_by_how_it_ended(small) -> None:
    settings, api = small.settings, runs.client(small.settings)
    experiment, run = runs.ensure_parent(settings, "small", "small/titled", {Tag.DATASET: "small@v1"})

    def name() -> str:
        return api.get_run(run).info.run_name

    assert name() == "small@v1"
    end_run(settings, run, "FAILED", "failed")
    assert name() == "small@v1 · failed"
    open_again(settings, run)
    assert name() == "small@v1"
    runs.log_metrics(api, run, {"test_accuracy": 0.98123, "test_mae": 2.5, "test_size_mb": 1.0}, 0)
    end_run(settings, run, "FINISHED", "deployed")
    assert name() == "small@v1 · accuracy 0.981 · deployed"
    end_run(settings, run, "FINISHED", "refused", "mae")
    assert name() == "small@v1 · mae 2.5 · refused"
    assert runs.find_run(api, experiment, "small/titled").info.run_id == run  # by its key, whatever its name
