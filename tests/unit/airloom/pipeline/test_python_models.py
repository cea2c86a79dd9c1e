"""A module that no graph can express: trained, judged, registered, asked here and in a batch; served by nobody."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import airloom
from airloom.contracts import RunContext
from airloom.deployment import record
from airloom.errors import ConfigError, JobFailed, RegistryError
from airloom.evaluation.evaluate import evaluate
from airloom.evaluation.gate.evidence import gate
from airloom.inference.model import LoadedModel
from airloom.pipeline import rehearsal
from airloom.pipeline.steps import promote
from airloom.prediction.delivery import Target
from airloom.prediction.job import carry_out
from airloom.prediction.request import Asked, fix
from airloom.registry import card, model_files, models
from airloom.registry.register import register
from airloom.spec.pipeline import Pipeline
from airloom.tracking.artifacts import ONNX, PYTHON, WEIGHTS
from airloom.training.train import train

pytestmark = pytest.mark.timeout(1800)
TRAIN = """
import torch

class Net(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.layer, self.factor = torch.nn.Linear(64, 10, bias=False), factor

    def forward(self, x):
        return torch.stack([self.layer(row.flatten()) * (self.factor if row.sum() > 16 else 1.0) for row in x])

def train(run):
    model = Net(run.params["factor"])
    model.layer.weight.data = torch.eye(64)[:10] * 8
    run.report(0, loss=0.5)
    run.save_model(model, serve="python", arguments={"factor": run.params["factor"]})
"""


@pytest.fixture
def here(world, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_jobs: None):
    """A project under git, with a home and a dataset that others made."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "net.py").write_text(TRAIN)
    keep(project)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("AIRLOOM_HOME", str(world.settings.home))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(project))
    values = world.pipeline.model_dump(mode="json", by_alias=True, exclude_unset=True)
    del values["tune"]
    values |= {"train": "net.py:train", "parameters": {"factor": 3.0}}
    return replace(world, settings=replace(world.settings, project=project), pipeline=Pipeline.model_validate(values))


def keep(project: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(project)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "code"]):
        subprocess.run([*git, *command], check=True)


def test_it_is_judged_registered_and_answers_with_the_code_of_its_commit(here, tmp_path: Path) -> None:
    settings, ctx = here.settings, here.ctx()
    trained = train(settings, here.pipeline, ctx, {})
    assert {PYTHON, WEIGHTS} <= set(trained.digests) and ONNX not in trained.digests
    (settings.project / "net.py").write_text("raise RuntimeError('today')")
    keep(settings.project)
    evaluated = evaluate(settings, here.pipeline, ctx, trained)
    decision = gate(settings, here.pipeline, ctx, evaluated)
    assert decision.passed and evaluated.metrics["accuracy"] == 1.0, decision.reasons
    registered = register(settings, ctx, trained, evaluated, decision)
    name = f"{here.pipeline.pipeline}/{registered.version}"
    told = promote.left_to_people(settings, ctx, registered)
    assert f"{name} is registered; it is Python code" in told and "airloom predict" in told
    assert "float32" in str(models.show(settings, name).signature)
    version = models.find(settings, name)
    facts = {fact.name: fact.value for fact in card.card(settings, version.name, registered.version).sections["Model"]}
    assert "Python code of commit" in facts["kept as"] and "the model server" in facts["it lacks"]

    model = airloom.load_model(name)
    rows = np.zeros((3, 1, 8, 8), np.float32)
    rows[[0, 1, 2], 0, 0, [4, 7, 2]] = 1
    assert model.predict(rows) == [4, 7, 2] and model.inputs[0].shape == (1, 8, 8)
    answers = tmp_path / "answers.parquet"
    assert carry_out(settings, fix(settings, Asked(name, "digits")), Target(str(answers))).rows == 800
    assert answers.exists()

    with pytest.raises(RegistryError, match="which the model server does not run") as refused:
        record.deploy(settings, here.pipeline.pipeline, registered.version)
    assert "airloom predict" in refused.value.hint
    folder, digests = model_files.fetch_signed(settings, version, tmp_path / "cache")
    with pytest.raises(RegistryError, match="which the model server does not run"):
        LoadedModel.load("net", "1", folder, digests)  # as the server and its checker do


def test_a_pipeline_that_would_serve_it_is_refused_before_it_is_stored(here) -> None:
    values = here.pipeline.model_dump(mode="json", by_alias=True, exclude_unset=True)
    pipeline = Pipeline.model_validate(values | {"deploy": {"steps": ["champion"]}})
    ctx: RunContext = here.ctx("deploys")
    with pytest.raises(ConfigError, match="which the model server does not run") as refused:
        train(here.settings, pipeline, ctx, {})
    assert "leave `deploy` out" in refused.value.hint


def test_a_rehearsal_asks_the_code_of_the_commit(here) -> None:
    trained, kept, evaluated, answered = rehearsal._steps(here.settings, here.ctx("rehearsed"))
    assert "net.py:train trained on" in trained
    assert "kept as Python" in kept and "net.py:Net of commit" in kept
    assert "accuracy 1" in evaluated and "answered one row" in answered
    (here.settings.project / "net.py").write_text(TRAIN + "\n# not committed\n")
    with pytest.raises(JobFailed, match=r"net\.py is not as in"):
        list(rehearsal._steps(here.settings, here.ctx("rehearsed")))
