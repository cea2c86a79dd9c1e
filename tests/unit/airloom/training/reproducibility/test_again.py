"""`airloom reproduce` and `airloom check-determinism`: real jobs that train again what a real run trained."""

import json

import pytest
import typer
import yaml
from typer.testing import CliRunner

from airloom.cli import reproduce
from airloom.errors import ConfigError, JobFailed, RegistryError
from airloom.tracking import runs
from airloom.training.train import train

CODE = """
import time
import torch
from airloom.training import fit

def good(run):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.1), torch.nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.params["lr"])
    fit(run, model, loss=torch.nn.functional.cross_entropy, optimizer=optimizer)
    run.save_model(model)

def chance(run):
    model = torch.nn.Linear(2, 1)
    for step in run.steps(4, model=model):
        run.report(step, loss=time.time() if step == 2 else 1.0)
    run.save_model(model)

def silent(run):
    pass
"""
app = typer.Typer()
app.command()(reproduce.reproduce)
app.command()(reproduce.check_determinism)


@pytest.fixture
def again(world, monkeypatch, warm_jobs):
    """A pipeline whose function is one of CODE, and the command line."""
    settings = world.settings
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    name = world.pipeline.pipeline
    code = settings.project / f"{name}.py"

    class Again:
        file, api = settings.project / f"{name}.yaml", runs.client(settings)

        def write(self, function):
            code.write_text(CODE)
            values = {"train": f"{code.name}:{function}", "parameters": {"epochs": 2, "batch_size": 64, "lr": 0.01}}
            said = world.pipeline.model_dump(mode="json", by_alias=True, exclude_unset=True) | values
            self.pipeline = type(world.pipeline).model_validate(said)
            self.file.write_text(yaml.safe_dump(said))

        def trained(self):
            self.write("good")
            return train(settings, self.pipeline, world.ctx(), {"width": 4}).mlflow_run

        def edit(self, text):
            code.write_text(text)

        def run(self, *words):
            return CliRunner().invoke(app, list(words))

    return Again()


def test_a_run_is_trained_again_to_the_same_bits_also_when_its_file_has_changed_since(again):
    run = again.trained()
    done = again.run("reproduce", run)
    assert done.stdout == f"BITWISE EQUAL: run {run}\n", done.output + str(done.exception)
    again.edit(CODE.replace("Dropout(0.1)", "Dropout(0.9)"))
    found = json.loads(again.run("reproduce", run, "--json").stdout)
    assert (found["verdict"], found["first_step"]) == ("BITWISE EQUAL", None)
    assert "has changed since; the run's own copy was trained" in found["notes"][0]


@pytest.mark.long
def test_another_seed_differs_from_the_first_step_on(again):
    run = again.trained()
    again.api.set_tag(run, "airloom.seed", "1")
    done = again.run("reproduce", run)
    assert done.exit_code == 1
    assert done.stdout.startswith(f"DIFFERS: run {run}\nthe first step that differs is 0 (train_loss)")


def test_what_cannot_be_trained_again_is_named(again, world):
    assert isinstance(again.run("reproduce", "0" * 32).exception, RegistryError)
    run = runs.ensure_child(again.api, world.ctx(), "train", tags={"airloom.code.function": "model.py:train"})
    again.api.set_tag(run, "airloom.parameters", "{}")  # and which snapshot it trained on is said nowhere
    failed = again.run("reproduce", run).exception
    assert isinstance(failed, RegistryError)
    assert "does not say what it trained: no airloom.snapshot.record" in str(failed)


@pytest.mark.long
def test_a_deterministic_function_is_called_that(again):
    again.write("good")
    done = again.run("check-determinism", str(again.file))
    assert done.exit_code == 0, done.output + str(done.exception)
    assert done.stdout.startswith("BITWISE EQUAL: ")
    unknown = again.run("check-determinism", str(again.file), "-p", "learning_rate=1").exception
    assert isinstance(unknown, ConfigError)
    assert "unknown parameters: learning_rate" in str(unknown)


def test_a_function_of_chance_differs_at_the_step_that_is_named(again):
    again.write("chance")
    done = again.run("check-determinism", str(again.file))
    assert done.exit_code == 1
    assert "DIFFERS: " in done.stdout
    assert "the first step that differs is 2 (loss)" in done.stdout


def test_a_function_that_saves_nothing_cannot_be_compared(again):
    again.write("silent")
    failed = again.run("check-determinism", str(again.file)).exception
    assert isinstance(failed, JobFailed)
    assert "silent saved no module" in str(failed)
