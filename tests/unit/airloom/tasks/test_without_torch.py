"""From `dataset commit` to an answer of `load_model` in this process, with a graph made by hand: nothing is trained."""

import json
from pathlib import Path

import numpy as np
import pytest

import airloom
from airloom.contracts import RunContext, TrainedModel
from airloom.datasets.commit import commit
from airloom.datasets.ingest import from_arrays
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage.schema import Layout
from airloom.errors import ConfigError
from airloom.evaluation.evaluate import evaluate
from airloom.evaluation.gate.evidence import EVIDENCE, PAGE, gate
from airloom.evaluation.gate.simulate import simulate
from airloom.files import file_sha256
from airloom.pipeline.rehearsal import check_labels
from airloom.processing import Processing
from airloom.registry import card, register
from airloom.spec.pipeline import Pipeline
from airloom.tasks import declared, find
from airloom.tracking import runs

pytestmark = pytest.mark.timeout(900)
OWN = """
def saved(outputs, labels, rows):
    return -(abs((outputs["output"] > 0) != labels).sum(axis=1) * (1 + rows["patient"] % 2))
"""


def logged(settings, ctx: RunContext, weights: np.ndarray, processing: Processing) -> TrainedModel:
    """A model that multiplies its inputs, logged as a training does it."""
    import mlflow
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder = settings.home / "made" / ctx.mlflow_run
    files, back = folder / "extra_files", folder.with_name(f"{folder.name}-back")
    files.mkdir(parents=True)
    back.mkdir()
    given, width = weights.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "w"], ["output"])],
        "multiplies",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", given])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(weights.astype(np.float32), "w")],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), files / "model.onnx")
    golden = {"inputs": np.eye(2, given).tolist(), "outputs": weights[:2].tolist(), "rtol": 1e-3}
    (files / "golden.json").write_text(json.dumps(golden))
    (files / "processing.json").write_text(processing.model_dump_json())
    (folder / "MLmodel").write_text("flavors: {}\n")
    client = runs.client(settings)
    run = runs.ensure_child(client, ctx, "train", tags={"airloom.code.sha256": "c0de"})
    model = client.create_logged_model(ctx.experiment, name="model", source_run_id=run)
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    got = Path(mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{model.model_id}", dst_path=str(back)))
    digests = {f.relative_to(got).as_posix(): file_sha256(f) for f in got.rglob("*") if f.is_file()}
    return TrainedModel(run, f"models:/{model.model_id}", digests, {}, {})


def test_several_labels_by_a_metric_of_all_rows_of_groups(make_home, tmp_path: Path, monkeypatch) -> None:
    settings = make_home(tmp_path / "home")
    monkeypatch.setenv("AIRLOOM_HOME", str(settings.home))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(settings.project))
    (settings.project / "own.py").write_text(OWN)
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(500, 3)).astype(np.float32)
    labels = (inputs + generator.normal(0, 0.5, inputs.shape) > 0).astype(np.int8)
    rows = {"x": inputs, "label": labels, "patient": np.arange(500) // 2}
    suite = tmp_path / "suite.json"
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    suite.write_text(json.dumps({"name": "boxes", "expectations": [rule]}))
    version = commit(
        settings, "boxes", from_arrays(rows, Layout("generic", "label")), message="rows", author="Ada", suite=suite
    )
    against = {"metric": "macro_f1", "non_inferior_by": 0.1, "resamples": 400, "group": "patient"}
    pipeline = Pipeline.model_validate(
        {
            "pipeline": "boxes",
            "dataset": {"name": "boxes"},
            "train": "own.py:train",
            "task": "multilabel",
            "evaluate": {"metrics": "own.py:saved"},
            "gate": {
                "first_model": "minimums",
                "at_least": {"macro_f1": 0.5, "saved": -3},
                "against_champion": against,
            },
        }
    )
    prepared = snapshot.prepare(settings, version, {"train": 0.3, "validation": 0.1, "test": 0.6})
    spec = pipeline.model_dump(mode="json", by_alias=True, exclude_unset=True)
    names = declared(find("multilabel", settings.project), Processing(columns=["x"], classes=["red", "round", "big"]))
    turned = names.model_copy(update={"classes": ["big", "round", "red"]})
    decisions = []
    # The second numbers its labels the other way round, and is as good; the third takes one label for another.
    models = [(np.eye(3), names), (2 * np.eye(3)[:, ::-1], turned), (np.eye(3)[:, [1, 0, 2]], names)]
    for number, (weights, processing) in enumerate(models):
        experiment, run = runs.ensure_parent(settings, "boxes", f"boxes/{number}", {})
        ctx = RunContext("boxes", spec, f"boxes/{number}", run, experiment, prepared)
        trained = logged(settings, ctx, weights, processing)
        found = evaluate(settings, pipeline, ctx, trained)
        decisions.append((gate(settings, pipeline, ctx, found), found, ctx))
        if decisions[-1][0].passed:
            made = register.register(settings, ctx, trained, found, decisions[-1][0])
            runs.client(settings).set_registered_model_alias("boxes", "champion", made.version)
    assert [decision.passed for decision, _, _ in decisions] == [True, True, False]
    reasons = " ".join(decisions[1][0].reasons)
    assert "macro_f1: a gain of +0.0000" in reasons and "groups by patient" in reasons
    metrics = {"exact_match", "label_accuracy", "log_loss", "macro_f1", "micro_f1", "auc", "average_precision", "saved"}
    assert metrics <= set(decisions[1][1].metrics)
    client, ctx = runs.client(settings), decisions[1][2]
    evidence = json.loads(Path(client.download_artifacts(ctx.mlflow_run, EVIDENCE, str(tmp_path))).read_text())
    assert (evidence["task"], evidence["comparison"]["units"] < evidence["comparison"]["rows"]) == ("multilabel", True)
    assert "task multilabel" in Path(client.download_artifacts(ctx.mlflow_run, PAGE, str(tmp_path))).read_text()
    model = airloom.load_model("boxes@champion")
    assert [sorted(said) for said in model.predict([[1, 1, -1], [-1, -1, -1]])] == [["red", "round"], []]
    told = model.predict([[1, 1, -1]], scores=True, top=1)
    assert told["classes"] == ["big", "round", "red"] and np.shape(told["scores"]) == (1, 3)
    facts = card.card(settings, "boxes", model.version).sections["Model"]
    assert ("task", "multilabel") in [(fact.name, fact.value) for fact in facts]
    rates = simulate(settings, pipeline, trials=20)
    assert rates.false_promotions.promoted <= 5
    other = pipeline.model_copy(update={"task": "segmentation"})
    opened = snapshot.open_snapshot(settings, prepared)
    check_labels(settings, pipeline, opened.schema, "label")
    with pytest.raises(ConfigError, match="task tokens needs"):
        check_labels(settings, pipeline.model_copy(update={"task": "tokens"}), opened.schema, "patient")
    with pytest.raises(ConfigError, match="task segmentation needs masks"):
        check_labels(settings, other, opened.schema, "patient")
