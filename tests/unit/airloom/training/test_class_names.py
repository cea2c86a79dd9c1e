"""Classes by name from the folder to the answer: trained, compared, gated, registered and served."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from airloom.contracts import RunContext, TrainedModel
from airloom.datasets.commit import commit
from airloom.datasets.edit import delete_rows
from airloom.datasets.ingest import from_table
from airloom.datasets.open_rows import open_rows
from airloom.datasets.read import read
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage.schema import Layout
from airloom.errors import ConfigError
from airloom.evaluation.evaluate import PREDICTIONS, evaluate
from airloom.evaluation.gate.evidence import gate
from airloom.files import file_sha256
from airloom.inference.model import LoadedModel
from airloom.processing import Processing
from airloom.registry import card, register
from airloom.spec.pipeline import Pipeline
from airloom.tracking import artifacts, runs
from airloom.training.source import SnapshotSplits
from airloom.training.train import train

SPLIT = {"train": 0.6, "validation": 0.15, "test": 0.25}
CODE = """
import torch

def pixels(run):
    inputs, labels = run.tensors("train")
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(inputs[0].numel(), len(run.classes)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for step in run.steps(120, model=model, optimizer=optimizer):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
    run.report(0, loss=0.5)
    run.save_model(model, inputs[:2])
"""


def means(settings, ctx: RunContext, poor=False, earlier=False, **declared) -> TrainedModel:
    """A model that answers with the class whose mean is the nearest, logged as a training does it, without torch."""
    import mlflow
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    source, client = SnapshotSplits(settings, ctx.snapshot), runs.client(settings)
    columns, labels = source.tensors("train")
    names = [name for name in columns if name.startswith("x")]
    inputs, numbers = np.stack([columns[name].numpy() for name in names], 1), labels.numpy()
    mean = np.stack([inputs[numbers == number].mean(axis=0) for number in range(len(source.classes))], 1)
    weights = np.full_like(mean, 0.1) if poor else mean * 10
    processing = source.declare(Processing(columns=names, **declared))
    processing = processing.model_copy(update={"classes": []}) if earlier else processing
    folder = settings.home / "made" / ctx.mlflow_run
    files, back = folder / "extra_files", folder.with_name(f"{folder.name}-back")
    files.mkdir(parents=True)
    back.mkdir()
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "w"], ["output"])],
        "means",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", len(names)])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", weights.shape[1]])],
        [numpy_helper.from_array(weights.astype(np.float32), "w")],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), files / "model.onnx")
    golden = {"inputs": inputs[:2].tolist(), "outputs": (inputs[:2] @ weights).tolist(), "rtol": 1e-3}
    (files / "golden.json").write_text(json.dumps(golden))
    (files / "processing.json").write_text(processing.model_dump_json())
    (folder / "MLmodel").write_text("flavors: {}\n")
    run = runs.ensure_child(client, ctx, "train", tags={"airloom.code.sha256": "c0de"})
    model = client.create_logged_model(ctx.experiment, name="model", source_run_id=run)
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    got = Path(mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{model.model_id}", dst_path=str(back)))
    digests = {f.relative_to(got).as_posix(): file_sha256(f) for f in got.rglob("*") if f.is_file()}
    return TrainedModel(run, f"models:/{model.model_id}", digests, {}, {})


class Project:
    """A pipeline, its dataset and what it made."""

    def __init__(self, settings, tmp_path: Path, name: str) -> None:
        self.settings, self.name, self.folder, self.count = settings, name, tmp_path, 0
        (settings.project / "named.py").write_text(CODE)
        self.suite = tmp_path / "suite.json"
        rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
        self.suite.write_text(json.dumps({"name": name, "expectations": [rule]}))

    def commit(self, rows):
        return commit(self.settings, self.name, rows, message="rows", suite=self.suite)

    def run(self, version, unknown="count_as_wrong", evaluated=None, function="", model=None, **gated):
        """Train, evaluate, decide; register and deploy what passes. The decision, the evaluation and the context."""
        self.count += 1
        pipeline = Pipeline.model_validate(
            {
                "pipeline": self.name,
                "dataset": {"name": self.name},
                "train": f"named.py:{function or 'pixels'}",
                "tune": {"trials": 1, "objective": {"metric": "loss"}, "space": {"unused": {"int": [1, 2]}}},
                "evaluate": evaluated or {},
                "gate": {
                    "first_model": "minimums",
                    "at_least": {"accuracy": 0.1},
                    "against_champion": {"metric": "accuracy", "non_inferior_by": 0.3, "resamples": 500},
                    "unknown_classes": unknown,
                }
                | gated,
            }
        )
        spec, key = pipeline.model_dump(mode="json", by_alias=True, exclude_unset=True), f"{self.name}/{self.count}"
        experiment, run = runs.ensure_parent(self.settings, self.name, key, {})
        prepared = snapshot.prepare(self.settings, version, SPLIT)
        ctx = RunContext(self.name, spec, key, run, experiment, prepared)
        trained = train(self.settings, pipeline, ctx, {}) if function else means(self.settings, ctx, **(model or {}))
        found = evaluate(self.settings, pipeline, ctx, trained)
        decision = gate(self.settings, pipeline, ctx, found)
        if decision.passed:
            made = register.register(self.settings, ctx, trained, found, decision)
            runs.client(self.settings).set_registered_model_alias(self.name, "champion", made.version)
        self.trained = trained
        return decision, found, ctx

    def kept(self, ctx, path: str) -> Path:
        return Path(runs.client(self.settings).download_artifacts(ctx.mlflow_run, path, str(self.folder)))

    def labels(self, version, *splits):
        if not splits:
            return read(self.settings, version).column("label").to_pylist()
        data = snapshot.open_snapshot(self.settings, snapshot.prepare(self.settings, version, SPLIT))
        return [label for split in splits for label in data.table(split).column("label").to_pylist()]

    def rows_of(self, ctx, name: str) -> int:
        return pq.read_table(self.kept(ctx, PREDICTIONS))["label"].to_pylist().count(name)

    def answers(self, instances):
        folder = self.folder / "cache" / self.trained.mlflow_run
        artifacts.fetch_model(self.settings, self.trained.model_uri, self.trained.digests, folder)
        served = LoadedModel.load(self.name, "1", folder, self.trained.digests)
        return served, served.answers(served.parse(instances)).predictions


@pytest.fixture
def project(settings, tmp_path, request):
    return Project(settings, tmp_path, "zoo")


def animals(names, rows=60, first=0, kind=None) -> object:
    """A column for each kind of animal, bright where the row is of that kind."""
    order = ["ant", "bee", "cat", *(f"kind {n:02}" for n in range(40))]
    generator, count = np.random.default_rng(first), len(names)
    labels = [names[n % count] for n in range(rows)]
    values = generator.uniform(0, 0.1, (rows, len(order)))
    values[np.arange(rows), [order.index(name) for name in labels]] += 1
    columns = {f"x{n:02}": values[:, n] for n in range(len(order))}
    keys = {"key": [f"r{n}" for n in range(first, first + rows)]}
    given = labels if kind is None else [kind(name) for name in labels]
    return from_table(pa.table(keys | columns | {"label": given}), Layout("tabular", "label", "key"))


def bright(name) -> list[float]:
    return [float(n == ["ant", "bee", "cat"].index(name)) for n in range(43)]


def test_a_class_that_comes_and_one_that_goes_are_compared_by_name(project) -> None:
    first = project.commit(animals(["ant", "bee"], 120))
    decision, found, ctx = project.run(first)
    assert decision.passed and "recall_ant" in found.metrics
    assert project.answers([bright("bee"), bright("ant")])[1] == ["bee", "ant"]

    second = project.commit(animals(["cat", "ant", "bee"], 180, 1000))
    refused, _, _ = project.run(second, unknown="refuse")
    assert not refused.passed
    decision, found, ctx = project.run(second)
    assert decision.passed, decision.reasons
    cats = project.rows_of(ctx, "cat")
    said = (
        f"passed: the champion does not know the class 'cat' ({cats} rows); its answers to {cats} rows count as wrong"
    )
    assert said in decision.reasons
    assert f"REFUSED: {said[8:].partition(';')[0]}; gate.unknown_classes is refuse" in refused.reasons
    assert found.champion_metrics["recall_cat"] == 0
    assert found.champion_metrics["recall_ant"] > 0.9  # by its own numbers: there the ant is 0 as well
    assert project.answers([bright("cat"), bright("ant")])[1] == ["cat", "ant"]

    ants = [row for row, label in enumerate(project.labels(second)) if label == "ant"]
    third = delete_rows(project.settings, second, ants, message="no more ants")
    worse, found, _ = project.run(third, model={"poor": True})
    assert not worse.passed  # bee and cat were 1 and 2 for the champion, and are 0 and 1 now
    assert found.champion_metrics["accuracy"] > 0.9
    refused, _, _ = project.run(third, unknown="refuse")
    lost = "the candidate does not know the class 'ant' (0 rows)"
    assert f"REFUSED: {lost}; gate.unknown_classes is refuse" in refused.reasons
    decision, _, _ = project.run(third)
    assert decision.passed, decision.reasons
    assert f"passed: {lost}; no test row shows what that costs" in decision.reasons
    assert project.answers([bright("cat"), bright("bee")])[1] == ["cat", "bee"]


def test_a_champion_of_a_release_without_names_is_compared_by_those_of_its_version(project) -> None:
    first = project.commit(animals(["bee", "cat"], 120))
    assert project.run(first, model={"earlier": True})[0].passed
    second = project.commit(animals(["ant", "bee", "cat"], 180, 1000))
    decision, found, _ = project.run(second)
    assert decision.passed, decision.reasons
    assert (
        found.champion_metrics["recall_bee"] == found.champion_metrics["recall_cat"] == 1
    )  # 0 and 1 then, 1 and 2 now
    assert "does not know the class 'ant'" in decision.reasons[-1]


def test_numbered_folders_are_their_names_everywhere(project, tmp_path) -> None:
    for name in range(12):
        folder = tmp_path / "by_number" / str(name)
        folder.mkdir(parents=True)
        for n in range(12):
            pixels = np.zeros((4, 4), np.uint8)
            pixels.flat[name], pixels.flat[15] = 255, n
            Image.fromarray(pixels).save(folder / f"{n}.png")
    version = project.commit(open_rows(project.settings, "zoo", tmp_path / "by_number", key="path"))
    slices = {"slices": {"tens": {"label": [10, 11]}}}
    gated = {"at_least": {"accuracy": 0.9, "recall_10": 0.5}}
    decision, found, ctx = project.run(version, function="pixels", evaluated=slices, **gated)
    assert decision.passed, decision.reasons
    table = pq.read_table(project.kept(ctx, PREDICTIONS))
    tens = table.filter(pa.compute.equal(table["label"], "10"))
    assert tens["candidate"].to_pylist() == ["10"] * len(tens)
    assert found.metrics["recall_10"] == 1.0
    assert found.slices["tens"]["rows"] == len(tens) + project.rows_of(ctx, "11")
    served, answers = project.answers(
        [[[[float(n == name) for n in range(4 * row, 4 * row + 4)] for row in range(4)]] for name in (2, 10, 1)]
    )
    assert answers == ["2", "10", "1"]
    assert served.classes(12) == [str(number) for number in range(12)]
    assert project.kept(ctx, "evaluation/confusion.png").stat().st_size > 1000


def test_of_many_classes_the_worst_ten_are_shown_and_a_file_has_all(project) -> None:
    names = [f"kind {n:02}" for n in range(40)]
    version = project.commit(animals(names, 400))
    decision, found, ctx = project.run(version, at_least={"accuracy": 0.1, "recall_kind 07": 0.0})
    assert decision.passed, decision.reasons
    shown = [name for name in found.metrics if name.startswith("recall_")]
    assert len(shown) in (10, 11) and "recall_kind 07" in shown
    measured = runs.client(project.settings).get_run(ctx.mlflow_run).data.metrics
    assert len([name for name in measured if "recall" in name]) == len(shown)
    with project.kept(ctx, "evaluation/classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(set(project.labels(version, "test")))
    recalls = [float(row["recall"]) for row in rows if row["recall"]]
    assert recalls == sorted(recalls)
    sheet = card.card(project.settings, "zoo", "1")
    assert len(
        [fact for fact in sheet.sections["Metrics on the test split"] if fact.name.startswith("recall_")]
    ) == len(shown)
    assert any("evaluation/classes.csv" in fact.evidence for fact in sheet.sections["Metrics on the test split"])


def test_names_of_ones_own_are_answered_and_compared_as_the_classes(project) -> None:
    version = project.commit(animals(["ant", "bee"], 80))
    decision, found, _ = project.run(version, model={"labels": ["Ameise", "Biene"]})
    assert decision.passed and found.metrics["recall_bee"] == 1.0
    assert project.answers([bright("bee")])[1] == ["Biene"]
    with pytest.raises(
        ConfigError, match="labels names 2 classes: 'bee', 'ant'; the data have 2: 'ant', 'bee'"
    ) as caught:
        project.run(version, model={"labels": ["bee", "ant"]})
    assert "run.classes" in caught.value.hint


def test_whole_numbers_are_answered_as_they_are_stored(project) -> None:
    version = project.commit(animals(["ant", "bee", "cat"], 90, kind={"ant": 7, "bee": 30, "cat": 400}.get))
    decision, found, _ = project.run(version)
    assert decision.passed and found.metrics["recall_400"] == 1.0
    served, answers = project.answers([bright("cat"), bright("ant")])
    assert (answers, served.classes(3)) == ([400, 7], [7, 30, 400])
