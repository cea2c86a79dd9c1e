"""A project whose training function has helpers, a dataset, and a pipeline that ran once, for real."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from airloom.pipeline.run import run_pipeline

MODEL = """
import torch
from helpers.net import Net
from airloom.training import fit

def train(run):
    with open("extra.txt") as file:  # read by path, and not declared
        file.read()
    model = Net(run.params["width"])
    optimizer = torch.optim.SGD(model.parameters(), lr=run.params["lr"])
    fit(run, model, loss=torch.nn.functional.cross_entropy, optimizer=optimizer)
    run.save_model(model)
"""
NET = """
import torch
from . import sizes

class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, sizes.times(width)),
                                          torch.nn.ReLU(), torch.nn.Linear(sizes.times(width), 10))
    def forward(self, x):
        return self.layers(x)
"""
PIPELINE = {
    "pipeline": "cached",
    "dataset": {"name": "digits"},
    "train": "model.py:train",
    "inputs": ["data"],
    "parameters": {"epochs": 3, "batch_size": 32, "lr": 0.5},
    "rehearse": False,  # its own tests are pipeline/test_rehearsal.py
    "tune": {
        "trials": 1,
        "epochs": 1,
        "objective": {"metric": "validation_accuracy"},
        "space": {"width": {"int": [8, 8]}},
    },
    "gate": {
        "at_least": {"accuracy": 0.01},
        "first_model": "minimums",
        "against_champion": {"non_inferior_by": 0.1, "resamples": 500},
    },
    "deploy": {"steps": ["champion"]},
}


def table(seed: int, rows: int = 300):
    from airloom.datasets.ingest.images import image_table

    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 10, rows)
    images = generator.uniform(0, 0.5, (rows, 64)).astype(np.float32)
    images[np.arange(rows), labels] = 1
    return image_table(images.reshape(-1, 1, 8, 8), labels)


@pytest.fixture(scope="session", name="rows_of")
def _rows_of():
    return table


class Project:
    """One pipeline in a home of its own."""

    def __init__(self, settings) -> None:
        self.settings, self.file, self.said = settings, settings.project / "cached.yaml", list[str]()

    def write(self, **changes) -> None:
        self.file.write_text(yaml.safe_dump(PIPELINE | changes))

    def run(self, **options):
        self.said.clear()
        return run_pipeline(self.settings, self.file, self.said.append, **options)

    def run_while_the_file_changes(self):
        """Each line of progress finds another pipeline file, none of which is what the run began with."""
        self.said.clear()

        def spoil(line):
            self.said.append(line)
            if self.said[0] != line:  # the first one is said while `resolve` reads
                self.write(pipeline="another", seed=len(self.said), gate={"at_least": {"accuracy": 1.0}})

        try:
            return run_pipeline(self.settings, self.file, spoil)
        finally:
            self.write()


@pytest.fixture(scope="session")
def ran(make_home, tmp_path_factory, warm_start):
    """The project after its first run."""
    from airloom.datasets.commit import commit

    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.setenv(name, "")
        settings = make_home(tmp_path_factory.mktemp("cached"))
        root = settings.project
        for name, text in {
            "model.py": MODEL,
            "helpers/__init__.py": "",
            "helpers/net.py": NET,
            "helpers/sizes.py": "def times(width):\n    return 2 * width\n",
            "README.md": "first",
            "extra.txt": "1",
            "data/table.csv": "1,2",
            "constraints.txt": "numpy==2.1\n",
        }.items():
            (root / name).parent.mkdir(exist_ok=True, parents=True)
            (root / name).write_text(text)
        suite = Path(__file__).parents[4] / "configs" / "expectations" / "digits.json"
        (root / "configs" / "expectations").mkdir(parents=True)
        shutil.copy(suite, root / "configs" / "expectations")
        commit(settings, "digits", table(0), message="first", author="Ada", tags=["source=phone"])
        project = Project(settings)
        project.write()
        with warm_start.starts():  # no longer: this lasts as long as the session, and tests of processes come next
            project.first = project.run_while_the_file_changes()
        project.first_said = list(project.said)
        yield project


@pytest.fixture(scope="module", autouse=True)
def start_warm(warm_jobs):
    """These tests are about what is run again, and not about processes."""


@pytest.fixture
def changed(ran):
    """Undo what a test changes in the project."""
    kept = ran.settings.project.with_name("kept")
    shutil.copytree(ran.settings.project, kept)
    yield ran
    shutil.rmtree(ran.settings.project)
    Path(kept).rename(ran.settings.project)
