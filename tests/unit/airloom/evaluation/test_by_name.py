"""Labels and answers of models that number their classes differently, or know different ones."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.errors import GateError
from airloom.evaluation import by_class, figures, predictions
from airloom.evaluation.gate.decide import decide
from airloom.evaluation.predictions import ModelAnswers, by_name
from airloom.names import check_logged, loggable
from airloom.spec.gate import GateSection
from airloom.tasks.metrics import UNKNOWN_LOSS, shown

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)


def model(names: list[str], said: list[str]) -> ModelAnswers:
    numbers = np.array([names.index(name) for name in said], np.int64)
    return ModelAnswers(numbers, np.zeros(len(said)), names, tuple(names))


def names_of(rows, places) -> list[str]:
    return [rows.name(place) for place in places.tolist()]


@settings(deadline=None)
@given(st.data())
def test_names_come_back_from_the_kept_rows(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("kept") / "rows.parquet"
    known = [data.draw(st.lists(NAMES, min_size=1, unique=True)) for _ in range(2)]
    labels = data.draw(st.lists(NAMES | st.sampled_from(known[0]), min_size=1))
    said = [data.draw(st.lists(st.sampled_from(names), min_size=len(labels), max_size=len(labels))) for names in known]
    made = by_name(labels, model(known[0], said[0]), model(known[1], said[1]), {"all": np.ones(len(labels), bool)})
    predictions.write(made, path)
    for rows in (made, predictions.read(path, with_champion=True)):
        assert names_of(rows, rows.label) == labels
        assert names_of(rows, rows.candidate.predicted) == said[0]
        assert names_of(rows, rows.champion.predicted) == said[1]
        assert (rows.candidate.known, rows.champion.known) == (tuple(known[0]), tuple(known[1]))
        right = [a == b for a, b in zip(labels, said[0], strict=True)]
        assert rows.merit(rows.candidate, "accuracy").tolist() == right
        for who, names, other in (("candidate", known[0], known[1]), ("champion", known[1], known[0])):
            lacking = {name: labels.count(name) for name in {*labels, *other} - set(names)}
            assert rows.unknown().get(who, {}) == lacking


def test_rows_that_an_earlier_release_kept_are_called_as_their_numbers(tmp_path):
    columns = {"row": [0, 1, 2], "label": [0, 10, 2], "candidate": [0, 10, 10], "champion": [0, 2, 2]}
    columns |= {"candidate_loss": [0.1, 0.2, 0.3], "champion_loss": [0.1, 0.2, 0.3]}
    table = pa.table(columns).replace_schema_metadata({"airloom.kind": "classification"})
    pq.write_table(table, tmp_path / "old.parquet")
    rows = predictions.read(tmp_path / "old.parquet", with_champion=True)
    assert rows.measured(rows.candidate)["recall_10"] == 1
    assert rows.measured(rows.champion)["recall_10"] == 0
    assert rows.unknown() == {}


POLICY = {"at_least": {"accuracy": 0.5}, "against_champion": {"non_inferior_by": 0.2, "resamples": 200}}


@pytest.mark.parametrize(("rule", "passes"), [("count_as_wrong", True), ("refuse", False)])
def test_a_class_that_one_model_does_not_know_is_said_and_decided_by_the_policy(rule, passes):
    labels = ["ant"] * 200 + ["bee"] * 200 + ["cat"] * 40
    rows = by_name(labels, model(["ant", "bee", "cat"], labels), model(["bee", "ant", "dog"], ["ant"] * 440))
    good, policy = np.ones(440, bool), GateSection.model_validate(POLICY | {"unknown_classes": rule})
    outcome = decide(policy, {"accuracy": 1.0}, good, good, unknown=rows.unknown())
    assert outcome.passed is passes
    end = "its answers to 40 rows count as wrong" if passes else "gate.unknown_classes is refuse"
    assert outcome.reasons[-1].endswith(f"the champion does not know the class 'cat' (40 rows); {end}")
    lost = "no test row shows what that costs" if passes else "gate.unknown_classes is refuse"
    assert outcome.reasons[-2].endswith(f"the candidate does not know the class 'dog' (0 rows); {lost}")
    many = {"champion": {f"kind {n}": 1 for n in range(12)}}
    assert "does not know 12 classes: 'kind 0' (1 rows)" in decide(policy, {}, good, good, unknown=many).reasons[-1]
    assert "'kind 9' (1 rows) and 2 more; " in decide(policy, {}, good, good, unknown=many).reasons[-1]


def test_of_many_classes_the_worst_ten_are_shown_and_those_that_a_rule_names(tmp_path):
    names = [f"{n}" for n in range(50)] + ["_a $x^$", "犬", "=1+1"]
    labels = [name for name in names for _ in range(10)]
    said = [names[0] if row % 10 < names.index(name) / 6 else name for row, name in enumerate(labels)]
    rows = by_name(labels, model(names, said), None)
    whole = rows.measured(rows.candidate)
    few = shown(whole, ["recall_7"])
    assert {name for name in few if name.startswith("recall_")} == {f"recall_{name}" for name in ["7", *names[-10:]]}
    assert (few["accuracy"], few["log_loss"]) == (whole["accuracy"], whole["log_loss"])
    table = by_class.measure(rows)
    assert set(table) == set(names)
    by_class.write(table, tmp_path / by_class.FILE)
    with (tmp_path / by_class.FILE).open(newline="", encoding="utf-8") as file:
        kept = list(csv.DictReader(file))
    assert {row["class"]: float(row["recall"]) for row in kept} == {n: table[n]["recall"] for n in names}
    scores = np.random.default_rng(0).normal(size=(len(labels), len(names)))
    figures.draw(rows, scores, names, tmp_path)
    assert {path.name for path in tmp_path.glob("*.png")} >= {"confusion.png", "roc.png", "calibration.png"}
    json.dumps(table)


@settings(deadline=None)
@given(st.text(max_size=300))
def test_mlflow_takes_the_metric_of_any_class(name):
    metric = f"test_recall_{name}"
    check_logged("metric", loggable(metric))
    assert loggable(loggable(metric)) == loggable(metric)


def test_classes_that_look_alike_to_mlflow_stay_two():
    assert loggable("test_recall_10") == "test_recall_10"
    assert len({loggable("test_recall_a@b"), loggable("test_recall_a_b"), loggable("test_recall_a#b")}) == 3


def test_a_label_that_a_model_does_not_know_has_the_loss_of_a_probability_of_0():
    from sklearn.metrics import log_loss

    assert log_loss([1, 0], [[1.0, 0.0], [1.0, 0.0]]) * 2 == pytest.approx(UNKNOWN_LOSS)


def test_text_where_numbers_stand_is_no_evidence(tmp_path):
    rows = by_name(["a"], model(["a"], ["a"]), None)
    predictions.write(rows, tmp_path / "rows.parquet")
    table = pq.read_table(tmp_path / "rows.parquet")
    pq.write_table(table.set_column(1, "label", pa.array([0.5])), tmp_path / "rows.parquet")
    with pytest.raises(GateError, match="label is double, not the names of classes"):
        predictions.read(tmp_path / "rows.parquet", with_champion=False)
