"""Folders that are called 0 to 11, then 12 besides, then no more 3; and what the model that serves answers.

python tests/acceptance/classes.py write | ask NUMBER…
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from airloom.registry import models
from airloom.settings import load
from airloom.tracking import artifacts, runs

FOLDER, NAME = Path("data/classes"), "folders"
PIPELINE: dict[str, Any] = {
    "pipeline": NAME,
    "dataset": {"name": NAME, "split": {"train": 0.5, "validation": 0.2, "test": 0.3}},
    "train": "data/classes/model.py:train",
    "parameters": {"epochs": 40, "batch_size": 32},
    "evaluate": {"slices": {"ten": {"label": 10}}},
    "tune": {
        "trials": 1,
        "workers": 1,
        "objective": {"metric": "validation_accuracy"},
        "pruner": "none",
        "space": {"lr": {"float": [0.05, 0.06]}},
    },
    "gate": {
        "first_model": "minimums",
        "at_least": {"accuracy": 0.8, "recall_10": 0.8},
        "against_champion": {"non_inferior_by": 0.3},
    },
    "deploy": {"steps": ["champion"]},
}
MODEL = """
import torch
from airloom.training import fit

def train(run):
    images, _ = run.tensors("train")
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(images[0].numel(), len(run.classes)))
    optimizer = torch.optim.Adam(model.parameters(), lr=run.params["lr"])
    fit(run, model, loss=torch.nn.functional.cross_entropy, optimizer=optimizer)
    run.save_model(model)
"""


def pixels(number: int, row: int = 0) -> "np.ndarray[Any, Any]":
    """A picture of a class: one bright pixel says which."""
    image = np.zeros((4, 4), np.uint8)
    image.flat[number], image.flat[15] = 255, row
    return image


def write() -> None:
    """The folders of two batches, the pipeline and its function."""
    for batch, numbers, rows in (("first", range(12), range(20)), ("second", [12, 10, 3], range(20, 60))):
        for number in numbers:
            folder = FOLDER / batch / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            for row in rows:
                Image.fromarray(pixels(number, row)).save(folder / f"{row}.png")
    (FOLDER / "model.py").write_text(MODEL)
    (FOLDER / "folders.yaml").write_text(yaml.safe_dump(PIPELINE))
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    (FOLDER / "any.json").write_text(json.dumps({"name": "any", "expectations": [rule]}))


def ask(numbers: list[int]) -> None:
    """What the server's own code answers, of the model that serves, to a picture of each class."""
    from airloom.inference.model import LoadedModel

    settings = load()
    version = models.champion(runs.client(settings), NAME)
    assert version is not None
    uri, digests = models.uri_of(version), models.digests_of(version)
    folder = artifacts.fetch_model(settings, uri, digests, settings.home / "cache" / "served" / artifacts.model_id(uri))
    model = LoadedModel.load(NAME, str(version.version), folder, digests)
    asked = [[(pixels(number) / 255).tolist()] for number in numbers]
    print("asked", numbers, "answered", model.answers(model.parse(asked)).predictions)


if __name__ == "__main__":
    ask([int(number) for number in sys.argv[2:]]) if sys.argv[1] == "ask" else write()
