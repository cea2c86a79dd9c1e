"""`airloom run`: which candidate its result is about, with what a run goes on, one at a time, stopped by a person."""

import os
import signal
import threading

import pytest
import yaml

from airloom.contracts import Evaluation
from airloom.errors import ConfigError, StoppedByRequest
from airloom.pipeline import run as pipeline_run
from airloom.pipeline.run import of_chosen, one_at_a_time
from airloom.pipeline.steps.promote import chosen
from airloom.pipeline.steps.resolve import Asked, asked, resolve
from airloom.spec.load import definition
from airloom.tracking import runs
from airloom.tracking.tags import Tag


def trained(name: str) -> dict:
    model = {"mlflow_run": name, "model_uri": f"models:/m-{name}", "digests": {}, "metrics": {}, "parameters": {}}
    return {"tune": [], "study": {"study": f"pair/run/{name}"}, "model": model}


def test_the_chosen_candidate_is_shown_and_not_the_first() -> None:
    candidates = {"cnn": trained("cnn"), "mlp": trained("mlp")}
    evaluation = Evaluation({}, "", {}, "p", 1, candidates=["models:/m-mlp", "models:/m-cnn"])
    name, model = chosen({name: result["model"] for name, result in candidates.items()}, evaluation)
    result = of_chosen(candidates, name)
    assert (result["candidate"], result["model"], result["study"]) == (
        "mlp",
        model.to_dict(),
        {"study": "pair/run/mlp"},
    )
    assert result["candidates"] == candidates


def test_the_only_training_has_no_candidate() -> None:
    assert of_chosen({"": trained("x")}, "") == trained("x")


def test_a_folder_called_like_a_pipeline_does_not_hide_it(tmp_path, make_home, monkeypatch) -> None:
    settings = make_home(tmp_path)
    (settings.project / "configs" / "pipelines").mkdir(parents=True)
    file = settings.project / "configs" / "pipelines" / "boats.yaml"
    file.touch()
    (settings.project / "boats").mkdir()
    (settings.project / "boats" / "__init__.py").touch()
    (settings.project / "planes").mkdir()
    monkeypatch.chdir(settings.project)
    assert pipeline_run.find_file(settings, "boats") == file.resolve()
    assert pipeline_run.find_file(settings, "configs/pipelines/boats.yaml") == file.resolve()
    with pytest.raises(ConfigError, match="there is no pipeline 'planes'"):
        pipeline_run.find_file(settings, "planes")


ASKED = Asked(3, {"epochs": 3, "lr": 0.1})


@pytest.mark.parametrize("version", [None, 3])
@pytest.mark.parametrize("given", [{}, {"epochs": 3}, {"epochs": 3, "lr": 0.1}])
def test_a_run_goes_on_with_its_own_version_and_parameters(version, given) -> None:
    assert ASKED.same("k", version, given) == (3, {"epochs": 3, "lr": 0.1})


@pytest.mark.parametrize(
    ("version", "given", "says"),
    [
        (4, {}, "run k works on version 3, not on 4"),
        (None, {"epochs": 5}, "run k has epochs=3, not with epochs=5"),
        (None, {"epochs": 3, "width": 8}, "run k was started without width, not with width=8"),
    ],
)
def test_others_are_refused_by_name(version, given, says) -> None:
    with pytest.raises(ConfigError) as caught:
        ASKED.same("k", version, given)
    assert caught.value.message == says
    assert "without --key" in caught.value.hint


def test_what_a_run_was_started_with_is_kept_in_its_mlflow_run(world) -> None:
    spec = {**world.ctx("other").spec, "parameters": {"epochs": 1, "size": 8}}
    file = world.settings.project / f"{world.pipeline.pipeline}.yaml"
    file.write_text(yaml.safe_dump(spec))
    key = f"{world.pipeline.pipeline}/mine"
    assert asked(world.settings, file, key) is None
    context = resolve(world.settings, file, key, 1, {"epochs": 7})
    assert asked(world.settings, file, key) == Asked(1, {"epochs": 7})
    kept = runs.client(world.settings).get_run(context.mlflow_run)
    assert (kept.info.run_name, kept.data.params) == (context.snapshot.version_name, {"epochs": "7", "size": "8"})
    assert asked(world.settings, file, f"{world.pipeline.pipeline}/other") is None  # an earlier release started it


def test_who_comes_second_waits_says_so_and_goes_on_then(tmp_path, make_home, monkeypatch) -> None:
    settings, lines, order, second = make_home(tmp_path), [], [], threading.Event()
    monkeypatch.setattr(pipeline_run, "POLL", 0.01)

    def later() -> None:
        with one_at_a_time(settings, "d/r", lambda line: (lines.append(line), second.set())):
            order.append("second")

    with one_at_a_time(settings, "d/r", lines.append):
        thread = threading.Thread(target=later)
        thread.start()
        assert second.wait(30)
        with one_at_a_time(settings, "d/other", lines.append):  # another key does not wait
            order.append("first")
    thread.join(30)
    assert order == ["first", "second"]
    assert lines == ["d/r is at work in another process: this one waits, and gives the same result"]


@pytest.mark.parametrize(("sent", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, StoppedByRequest)])
def test_who_stops_it_learns_how_to_go_on(tmp_path, make_home, sent, raised) -> None:
    settings, lines = make_home(tmp_path), []
    (settings.project / "configs" / "pipelines").mkdir(parents=True)
    file = settings.project / "configs" / "pipelines" / "boats.yaml"
    file.touch()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(raised), pipeline_run._resumable(settings, file.resolve(), "run", "boats/a b", lines.append):
        os.kill(os.getpid(), sent)
        signal.pause()
    assert lines == [
        "stopped: `airloom run boats --key 'boats/a b'` goes on; steps that ended are kept, "
        "a training has its checkpoint"
    ]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_run_that_an_alarm_started_has_to_be_better_and_keeps_its_cause(world) -> None:
    file = world.settings.project / f"{world.pipeline.pipeline}.yaml"
    file.write_text(yaml.safe_dump(world.ctx("other").spec))
    key, cause = f"{world.pipeline.pipeline}/monitor__1", "monitor 1: accuracy fell"
    context = resolve(world.settings, file, key, 1, cause=cause)
    assert definition(context).policy.against_champion.superior
    assert definition(context).policy.first_model == "refuse"
    tags = runs.client(world.settings).get_run(context.mlflow_run).data.tags
    assert tags[Tag.CAUSE] == cause
    assert resolve(world.settings, file, key, 1, cause=cause).spec == context.spec
    for other in ("", "monitor 2: drift"):
        with pytest.raises(ConfigError, match="was started by monitor 1: accuracy fell, not by"):
            resolve(world.settings, file, key, 1, cause=other)
    plain = resolve(world.settings, file, f"{world.pipeline.pipeline}/plain", 1)
    assert not definition(plain).policy.against_champion.superior
    with pytest.raises(ConfigError, match="was started by no alarm, not by monitor 1"):
        resolve(world.settings, file, plain.key, 1, cause=cause)
