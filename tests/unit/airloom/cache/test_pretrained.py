"""A run that begins with weights, for real: they decide the cache, stand in lineage, and cannot change under it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from airloom.cache import lookup
from airloom.datasets.commit import commit
from airloom.errors import AirloomError, ConfigError
from airloom.lineage import trace, why
from airloom.pipeline.run import run_pipeline
from airloom.pipeline.steps import train
from airloom.pipeline.steps.resolve import resolve
from airloom.registry.card import card
from airloom.registry.card_pages import markdown
from airloom.training.reproducibility.reproduce import step as train_again

pytestmark = pytest.mark.timeout(900)
MODEL = """
import numpy as np
import torch
from airloom.training import fit

class Net(torch.nn.Module):
    def __init__(self, start):
        super().__init__()
        self.base = torch.nn.Linear(64, 16, bias=False)
        self.base.weight.data.copy_(torch.from_numpy(start))
        self.base.requires_grad_(False)
        self.head = torch.nn.Linear(16, 10)
    def forward(self, x):
        return self.head(self.base(x.flatten(1)))

def train(run):
    place = run.weights("encoder")
    model = Net(np.load(place / "base.npy"))
    optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1)
    fit(run, model, loss=torch.nn.functional.cross_entropy, optimizer=optimizer)
    run.save_model(model)
"""
PIPELINE = {
    "pipeline": "began",
    "dataset": {"name": "digits"},
    "train": "model.py:train",
    "inputs": [{"name": "encoder", "path": "weights"}],
    "parameters": {"epochs": 1, "batch_size": 64},
    "rehearse": False,
}


class Project:
    def __init__(self, settings) -> None:
        self.settings, self.file = settings, settings.project / "began.yaml"
        self.file.write_text(yaml.safe_dump(PIPELINE))
        self.said: list[str] = []

    def weights(self, seed: int) -> None:
        (self.settings.project / "weights").mkdir(exist_ok=True)
        values = np.random.default_rng(seed).normal(0, 0.1, (16, 64)).astype(np.float32)
        np.save(self.settings.project / "weights" / "base.npy", values)

    def run(self, **options):
        self.said = []
        return run_pipeline(self.settings, self.file, self.said.append, **options)


@pytest.fixture(scope="module")
def project(make_home, tmp_path_factory, rows_of, warm_jobs):
    settings = make_home(tmp_path_factory.mktemp("began"))
    (settings.project / "model.py").write_text(MODEL)
    suite = Path(__file__).parents[4] / "configs" / "expectations" / "digits.json"
    (settings.project / "configs" / "expectations").mkdir(parents=True)
    shutil.copy(suite, settings.project / "configs" / "expectations")
    commit(settings, "digits", rows_of(0), message="first", author="Ada")
    made = Project(settings)
    made.weights(1)
    made.first = made.run()
    made.first_said = list(made.said)
    return made


@pytest.fixture
def asked(project):
    """What the cache says to the training of a new run."""

    def ask():
        context = resolve(project.settings, project.file, "began/again")
        return lookup.look_up(project.settings, context, train.STEP, {})

    return ask


def test_weights_are_read_as_declared_and_the_run_says_which(project) -> None:
    assert not [line for line in project.first_said if "no declared input" in line]
    version = f"began/{project.first['registered']['version']}"
    lineage = trace.trace(project.settings, version)
    assert lineage.pretrained["encoder"]["found"] == "weights"
    shown = next(line for line in trace.render(lineage).splitlines() if "began with" in line)
    assert shown.strip().startswith("└ began with encoder: weights, sha256 ")
    text = markdown(card(project.settings, "began", project.first["registered"]["version"]))
    assert f"sha256 {lineage.pretrained['encoder']['sha256']}" in text
    assert lineage.to_dict()["pretrained"] == lineage.pretrained


def test_the_same_weights_are_a_hit_and_others_are_another_run(project, asked) -> None:
    assert asked().hit
    project.weights(2)
    try:
        with pytest.raises(ConfigError, match=r"run began/again began with weights encoder of sha256 \w{12}, not with"):
            asked()
        context = resolve(project.settings, project.file, "began/others")
        decision = lookup.look_up(project.settings, context, train.STEP, {})
        assert (decision.hit, decision.why) == (False, ["input weights encoder: base.npy changed"])
        second = here(project, train.train, context.to_dict())["model"]["mlflow_run"]
    finally:
        project.weights(1)
    difference = why.why(project.settings, project.first["model"]["mlflow_run"], second)
    assert list(difference.parts)[:3] == ["data", "pretrained", "code"]
    assert list(difference.pretrained.diff) == ["encoder"]
    assert not difference.pretrained.same
    assert difference.data.same and difference.code.same and difference.parameters.same
    with pytest.raises(AirloomError, match="weights encoder"):  # what it began with is no longer there
        here(project, train_again, second)


def here(project, job, *arguments):
    """What a job does, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**project.settings.as_environment(), "HF_HUB_OFFLINE": ""}.items():
            patch.setenv(name, value)
        return job(*arguments)


def test_a_training_is_repeated_with_its_weights(project) -> None:
    assert here(project, train_again, project.first["model"]["mlflow_run"])["verdict"] == "BITWISE EQUAL"


def test_weights_that_change_after_resolve_stop_the_job(project) -> None:
    context = resolve(project.settings, project.file, "began/changed")
    project.weights(3)
    try:
        with pytest.raises(AirloomError, match=r"weights encoder: base\.npy of .* changed since the run began"):
            here(project, train.train, context.to_dict())
    finally:
        project.weights(1)
