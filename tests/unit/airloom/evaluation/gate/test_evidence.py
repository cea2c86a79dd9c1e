"""Evaluation and gate over a real dataset, real ONNX models and a real MLflow store."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airloom.contracts import Evaluation, RunContext
from airloom.datasets.snapshots.snapshot import load_split
from airloom.errors import CorruptFile, GateError, RegistryError, SignatureRefused
from airloom.evaluation.evaluate import PREDICTIONS, evaluate
from airloom.evaluation.gate.evidence import EVIDENCE, PAGE, gate
from airloom.evaluation.gate.simulate import render, simulate
from airloom.pipeline.steps import evaluate as evaluate_step
from airloom.pipeline.steps import promote
from airloom.spec.pipeline import Pipeline
from airloom.tracking import runs
from airloom.tracking.tags import Tag


def keep(world, ctx: RunContext, folder: Path, table: pa.Table) -> None:
    pq.write_table(table, folder / "predictions.parquet")
    runs.client(world.settings).log_artifact(ctx.mlflow_run, str(folder / "predictions.parquet"), "evaluation")


def read(world, ctx: RunContext, folder: Path, path: str) -> Path:
    return Path(runs.client(world.settings).download_artifacts(ctx.mlflow_run, path, str(folder)))


@pytest.fixture
def champion(world):
    """A champion that has one class wrong."""
    made = world.register("champion", wrong=(3,))
    runs.client(world.settings).set_registered_model_alias(made.model, "champion", made.version)
    return made


@pytest.fixture
def compared(world, champion) -> tuple[RunContext, Evaluation]:
    ctx = world.ctx("candidate")
    return ctx, evaluate(world.settings, world.pipeline, ctx, world.train(ctx))


def test_a_champion_that_was_changed_in_mlflow_is_not_evaluated(world, champion) -> None:
    client = runs.client(world.settings)
    tags = client.get_model_version(champion.model, champion.version).tags
    client.set_model_version_tag(champion.model, champion.version, Tag.MODEL_URI, world.train(world.ctx("x")).model_uri)
    ctx = world.ctx("candidate")
    with pytest.raises(SignatureRefused, match="were changed"):
        evaluate(world.settings, world.pipeline, ctx, world.train(ctx))
    client.set_model_version_tag(champion.model, champion.version, Tag.MODEL_URI, tags[Tag.MODEL_URI])
    assert evaluate(world.settings, world.pipeline, ctx, world.train(ctx)).champion_version == champion.version


def test_the_first_model_is_evaluated_and_passes(world, tmp_path: Path) -> None:
    ctx = world.ctx()
    found = evaluate(world.settings, world.pipeline, ctx, world.train(ctx))
    _, labels = load_split(world.settings, world.snapshot, "test")
    assert (found.champion_version, found.champion_metrics, found.rows) == ("", {}, len(labels))
    table = pq.read_table(read(world, ctx, tmp_path, PREDICTIONS))
    columns = ["row", "label", "candidate", "champion", "candidate_loss", "champion_loss", "candidate.score"]
    assert table.column_names == columns
    assert all(
        0 < score <= 1 for score in table.column("candidate.score").to_pylist()
    )  # without it nothing is estimated
    assert table.column("candidate").to_pylist() == [str(label) for label in labels.tolist()]
    assert table.column("champion").null_count == len(labels)
    assert read(world, ctx, tmp_path, "evaluation/confusion.png").read_bytes().startswith(b"\x89PNG")
    decision = gate(world.settings, world.pipeline, ctx, found)
    assert decision.passed
    assert decision.power is None
    run = runs.client(world.settings).get_run(ctx.mlflow_run).data
    assert run.metrics["test_accuracy"] == 1.0
    assert run.tags["airloom.gate"] == "passed"


def test_a_better_candidate_passes_with_evidence(world, compared, champion, tmp_path: Path) -> None:
    ctx, found = compared
    assert found.champion_version == champion.version
    assert found.champion_metrics["recall_3"] == 0
    decision = gate(world.settings, world.pipeline, ctx, found)
    assert decision.passed
    evidence = json.loads(read(world, ctx, tmp_path, EVIDENCE).read_text())
    assert evidence["comparison"]["worse"] == 0 < evidence["comparison"]["better"]
    assert evidence["reasons"] == decision.reasons
    assert "<h1 class=passed>Passed</h1>" in read(world, ctx, tmp_path, PAGE).read_text()


def test_a_worse_candidate_is_refused(world, champion) -> None:
    ctx = world.ctx("candidate")
    found = evaluate(world.settings, world.pipeline, ctx, world.train(ctx, wrong=(1, 2, 3)))
    decision = gate(world.settings, world.pipeline, ctx, found)
    assert not decision.passed
    assert "REFUSED" in decision.reasons[1]
    assert runs.client(world.settings).get_run(ctx.mlflow_run).data.tags["airloom.gate"] == "refused"


def test_evaluating_again_replaces_the_predictions(world, compared, tmp_path: Path) -> None:
    ctx, first = compared
    worse = world.train(ctx, wrong=(0, 1, 2, 3, 4))
    second = evaluate(world.settings, world.pipeline, ctx, worse)
    assert second.metrics["accuracy"] < first.metrics["accuracy"]
    table = pq.read_table(read(world, ctx, tmp_path, PREDICTIONS))
    right = [a == b for a, b in zip(table["label"].to_pylist(), table["candidate"].to_pylist(), strict=True)]
    assert sum(right) / len(right) == second.metrics["accuracy"]
    assert not gate(world.settings, world.pipeline, ctx, first).passed  # the first one's claim, the second's rows


def test_a_changed_champion_asks_for_a_new_evaluation(world, compared) -> None:
    ctx, found = compared
    other = world.register("other")
    runs.client(world.settings).set_registered_model_alias(other.model, "champion", other.version)
    decision = gate(world.settings, world.pipeline, ctx, found)
    assert not decision.passed
    assert f"version {other.version} serves now; clear `evaluate`" in decision.reasons[0]


def _without_champion(table: pa.Table) -> pa.Table:
    return table.set_column(3, "champion", pa.nulls(len(table), pa.int64()))


def _loss(table: pa.Table) -> pa.Table:
    return table.set_column(4, "candidate_loss", pa.array(np.zeros(len(table))))


def _text(table: pa.Table) -> pa.Table:
    return table.set_column(2, "candidate", pa.array(["7"] * len(table)))


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.slice(0, 0),
        lambda table: table.slice(0, 5),
        lambda table: table.drop_columns(["label"]),
        lambda table: pa.concat_tables([table.slice(0, 1)] * len(table)),
        _without_champion,
        _text,
        _loss,
    ],
    ids=["empty", "cut", "no labels", "one row many times", "no champion", "text", "other losses"],
)
def test_damaged_predictions_never_pass(world, compared, tmp_path: Path, change) -> None:
    ctx, found = compared
    table = pq.read_table(read(world, ctx, tmp_path, PREDICTIONS), memory_map=False)
    keep(world, ctx, tmp_path, change(table))
    for claimed in (found, replace(found, sha256="")):  # by its digest, and without one by what is in it
        decision = gate(world.settings, world.pipeline, ctx, claimed)
        assert not decision.passed
        assert decision.reasons[0].startswith("REFUSED: the predictions")


def test_unreadable_and_missing_predictions_never_pass(world, compared, tmp_path: Path) -> None:
    ctx, found = compared
    (tmp_path / "predictions.parquet").write_bytes(b"PAR1 no parquet PAR1")
    runs.client(world.settings).log_artifact(ctx.mlflow_run, str(tmp_path / "predictions.parquet"), "evaluation")
    assert "sha256" in gate(world.settings, world.pipeline, ctx, found).reasons[0]
    unnamed = replace(found, sha256="")
    assert "cannot be read" in gate(world.settings, world.pipeline, ctx, unnamed).reasons[0]
    missing = replace(found, predictions="evaluation/none.parquet")
    assert "cannot be read" in gate(world.settings, world.pipeline, ctx, missing).reasons[0]


def test_a_damaged_candidate_is_not_evaluated(world) -> None:
    ctx = world.ctx()
    trained = world.train(ctx)
    file = world.store_file(trained.model_uri)
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(CorruptFile, match=r"model\.onnx is damaged"):
        evaluate(world.settings, world.pipeline, ctx, trained)


def test_a_champion_from_elsewhere_is_named(world) -> None:
    client, name = runs.client(world.settings), world.pipeline.pipeline
    client.create_registered_model(name)
    client.create_model_version(name, source=str(world.settings.home))
    client.set_registered_model_alias(name, "champion", "1")
    ctx = world.ctx()
    with pytest.raises(RegistryError, match=f"version 1 of {name} was not registered by Airloom"):
        evaluate(world.settings, world.pipeline, ctx, world.train(ctx))


def test_the_steps_take_and_give_json(world, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRLOOM_HOME", str(world.settings.home))
    ctx = world.ctx()
    found = evaluate_step.evaluate(ctx.to_dict(), world.train(ctx).to_dict())
    decision = promote.gate(json.loads(json.dumps(ctx.to_dict())), json.loads(json.dumps(found)))
    assert decision["passed"] is True
    json.dumps(decision)


def test_a_champion_of_another_schema_is_a_refusal_with_its_reason(world, tiny_onnx) -> None:
    made = world.register("champion", columns=32)
    runs.client(world.settings).set_registered_model_alias(made.model, "champion", made.version)
    ctx = world.ctx("candidate")
    found = evaluate(world.settings, world.pipeline, ctx, world.train(ctx))
    assert found.champion_version == made.version
    decision = gate(world.settings, world.pipeline, ctx, found)
    assert not decision.passed
    assert f"the champion, version {made.version}, cannot be compared with" in decision.reasons[0]


def test_tries_on_one_split_are_counted_once_a_candidate(world, champion, tmp_path: Path) -> None:
    spent = []
    for key in ("one", "two", "three"):
        ctx = world.ctx(key)
        found = evaluate(world.settings, world.pipeline, ctx, world.train(ctx))
        for _ in range(2):  # a gate that is run again spends nothing
            gate(world.settings, world.pipeline, ctx, found)
        spent.append(json.loads(read(world, ctx, tmp_path, EVIDENCE).read_text())["tries"])
    assert [one["first"] for one in spent] == [1, 2, 3]
    assert [round(one["alpha"], 5) for one in spent] == [0.0304, 0.0076, 0.00338]
    other = gate(world.settings, world.pipeline, ctx, replace(found, split="another"))
    assert "try 1" in other.reasons[1]


def test_slices_are_measured_and_refuse_alone(world, champion) -> None:
    pipeline = Pipeline.model_validate(
        world.pipeline.model_dump(by_alias=True)
        | {
            "evaluate": {"slices": {"threes": {"label": 3}, "dim": {"column": "mean_intensity", "below": 0.25}}},
            "gate": {
                "at_least": {"accuracy": 0.5},
                "against_champion": {"non_inferior_by": 0.9},
                "slices": {"threes": {"at_least": {"accuracy": 0.9}}},
            },
        }
    )
    ctx = world.ctx("candidate")
    found = evaluate(world.settings, pipeline, ctx, world.train(ctx, wrong=(3,)))
    _, labels = load_split(world.settings, world.snapshot, "test")
    assert found.slices["threes"] == {"accuracy": 0.0, "recall_3": 0.0, "rows": (labels == 3).sum()} | {
        "log_loss": found.slices["threes"]["log_loss"]
    }
    assert 0 < found.slices["dim"]["rows"] < len(labels)
    decision = gate(world.settings, pipeline, ctx, found)
    assert [reason[:6] for reason in decision.reasons] == ["passed", "passed", "REFUSE"]
    assert "slice threes" in decision.reasons[-1]


def test_the_run_shows_what_it_read_by_revision(world) -> None:
    ctx = world.ctx()
    evaluate(world.settings, world.pipeline, ctx, world.train(ctx))
    (read_,) = runs.client(world.settings).get_run(ctx.mlflow_run).inputs.dataset_inputs
    assert (read_.dataset.name, read_.dataset.source_type) == ("digits@v2", "local")
    assert json.loads(read_.dataset.source)["revision"] == world.snapshot.commit
    assert {tag.key: tag.value for tag in read_.tags}["mlflow.data.context"] == "test"


def test_mlflow_leads_back_from_a_run_of_an_earlier_release_to_the_rows(world, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.data.dataset_source_registry import get_dataset_source_from_json, register_dataset_source

    from airloom.tracking.dataset_source import SnapshotSource

    monkeypatch.setenv("AIRLOOM_HOME", str(world.settings.home))
    keys = {"dataset": "digits", "version": "digits@v2", "revision": world.snapshot.commit}
    written = json.dumps(keys | {"snapshot": world.snapshot.id, "split": "test"})
    register_dataset_source(SnapshotSource)  # which MLflow does by itself where Airloom is installed
    source = get_dataset_source_from_json(written, "dvc")
    _, labels = load_split(world.settings, world.snapshot, "test")
    assert source.load().column("label").to_pylist() == labels.tolist()
    assert SnapshotSource.from_json(source.to_json()).to_dict() == source.to_dict()


def test_the_gate_errs_at_the_boundary_as_often_as_it_says(world, champion) -> None:
    ctx = world.ctx("candidate")
    with pytest.raises(GateError, match="no run of"):
        simulate(world.settings, world.pipeline)
    evaluate(world.settings, world.pipeline, ctx, world.train(ctx, wrong=(3, 5)))
    found = simulate(world.settings, world.pipeline, trials=200)
    low, _ = found.false_promotions.interval
    assert low <= found.spent == pytest.approx(0.0304, abs=1e-4)
    assert found.false_promotions.promoted <= 16
    assert found.power.promoted > found.false_promotions.promoted
    assert simulate(world.settings, world.pipeline, trials=20) == simulate(world.settings, world.pipeline, trials=20)


def test_a_simulation_takes_the_newest_run_that_still_has_its_predictions(world, champion) -> None:
    ctxs = [world.ctx(key) for key in ("older", "newer", "newest")]
    for ctx in ctxs:
        evaluate(world.settings, world.pipeline, ctx, world.train(ctx, wrong=(3, 5)))
    older, newer, newest = (ctx.mlflow_run for ctx in ctxs)
    assert simulate(world.settings, world.pipeline, trials=10).run == newest
    for run in (newest, newer):
        collect(world, run)
    simulation = simulate(world.settings, world.pipeline, trials=10)
    assert (simulation.run, simulation.collected) == (older, [newest, newer])
    assert f"MLflow run {older}" in render(simulation)
    assert f"{newest}, {newer}" in render(simulation)
    collect(world, older)
    with pytest.raises(GateError, match=f"collected in 3: {newest}, {newer}, {older}"):
        simulate(world.settings, world.pipeline, trials=10)


def collect(world, run: str) -> None:
    """Take a run's predictions out of the artifact store."""
    (file,) = (world.settings.home / "mlflow").glob(f"**/{run}/artifacts/{PREDICTIONS}")
    file.unlink()
