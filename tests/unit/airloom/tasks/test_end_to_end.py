"""A task from `dataset commit` to an answer of `load_model`: trained, evaluated, gated against a champion, served."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

import airloom
from airloom.datasets.commit import commit
from airloom.datasets.ingest import from_arrays
from airloom.datasets.ingest.images import image_table
from airloom.datasets.storage.schema import Layout
from airloom.evaluation.gate.simulate import simulate
from airloom.pipeline.run import run_pipeline
from airloom.registry import card
from airloom.spec.load import load_pipeline
from airloom.tracking import runs

pytestmark = pytest.mark.timeout(1800)
MODEL = """
import torch
from airloom.training import Processing

def learn(run, model, loss, inputs, labels):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for step in run.steps(run.params["steps"], model=model, optimizer=optimizer):
        optimizer.zero_grad()
        value = loss(model(inputs), labels)
        value.backward()
        optimizer.step()
    run.report(0, loss=value)

def several(run):
    x, y = run.tensors("train")
    model = torch.nn.Linear(4, 3)
    learn(run, model, torch.nn.functional.binary_cross_entropy_with_logits, x["x"], y.float())
    run.save_model(model, x["x"][:2], processing=Processing(columns=["x"], classes=["red", "round", "big"]))

def numbers(run):
    x, y = run.tensors("train")
    model = torch.nn.Linear(4, 2)
    learn(run, model, torch.nn.functional.mse_loss, x["x"], y.float())
    run.save_model(model, x["x"][:2], processing=Processing(columns=["x"]))

def masks(run):
    x, y = run.tensors("train")
    model = torch.nn.Conv2d(1, 3, 1)
    learn(run, model, torch.nn.CrossEntropyLoss(ignore_index=255), x, y.long())
    run.save_model(model, x[:2])
