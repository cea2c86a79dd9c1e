"""What a rehearsal tells before the first trial; in this process, and once in its own."""

import json

import pytest
from typer.testing import CliRunner

from airloom.cli import pipelines
from airloom.errors import ConfigError, GateError, JobFailed, StoppedByRequest
from airloom.pipeline import rehearsal
from airloom.pipeline.steps import tune

MODEL = """
import torch
from torch import nn
from airloom.training import Processing, fit

def net(*layers):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), *layers, nn.Linear(8, 10))

def learn(run, model, **more):
    fit(run, model, loss=nn.functional.cross_entropy, optimizer=torch.optim.Adam(model.parameters()), **more)

def train(run):
    model = net(nn.ReLU())
    learn(run, model)
    run.save_model(model)

def norm(run):
    model = net(nn.BatchNorm1d(8))
    images, labels = run.tensors("train")
    rows = (len(images) - 1) // 32 * 32 + 1
    learn(run, model, data=(images[:rows], labels[:rows]), batch_size=32)
    run.save_model(model)

def silent(run):
    run.report(0, accuracy=1.0)

def other(run):
    run.report(0, loss=1.0)

def at(run):
    run.report(0, **{"hit@1": 1.0})

def whole(run):
    run.report(0, accuracy=1.0)
    run.save_model(net(), run.example().to(torch.int32))

def one(run):
    run.report(0, accuracy=1.0)
    run.save_model(nn.Sequential(nn.Flatten(), nn.Linear(64, 1)))

def two(run):
    class Two(nn.Module):
        def forward(self, x):
            return x, x
    run.report(0, accuracy=1.0)
    run.save_model(Two())

def long(run):
    for step in run.steps(10**9):
        run.report(step, accuracy=1.0)
    run.save_model(net())
"""


@pytest.fixture
def rehearse(world):
    """The lines of a rehearsal of a function, with changes of the pipeline."""
    (world.settings.project / "rehearsed.py").write_text(MODEL)

    def call(function="train", how=lambda settings, ctx: list(rehearsal._steps(settings, ctx)), **changes):
        ctx = world.ctx()
        objective = {"metric": "validation_accuracy" if function in ("train", "norm") else "accuracy"}
        spec = ctx.spec | {"train": f"rehearsed.py:{function}", "parameters": {"epochs": 50, "batch_size": 32}}
        spec |= {"tune": ctx.spec["tune"] | {"objective": objective}} | changes
        return how(world.settings, ctx.with_(spec=spec))

    return call


def test_it_trains_exports_evaluates_and_answers(rehearse):
    lines = rehearse()
    assert lines[0].startswith("rehearsed.py:train trained on ")
    assert "exported to ONNX" in lines[1]
    assert "accuracy" in lines[2]
    assert lines[3].startswith("answered one row: ")


def test_a_loop_of_any_length_takes_one_round(rehearse):
    assert len(rehearse("long")) == 4


@pytest.mark.parametrize(
    ("function", "changes", "kind", "message", "hint"),
    [
        ("norm", {}, JobFailed, r"Expected more than 1 value per channel.*rehearsed\.py:\d+", "drop_last=True"),
        ("silent", {}, JobFailed, "saved no model", "run.save_model"),
        ("other", {}, ConfigError, "the objective 'accuracy' was never reported; reported: loss", "tune.objective"),
        ("at", {}, ConfigError, "MLflow takes no metric called 'hit@1'", "hit_1"),
        ("whole", {}, JobFailed, "does not take its example, int32", "as the module gets them"),
        ("two", {}, GateError, "the first of 2 outputs", "a score for each of run.classes"),
        ("one", {}, GateError, "do not fit a model of 1 classes", ""),
        ("missing", {}, ConfigError, "no function 'missing'", "train"),
        (
            "train",
            {"gate": {"at_least": {"acuracy": 0.5}, "against_champion": {"non_inferior_by": 0.1}}},
            ConfigError,
            "gate.at_least: no evaluation measures 'acuracy'",
            "it measures accuracy, log_loss",
        ),
        (
            "train",
            {"gate": {"at_least": {"accuracy": 0.5}, "against_champion": {"metric": "mae", "superior": True}}},
            GateError,
            "mae cannot be compared for classification",
            "accuracy and log_loss go with classes",
        ),
    ],
)
def test_what_would_stop_a_run_after_its_study_is_told(rehearse, function, changes, kind, message, hint):
    with pytest.raises(kind, match=message) as caught:
        rehearse(function, **changes)
    assert hint in caught.value.hint


def test_it_comes_before_the_first_trial_of_new_code_and_once(rehearse, world, monkeypatch):
    called = []

    def told(_, ctx):
        called.append(ctx.candidate)
        if len(called) == 1:
            raise JobFailed("two outputs", "return one")
        return ["fine"]

    monkeypatch.setattr(rehearsal, "rehearse", told)
    with pytest.raises(JobFailed, match="the rehearsal before the first trial failed: two outputs") as caught:
        rehearse(how=rehearsal.before_training)
    assert caught.value.hint == f"return one; {rehearsal.OFF}"
    for _ in range(2):
        rehearse(how=rehearsal.before_training)
    assert len(called) == 2
    rehearse(how=rehearsal.before_training, seed=7)
    rehearse(how=rehearsal.before_training, rehearse=False, seed=8)
    assert len(called) == 3
    code = world.settings.project / "rehearsed.py"
    code.write_text(code.read_text() + "# changed\n")
    rehearse(how=rehearsal.before_training)
    assert len(called) == 4


def test_a_worker_rehearses_before_it_takes_a_slot(rehearse, monkeypatch):
    def stopped(*_):
        raise StoppedByRequest("seen")

    monkeypatch.setattr(rehearsal, "before_training", stopped)
    with pytest.raises(StoppedByRequest, match="seen"):
        rehearse(how=lambda _, ctx: tune.work(ctx.to_dict(), 0))


def test_the_command_says_what_would_run_and_rehearses_in_a_process_of_its_own(rehearse, world, monkeypatch, warm_jobs):
    for name, value in world.settings.as_environment().items():
        monkeypatch.setenv(name, value)

    def check(settings, ctx, *words):
        file = settings.project / f"{ctx.pipeline}.yaml"
        file.write_text(json.dumps(ctx.spec))
        return CliRunner().invoke(pipelines.app, ["check", str(file), *words])

    done = rehearse(how=lambda settings, ctx: check(settings, ctx, "--run"))
    assert done.exit_code == 0, done.output + str(done.exception)
    assert "trains: rehearsed.py:train, with epochs=50, batch_size=32" in done.stdout
    assert "searches: width 4 to 8" in done.stdout
    assert "gate: accuracy at least 0.5; against the champion accuracy worse by less than 0.05" in done.stdout
    assert "answered one row: " in done.stdout
    failed = rehearse("two", how=lambda settings, ctx: check(settings, ctx, "--run")).exception
    assert isinstance(failed, GateError)
    assert "the first of 2 outputs" in str(failed)
    assert rehearse("two", how=check).exit_code == 0  # without --run nothing of it is known
    missing = rehearse(how=check, train="nowhere.py:train").exception
    assert isinstance(missing, ConfigError)
    assert "there is no file nowhere.py" in str(missing)
