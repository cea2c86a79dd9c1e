"""Texts and numbers through the same steps: committed, trained, evaluated by tag, gated, registered, served."""

import json
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest

from airloom.contracts import RunContext
from airloom.datasets.commit import commit
from airloom.datasets.ingest import from_table
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage.schema import Layout
from airloom.errors import JobFailed
from airloom.evaluation.evaluate import evaluate
from airloom.evaluation.gate.evidence import gate
from airloom.inference.model import LoadedModel
from airloom.registry import register
from airloom.spec.pipeline import Pipeline
from airloom.tracking import artifacts, runs
from airloom.training.execute import execute
from airloom.training.reporting.sink import ReportSink
from airloom.training.run import TrainingRun
from airloom.training.source import SnapshotSplits
from airloom.training.train import train

SPLIT = {"train": 0.6, "validation": 0.15, "test": 0.25}
CODE = """
import torch
from airloom.training import Normalise, Processing, Tokenise

class Words(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.embedding, self.out = torch.nn.Embedding(size, 8), torch.nn.Linear(8, 2)
    def forward(self, tokens):
        mask = (tokens != 0).unsqueeze(-1).float()
        return self.out((self.embedding(tokens) * mask).sum(1) / mask.sum(1).clamp_min(1.0))

def fitted(run, model, inputs, targets, loss):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for epoch in run.epochs(60, model=model, optimizer=optimizer):
        optimizer.zero_grad()
        found = loss(model(inputs), targets)
        found.backward()
        optimizer.step()
    run.report(0, loss=found.item())

def words(run):
    texts, labels = run.tensors("train")
    tokenise = Tokenise.learn(texts, size=50, length=8)
    tokens = torch.from_numpy(tokenise(texts))
    model = Words(tokenise.size)
    fitted(run, model, tokens, labels, torch.nn.functional.cross_entropy)
    run.save_model(model, tokens[:2], processing=Processing(tokenise=tokenise, labels=["bad", "good"]))

def numbers(run):
    columns, labels = run.tensors("train")
    inputs = torch.stack([columns["miles"].float(), columns["hour"].float()], 1)
    model = torch.nn.Sequential(Normalise.of(inputs), torch.nn.Linear(2, 1))
    fitted(run, model, inputs, labels.float()[:, None], torch.nn.functional.mse_loss)
    run.save_model(model, inputs[:2], processing=Processing(columns=["miles", "hour"]))
"""


def texts(first: int) -> tuple[pa.Table, Layout]:
    said = {"good": ["well made", "works well", "a good one"], "bad": ["it broke", "bad at once", "broke, bad"]}
    labels = [["bad", "good"][n % 2] for n in range(first, first + 200)]
    words = [f"{said[label][n % 3]} number {n}" for n, label in enumerate(labels, first)]
    return pa.table({"text": words, "label": labels}), Layout("text", "label")


def flights(first: int) -> tuple[pa.Table, Layout]:
    generator = np.random.default_rng(first)
    miles, hour = generator.uniform(100, 900, 200), generator.integers(0, 24, 200)
    late = miles / 500 + generator.normal(0, 0.05, 200)
    return pa.table({"hour": hour, "miles": miles, "late": late}), Layout("tabular", "late")


KINDS = {
    "words": (texts, {"accuracy": 0.9}, {"metric": "accuracy", "non_inferior_by": 0.1}),
    "numbers": (flights, {"r2": 0.5}, {"metric": "mae", "non_inferior_by": 0.1}),
}


@pytest.mark.matrix("name", KINDS, sample=["words"])
def test_another_kind_of_data_goes_the_same_way(settings, tmp_path, name):
    make, minimums, against = KINDS[name]
    (settings.project / "kinds.py").write_text(CODE)
    suite = tmp_path / "suite.json"
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    suite.write_text(json.dumps({"name": name, "expectations": [rule]}))
    for first, tag in ((0, "source=shop"), (200, "source=phone")):
        table, layout = make(first)
        version = commit(settings, name, from_table(table, layout), message="rows", tags=[tag], suite=suite)
    pipeline = Pipeline.model_validate(
        {
            "pipeline": name,
            "dataset": {"name": name},
            "train": f"kinds.py:{name}",
            "tune": {"trials": 1, "objective": {"metric": "loss"}, "space": {"unused": {"int": [1, 2]}}},
            "evaluate": {"slices": {"phones": {"tag": "source=phone"}}},
            "gate": {
                "first_model": "minimums",
                "at_least": minimums,
                "against_champion": against,
                "slices": {"phones": {"at_least": minimums, "non_inferior_by": 0.3}},
            },
        }
    )
    spec = pipeline.model_dump(mode="json", by_alias=True, exclude_unset=True)
    prepared = snapshot.prepare(settings, version, SPLIT)
    champion = None
    for key in ("one", "two"):
        experiment, run = runs.ensure_parent(settings, name, f"{name}/{key}", {})
        ctx = RunContext(name, spec, f"{name}/{key}", run, experiment, prepared)
        trained = train(settings, pipeline, ctx, {})
        found = evaluate(settings, pipeline, ctx, trained)
        assert found.champion_version == (champion or "")
        assert found.champion_problem == ""
        assert 0 < found.slices["phones"]["rows"] < found.rows
        decision = gate(settings, pipeline, ctx, found)
        assert decision.passed, decision.reasons
        made = register.register(settings, ctx, trained, found, decision)
        champion = made.version
        runs.client(settings).set_registered_model_alias(name, "champion", champion)
    assert len(decision.reasons) == 4  # minimum, champion, and both of the slice
    folder = artifacts.fetch_model(settings, trained.model_uri, trained.digests, tmp_path / "cache" / "m")
    served = LoadedModel.load(name, champion, folder, trained.digests)
    if name == "words":
        assert served.answers(served.parse(["well made, a good one", "it broke at once"])).predictions == [
            "good",
            "bad",
        ]
    else:
        assert served.answers(served.parse([[500.0, 12]])).predictions == [pytest.approx(1.0, abs=0.2)]


def test_columns_with_empty_cells_are_named_before_a_training_and_where_it_diverges(settings, tmp_path, caplog):
    suite = tmp_path / "suite.json"
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    suite.write_text(json.dumps({"name": "gaps", "expectations": [rule]}))
    columns = {"x": [None, *map(float, range(19))], "y": range(20), "word": ["", None, *"abcdefghijklmnopqr"]}
    table = pa.table(columns | {"label": [n % 2 for n in range(20)]})
    rows = from_table(table, Layout("tabular", "label"))
    version = commit(settings, "gaps", rows, message="rows", suite=suite)
    source = SnapshotSplits(settings, snapshot.prepare(settings, version, {"train": 1.0}))
    run, other = (TrainingRun({}, 0, source, mock.Mock(spec=ReportSink)) for _ in range(2))
    said = "empty cells come as NaN in the column x"
    with pytest.raises(JobFailed, match=f"(?s)training diverged: loss is nan in step 0; {said}.*fill them in"):
        execute(lambda run: run.report(0, loss=run.tensors("train")[0]["x"].mean()), run, "f.py:f")
    assert said in caplog.text
    caplog.clear()
    execute(lambda run: run.report(0, loss=run.tensors("train")[0]["y"].float().mean()), other, "f.py:f")
    assert said in caplog.text  # a training may know what to do with them