"""


class Project:
    """A home with one pipeline."""

    def __init__(self, settings) -> None:
        self.settings = settings
        (settings.project / "model.py").write_text(MODEL)
        suites = settings.project / "configs" / "expectations"
        suites.mkdir(parents=True, exist_ok=True)
        rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
        for name in ("several", "numbers", "masks"):
            (suites / f"{name}.json").write_text(json.dumps({"name": name, "expectations": [rule]}))

    def file(self, name: str, task: str, gate: dict, **more) -> Path:
        made = self.settings.project / f"{name}.yaml"
        gate = {"first_model": "minimums", **gate}
        values = {"pipeline": name, "dataset": {"name": name}, "train": f"model.py:{name}", "task": task, "gate": gate}
        values["parameters"] = {"steps": 60}
        made.write_text(yaml.safe_dump(values | {"deploy": {"steps": ["champion"]}, "rehearse": False} | more))
        return made

    def run(self, file: Path, **parameters):
        return run_pipeline(self.settings, file, lambda _: None, **parameters)

    def kept(self, result, path: str, folder: Path) -> Path:
        run = result["context"]["mlflow_run"]
        return Path(runs.client(self.settings).download_artifacts(run, path, str(folder)))


@pytest.fixture
def project(make_home, tmp_path_factory, monkeypatch, warm_jobs):
    settings = make_home(tmp_path_factory.mktemp("tasks"))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("AIRLOOM_HOME", str(settings.home))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(settings.project))
    return Project(settings)


@pytest.mark.long
def test_several_labels(project, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(400, 4)).astype(np.float32)
    labels = (inputs[:, :3] + generator.normal(0, 0.3, (400, 3)) > 0).astype(np.int8)
    rows = {"x": inputs, "label": labels, "patient": np.arange(400) // 2}
    commit(project.settings, "several", from_arrays(rows, Layout("generic", "label")), message="first", author="Ada")
    rule = {"metric": "macro_f1", "non_inferior_by": 0.1, "resamples": 500}
    file = project.file(
        "several", "multilabel", {"at_least": {"macro_f1": 0.6}, "against_champion": rule}, rehearse=True
    )
    first = project.run(file)
    assert first["gate"]["passed"], first["gate"]["reasons"]
    second = project.run(file, parameters={"steps": 80})
    assert second["gate"]["passed"], second["gate"]["reasons"]
    assert "macro_f1: a gain of" in " ".join(second["gate"]["reasons"])
    measured = second["evaluation"]["metrics"]
    assert {"exact_match", "label_accuracy", "log_loss", "macro_f1", "micro_f1", "auc", "average_precision"} <= set(
        measured
    )
    table = pq.read_table(project.kept(second, "evaluation/predictions.parquet", tmp_path))
    assert {"label", "candidate", "candidate.chances", "champion.chances"} <= set(table.column_names)
    assert project.kept(second, "evaluation/labels.png", tmp_path).read_bytes().startswith(b"\x89PNG")
    model = airloom.load_model("several@champion")
    sure = [[3, 3, -3, 0], [-3, -3, -3, 0]]
    assert [sorted(names) for names in model.predict(sure)] == [["red", "round"], []]
    told = model.predict(sure, scores=True, top=1)
    assert told["classes"] == ["red", "round", "big"] and np.shape(told["scores"]) == (2, 3)
    assert told["top"][0][0]["class"] in ("red", "round")
    rates = simulate(project.settings, load_pipeline(file), trials=20)
    assert rates.false_promotions.promoted <= 5
    facts = card.card(project.settings, "several", model.version).sections["Model"]
    assert ("task", "multilabel") in [(fact.name, fact.value) for fact in facts]


@pytest.mark.long
def test_several_numbers(project) -> None:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(400, 4)).astype(np.float32)
    labels = np.stack([inputs.sum(axis=1), inputs[:, 0] - inputs[:, 1]], 1) + generator.normal(0, 0.1, (400, 2))
    rows = {"x": inputs, "y": labels, "patient": np.arange(400) // 2}
    commit(project.settings, "numbers", from_arrays(rows, Layout("generic", "y")), message="first", author="Ada")
    rule = {"metric": "mse", "non_inferior_by": 2.0, "resamples": 500, "group": "patient"}
    file = project.file("numbers", "regression", {"at_least": {"r2": 0.2}, "against_champion": rule}, rehearse=True)
    assert project.run(file)["gate"]["passed"]
    second = project.run(file, parameters={"steps": 90})
    assert second["gate"]["passed"]
    assert "groups by patient" in " ".join(second["gate"]["reasons"])
    (answer,) = airloom.load_model("numbers@champion").predict([[1, 0, 0, 0]])
    assert len(answer) == 2 and abs(answer[0] - 1) < 0.5


@pytest.mark.long
def test_masks(project) -> None:
    generator = np.random.default_rng(0)
    images = generator.uniform(size=(300, 1, 6, 5)).astype(np.float32)
    masks = np.digitize(images[:, 0], [0.4, 0.7]).astype(np.uint8)
    masks[:, 0, 0] = 255
    commit(project.settings, "masks", image_table(images, masks), message="first", author="Ada")
    rule = {"metric": "mean_iou", "non_inferior_by": 0.3, "resamples": 500}
    file = project.file(
        "masks", "segmentation", {"at_least": {"mean_iou": 0.1}, "against_champion": rule}, rehearse=True
    )
    assert project.run(file)["gate"]["passed"]
    second = project.run(file, parameters={"steps": 90})
    assert second["gate"]["passed"], second["gate"]["reasons"]
    assert {"mean_dice", "pixel_accuracy", "iou_0"} <= set(second["evaluation"]["metrics"])
    (mask,) = airloom.load_model("masks@champion").predict(images[:1])
    assert np.shape(mask) == (6, 5) and (np.array(mask) == masks[0])[1:].mean() > 0.5


OWN = """
import torch
from airloom.tasks import Task

class Close(Task):
    def merits(self, outputs, labels):
        return {"close": abs(outputs["output"][:, 0] - labels[:, 0]) < 0.5}

def gained(outputs, labels, rows):
    return -float((abs(outputs["output"][:, 0] - labels[:, 0]) * (1 + rows["patient"] % 2)).mean())
"""


@pytest.mark.long
def test_a_task_and_a_metric_of_ones_own(project) -> None:
    """One number of all rows, by groups: the gate and the simulation call the function of the project again."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(300, 4)).astype(np.float32)
    labels = np.stack([inputs.sum(axis=1), inputs[:, 0]], 1) + generator.normal(0, 0.1, (300, 2))
    rows = {"x": inputs, "y": labels, "patient": np.arange(300) // 2}
    commit(project.settings, "numbers", from_arrays(rows, Layout("generic", "y")), message="first", author="Ada")
    (project.settings.project / "own.py").write_text(OWN)
    rule = {"metric": "gained", "non_inferior_by": 0.1, "resamples": 100, "group": "patient"}
    gate = {"at_least": {"close": 0.01}, "against_champion": rule}
    own = {"evaluate": {"metrics": "own.py:gained"}}
    file = project.file("numbers", "own.py:Close", gate, **own)
    assert project.run(file)["gate"]["passed"]
    second = project.run(file, parameters={"steps": 90})
    assert second["gate"]["passed"], second["gate"]["reasons"]
    assert {"close", "gained"} <= set(second["evaluation"]["metrics"])
    assert simulate(project.settings, load_pipeline(file), trials=10).rows > 50
    assert len(airloom.load_model("numbers@champion").predict([[1, 0, 0, 0]])[0]) == 2
