"""Several candidates: ranked on the same rows, the best one gated, all of them counted as tries."""

import json
from pathlib import Path

import numpy as np
import pytest

from airloom.errors import ConfigError, RegistryError
from airloom.evaluation.evaluate import evaluate_all
from airloom.evaluation.gate.evidence import EVIDENCE, gate
from airloom.evaluation.leaderboard import rank
from airloom.evaluation.predictions import Answers, PredictedRows
from airloom.pipeline.steps.promote import chosen
from airloom.spec.load import load_pipeline
from airloom.tracking import experiments, runs

FILE = """
pipeline: pair
dataset: {name: digits}
parameters: {epochs: 2}
tune: {trials: 2, objective: {metric: m}}
candidates:
  cnn: {train: "a.py:cnn", space: {width: {int: [1, 4]}}}
  mlp: {train: "a.py:mlp", parameters: {epochs: 3}, space: {depth: {int: [1, 2]}}}
gate: {at_least: {accuracy: 0.5}, against_champion: {non_inferior_by: 0.1}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "pair.yaml"
    made.write_text(FILE)
    return made


def answers(accuracy: float) -> PredictedRows:
    labels = np.arange(1000) % 10
    wrong = np.arange(1000) < round(1000 * (1 - accuracy))
    return PredictedRows("classification", labels, Answers(np.where(wrong, -1, labels), wrong.astype(float)), None)


def test_the_best_comes_first_with_intervals_and_the_first_named_of_equals():
    table = rank({"b": answers(0.9), "a": answers(0.95), "c": answers(0.9)}, "accuracy")
    assert [place.name for place in table] == ["a", "b", "c"]
    assert [round(place.behind, 3) for place in table] == [0, 0.05, 0.05]
    for place in table:
        assert place.interval[0] <= place.value <= place.interval[1]
    assert table[1].behind_interval[0] > 0
    by_loss = rank({"b": answers(0.9), "a": answers(0.95)}, "log_loss")
    assert [(place.name, round(place.value, 3)) for place in by_loss] == [("a", 0.05), ("b", 0.1)]


def test_the_best_candidate_is_gated_and_all_are_counted(world, tmp_path: Path) -> None:
    ctx = world.ctx("three")
    models = {}
    for name, wrong in (("one", (1, 2)), ("two", ()), ("three", (4,))):
        models[name] = world.train(ctx.of_candidate(name), wrong=wrong)
    found = evaluate_all(world.settings, world.pipeline, ctx, models)
    assert found.candidates == [models[name].model_uri for name in ("two", "three", "one")]
    assert found.metrics["accuracy"] == 1.0
    assert chosen({n: m.to_dict() for n, m in models.items()}, found) == ("two", models["two"])
    assert gate(world.settings, world.pipeline, ctx, found).passed
    client = runs.client(world.settings)
    spent = json.loads(Path(client.download_artifacts(ctx.mlflow_run, EVIDENCE, str(tmp_path))).read_text())["tries"]
    assert (spent["first"], spent["last"]) == (1, 3)
    assert spent["alpha"] < 0.05 * 0.61
    shown = experiments.show(world.settings, ctx.key)
    assert [place.name for place in shown.leaderboard.places] == ["two", "three", "one"]
    assert {training.candidate for training in shown.trainings} == {"one", "two", "three"}
    assert "  1. two" in experiments.render(shown)


def test_runs_are_compared_by_what_differs(world) -> None:
    keys = []
    for key, wrong in (("first", ()), ("second", (1,))):
        ctx = world.ctx(key)
        evaluate_all(world.settings, world.pipeline, ctx, {"": world.train(ctx, wrong=wrong)})
        keys.append(ctx.key)
    comparison = experiments.compare(world.settings, keys)
    assert comparison.differences["test recall_1"] == {keys[0]: 1.0, keys[1]: 0.0}
    assert "width" not in comparison.differences  # equal in both
    assert "test recall_1" in experiments.render_comparison(comparison)
    listed = experiments.show(world.settings, world.pipeline.pipeline)
    assert [run.key for run in listed.runs] == keys[::-1]


@pytest.mark.parametrize("target", ["", "nothing", "../x", "nothing/run", "0" * 32, "A/b", "digits/' or 1"])
def test_what_names_no_run_is_said(world, target: str) -> None:
    with pytest.raises(RegistryError):
        experiments.show(world.settings, target)


def test_each_candidate_is_a_pipeline_of_its_own(file: Path) -> None:
    whole, mlp = load_pipeline(file), load_pipeline(file, "mlp")
    assert list(whole.candidates) == ["cnn", "mlp"]
    assert (whole.train, mlp.train) == ("a.py:cnn", "a.py:mlp")
    assert (whole.parameters, mlp.parameters) == ({"epochs": 2}, {"epochs": 3})
    assert list(mlp.tune.space) == ["depth"]
    assert not mlp.candidates


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("cnn: {train", "cnn: {trian"), "candidates.cnn: "),
        (("int: [1, 2]", "int: [2, 1]"), "candidates.mlp: tune.space.depth"),
        (("pipeline: pair", "pipeline: pair\ntrain: a.py:f"), "trains these, and nothing else"),
        (("epochs: 3", "depth: 3"), "candidates.mlp: depth"),
    ],
)
def test_a_candidates_mistake_names_the_candidate(file: Path, change: tuple[str, str], says: str) -> None:
    file.write_text(FILE.replace(*change))
    with pytest.raises(ConfigError) as refusal:
        load_pipeline(file)
    assert says in str(refusal.value)


def test_an_unknown_candidate_is_named(file: Path) -> None:
    with pytest.raises(ConfigError, match="no candidate 'rnn'"):
        load_pipeline(file, "rnn")
