"""Metrics of all rows: equal to scikit-learn's, compared by a paired bootstrap that errs no more often than alpha."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, jaccard_score, precision_recall_curve, roc_auc_score

from airloom.evaluation.bootstrap import Pair
from airloom.evaluation.gate.alpha_spending import Tries
from airloom.evaluation.gate.decide import compare_pair
from airloom.evaluation.gate.evidence import compared, judge_rows
from airloom.evaluation.gate.simulate import _drawing, exact_interval, population_at
from airloom.evaluation.own import LABELS, OUTPUT, OwnMetric
from airloom.evaluation.predictions import PredictedRows
from airloom.spec.gate import GateSection
from airloom.tasks import Answers, Classification, Multilabel, Regression, Segmentation
from airloom.tasks.rows import Answered
from airloom.tasks.whole import LOWER


def policy(metric, group="", margin=0.05, resamples=500, superior=False):
    rule = {"metric": metric, "group": group, "resamples": resamples}
    rule |= {"superior": True} if superior else {"non_inferior_by": margin}
    return GateSection.model_validate({"at_least": {"x": 0}, "against_champion": rule})


def classified(rows=300, classes=3, better=0.0, seed=0, groups=None) -> PredictedRows:
    """Two models that err alike on half of the rows that either has wrong."""
    generator = np.random.default_rng(seed)
    label = np.minimum(generator.geometric(0.5, rows) - 1, classes - 1)  # classes of different sizes
    hard = generator.normal(size=rows)

    def answers(shift):
        scores = generator.normal(size=(rows, classes)) + hard[:, None] * generator.uniform(0.3, 0.6)
        scores[np.arange(rows), label] += 1.2 + shift + 0.8 * hard
        chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        loss = -np.log(chances[np.arange(rows), label])
        return Answers(scores.argmax(axis=1), loss, (), {"chances": chances})

    names = tuple("abcdefgh"[:classes])
    return PredictedRows(
        "classification", label, answers(better), answers(0), {}, names, Classification(), groups=groups
    )


def several(rows=300, seed=0) -> PredictedRows:
    generator = np.random.default_rng(seed)
    label = (generator.uniform(size=(rows, 3)) < [0.5, 0.3, 0.2]).astype(float)

    def answers():
        chances = 1 / (1 + np.exp(-(label * 2 - 1 + generator.normal(0, 1.2, label.shape))))
        return Answers((chances >= 0.5).astype(float), -np.log(chances).mean(axis=1), (), {"chances": chances})

    return PredictedRows("multilabel", label, answers(), answers(), {}, ("a", "b", "c"), Multilabel())


def masks(rows=120, seed=0) -> PredictedRows:
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 40, (rows, 3)).astype(float)

    def answers():
        hits = np.floor(label * generator.uniform(0.5, 1, label.shape))
        predicted = hits + generator.integers(0, 12, label.shape)
        return Answers(np.stack([hits, predicted], 1), generator.uniform(size=rows))

    return PredictedRows("segmentation", label, answers(), answers(), {}, ("0", "1", "2"), Segmentation())


def numbers(rows=200, seed=0) -> PredictedRows:
    generator = np.random.default_rng(seed)
    label = generator.normal(size=(rows, 2))

    def answers():
        predicted = label + generator.normal(0, 0.7, label.shape)
        return Answers(predicted, ((predicted - label) ** 2).mean(axis=1))

    return PredictedRows("regression", label, answers(), answers(), {}, (), Regression())


def cost(outputs, labels, rows):
    wrong = outputs["output"].argmax(axis=1) != labels
    return -float((wrong * (1 + 4 * (labels == 1))).sum() / len(labels))


def own(rows=200, seed=0) -> PredictedRows:
    made = classified(rows, seed=seed)

    def with_outputs(who):
        return Answers(who.predicted, who.loss, (), {f"{OUTPUT}output": who.kept["chances"], LABELS: made.label})

    metric = OwnMetric("cost", "model.py:cost", cost)
    return PredictedRows(
        made.kind,
        made.label,
        with_outputs(made.candidate),
        with_outputs(made.champion),
        {},
        made.classes,
        own={"cost": metric},
    )


# -- what is computed of counts is what scikit-learn computes of rows


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(2, 4))
def test_of_weighted_rows_as_of_repeated_ones_by_scikit_learn(seed, rows, classes):
    made = classified(rows, classes, seed=seed)
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(rows, np.full(rows, 1 / rows), 3)
    one, task = made.of(made.candidate), Classification()
    for name in ("macro_f1", "auc", "average_precision", "recall_at_precision_0.7"):
        found = task.whole(name).weighted(one)(weights)
        for value, drawn in zip(found, weights, strict=True):
            places = np.arange(rows).repeat(drawn)
            again = task.whole(name).value(Answered(one.label[places], one.answers.take(places), one.classes))
            assert value == pytest.approx(again, abs=1e-9, nan_ok=True), name


def test_the_shown_values_are_those_of_scikit_learn():
    made = classified(classes=2)
    one, chances = made.of(made.candidate), made.candidate.kept["chances"][:, 1]
    whole = Classification().whole
    assert whole("auc").value(one) == roc_auc_score(made.label, chances)
    assert whole("average_precision").value(one) == average_precision_score(made.label, chances)
    assert whole("macro_f1").value(one) == f1_score(made.label, made.candidate.predicted, average="macro")
    precision, recall, _ = precision_recall_curve(made.label, chances)
    assert whole("recall_at_precision_0.6").value(one) == recall[:-1][precision[:-1] >= 0.6].max()


def test_mean_iou_of_counts_is_scikit_learns_of_pixels():
    generator = np.random.default_rng(0)
    label, said = generator.integers(0, 3, (2, 20, 8, 8))
    kept = [np.stack([(part == c).sum(axis=(1, 2)) for c in range(3)], 1) for part in (label, said)]
    hits = np.stack([((label == c) & (said == c)).sum(axis=(1, 2)) for c in range(3)], 1)
    rows = Answered(kept[0].astype(float), Answers(np.stack([hits, kept[1]], 1).astype(float), np.zeros(20)), ())
    expected = jaccard_score(label.reshape(-1), said.reshape(-1), average="macro")
    assert Segmentation().whole("mean_iou").value(rows) == pytest.approx(expected)
    expected = f1_score(label.reshape(-1), said.reshape(-1), average="macro")
    assert Segmentation().whole("mean_dice").value(rows) == pytest.approx(expected)


# -- the bootstrap


def test_many_rows_are_drawn_in_seconds():
    pair, _ = compared(policy("macro_f1"), classified(10_000, 8))
    began = time.process_time()
    pair.resampled(2_000, 0)
    assert time.process_time() - began < 5


def test_a_group_is_one_row_however_often_its_rows_repeat():
    """Ten copies of each row are no evidence more; taken alone they would be."""
    once = classified(60, seed=3)
    ten = once.take(np.arange(60).repeat(10))
    copies = PredictedRows(
        ten.kind, ten.label, ten.candidate, ten.champion, {}, ten.classes, ten.given, groups=np.arange(60).repeat(10)
    )
    for metric in ("macro_f1", "auc", "log_loss"):
        alone = compare_pair(compared(policy(metric, group="patient"), replaced(once))[0], rule(metric), 0, 0.05)
        together = compare_pair(compared(policy(metric, group="patient"), copies)[0], rule(metric), 0, 0.05)
        assert together.units == 60 and together.rows == 600
        assert together.lower == pytest.approx(alone.lower, rel=1e-6)


def replaced(rows):
    return PredictedRows(
        rows.kind,
        rows.label,
        rows.candidate,
        rows.champion,
        {},
        rows.classes,
        rows.given,
        groups=np.arange(len(rows)),
    )


def rule(metric):
    return policy(metric, group="patient").against_champion


def test_what_is_no_evidence_is_refused():
    few = classified(20)
    outcome = judge_rows(policy("macro_f1"), {"x": 1}, few, Tries(1, 1), 0)
    assert not outcome.passed and "20 rows are no evidence for macro_f1" in outcome.reasons[1]
    one_class = PredictedRows(
        "classification", np.zeros(50, int), few.candidate, None, {}, ("a", "b"), Classification()
    )
    one_class = PredictedRows(
        "classification",
        np.zeros(50, int),
        classified(50, 2).candidate,
        classified(50, 2).champion,
        {},
        ("a", "b"),
        Classification(),
    )
    outcome = judge_rows(policy("auc"), {"x": 1}, one_class, Tries(1, 1), 0)
    assert not outcome.passed and "auc of the candidate is nan" in outcome.reasons[1]


# -- how often the gate errs

KINDS = {
    "macro_f1": lambda: classified(200),
    "auc": lambda: classified(200, 2),
    "average_precision": lambda: classified(200, 2),
    "recall_at_precision_0.9": lambda: classified(300, 2),
    "mean_iou": masks,
    "micro_f1": several,
    "rmse": numbers,
    "r2": numbers,
    "cost": own,
}


def false_promotions(metric, rows, trials, group="", margin=None, superior=False):
    """The share promoted of candidates that are just not good enough, with its exact interval."""
    pair, _ = compared(policy(metric, group), rows)
    assert isinstance(pair, Pair)
    margin = 0.0 if superior else margin or 0.03
    gate = policy(metric, group, margin, 300, superior)
    population, chances = population_at(gate, rows, -margin)
    generator, draw, promoted = np.random.default_rng(1), _drawing(population, chances, 1.0), 0
    for number in range(trials):
        promoted += judge_rows(gate, {"x": 1}, draw(generator), Tries(1, 1), number).passed
    low, _ = exact_interval(promoted, trials)
    return promoted / trials, low, Tries(1, 1).alpha(0.05)


@pytest.mark.parametrize("metric", KINDS)
def test_false_promotions_stay_within_alpha(metric):
    share, low, alpha = false_promotions(metric, KINDS[metric](), 60)
    assert low <= alpha and share <= 0.1


def test_groups_stay_within_alpha_where_rows_alone_would_not():
    """Five rows a patient with nearly the same answers."""
    few = classified(40, seed=5)
    rows = few.take(np.arange(40).repeat(5))
    rows = PredictedRows(
        rows.kind, rows.label, rows.candidate, rows.champion, {}, rows.classes, rows.given, groups=np.arange(200) // 5
    )
    share, low, alpha = false_promotions("macro_f1", rows, 80, group="patient", margin=0.05)
    assert low <= alpha and share <= 0.1


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("superior", [False, True])
@pytest.mark.parametrize("metric", KINDS)
def test_false_promotions_of_many_trials(metric, superior, record_property):
    share, low, alpha = false_promotions(metric, KINDS[metric](), 500, superior=superior)
    record_property(f"false promotions by {metric}{', superior' if superior else ''}", f"{share:.3f} at {alpha:.3f}")
    assert low <= alpha


def test_less_is_better_is_known():
    assert {"rmse", "perplexity", "log_loss"} <= LOWER
