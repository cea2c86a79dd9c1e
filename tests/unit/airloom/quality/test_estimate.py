"""Estimates of a version whose evaluation is real, from a log with and without scores, with and without labels."""

import json

import numpy as np
import pytest

from airloom.errors import RegistryError
from airloom.evaluation import predictions
from airloom.evaluation.evaluate import FOLDER, PREDICTIONS
from airloom.monitoring.confidence import PastEstimates
from airloom.quality import late_labels
from airloom.quality.causes_page import estimate_section
from airloom.quality.estimate import ASSUMPTION, Estimate, EstimatedVersion, estimate
from airloom.tasks.rows import ModelAnswers
from airloom.tracking import runs

HOUR = 3_600_000
START = 1_790_000_000_000 // HOUR * HOUR


def drawn(seed, rows, low=0.6, spoil=0.0):
    """Of each row the class, the score, and its label: right as often as the score says, less `spoil`."""
    generator = np.random.default_rng(seed)
    score, said = generator.uniform(low, 1, rows), generator.integers(0, 2, rows)
    right = generator.random(rows) < score - spoil
    return np.array(["no", "yes"])[said], score, np.array(["no", "yes"])[np.where(right, said, 1 - said)]


def evaluated(world, key="one", rows=2000, chances=True):
    """A version with an evaluation of so many test rows."""
    ctx = world.ctx(key)
    learned = world.train(ctx)
    said, score, label = drawn(1, rows)
    places = (said == "yes").astype(int)
    both = np.stack([1 - score, score], axis=1).astype(np.float32)
    both[places == 0] = both[places == 0, ::-1]
    kept = {"chances": both} if chances else {}
    answers = ModelAnswers(places, np.zeros(rows), ["no", "yes"], ("no", "yes"), kept)
    place = world.settings.home / "made" / key / PREDICTIONS
    place.parent.mkdir(parents=True, exist_ok=True)
    predictions.write(predictions.by_name(label.tolist(), answers, None), place)
    runs.client(world.settings).log_artifact(ctx.mlflow_run, str(place), FOLDER)
    made = world.register_trained(ctx, learned)
    return f"{made.model}/{made.version}"


@pytest.fixture
def log(small, write_log):
    """Write one hour of rows, with a label of each or of none."""

    def write(hour, rows=600, labels=True, scores=True, **how):
        said, score, label = drawn(100 + hour, rows, **how)
        at = START + hour * HOUR + np.arange(rows)
        more = {"score": score.astype(np.float32).tolist()} if scores else {}
        ids = write_log(small.settings, "small", "1", at, prediction=said.tolist(), value=[None] * rows, **more)
        if labels:
            late_labels.add(small.settings, dict(zip(ids, label.tolist(), strict=True)), source="clinic")

    return write


def test_without_labels_there_is_an_estimate_with_its_assumption(small, log):
    model = evaluated(small)
    for hour in range(2):
        log(hour, labels=False)
    found = estimate(small.settings, model)
    assert (found.why, found.assumption, len(found.windows)) == ("", ASSUMPTION, 2)
    one = found.newest
    assert (one.metric, one.rows, one.labelled, one.measured) == ("accuracy", 600, 0, None)
    assert one.low < 0.8 < one.high
    assert one.baseline == pytest.approx(0.8, abs=0.03)
    assert (one.trusted, one.worse) == (True, False)
    assert one.why == "never checked: no window has 100 labels yet"
    assert EstimatedVersion.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_surer_and_less_sure_answers_are_told_apart(small, log):
    model = evaluated(small)
    log(0, labels=False, low=0.3)  # much less sure
    assert estimate(small.settings, model).newest.worse


def test_estimates_are_compared_with_labels_that_came(small, log):
    model = evaluated(small)
    for hour in range(6):
        log(hour)
    found = estimate(small.settings, model)
    assert found.past.windows == 6
    assert found.past.error < 0.03
    assert found.newest.trusted
    assert found.newest.measured is not None
    assert found.newest.why.startswith("the interval missed the measured accuracy in ")


def test_an_estimate_that_was_wrong_loses_the_right_to_trigger(small, log):
    """The same scores are right less often than they were: no score can tell."""
    model = evaluated(small)
    for hour in range(5):
        log(hour, spoil=0.2)
    log(5, labels=False)
    newest = estimate(small.settings, model).newest
    assert not newest.trusted
    assert newest.why.startswith("it lost the right to trigger: the interval missed the measured accuracy in 5 of 5")
    assert "bias +0." in newest.why


def test_the_past_before_the_span_counts(small, log):
    from datetime import UTC, datetime

    model = evaluated(small)
    for hour in range(5):
        log(hour, spoil=0.2)
    log(5, labels=False)
    since = datetime.fromtimestamp((START + 5 * HOUR) / 1000, UTC)
    found = estimate(small.settings, model, since=since)
    assert (len(found.windows), found.past.missed) == (1, 5)


def test_labels_of_some_rows_only_are_compared_with_the_estimate_of_these(small, write_log):
    """Only sure answers are labelled: they are right more often than all are."""
    model = evaluated(small)
    for hour in range(5):
        said, score, label = drawn(200 + hour, 1000)
        at = START + hour * HOUR + np.arange(1000)
        ids = write_log(
            small.settings, "small", "1", at, prediction=said.tolist(), value=[None] * 1000, score=score.tolist()
        )
        chosen = np.flatnonzero(score > 0.9)
        late_labels.add(small.settings, {ids[place]: str(label[place]) for place in chosen}, source="clinic")
    found = estimate(small.settings, model)
    assert found.newest.measured > found.newest.high
    assert found.newest.trusted


@pytest.mark.parametrize(
    ("made", "logged", "why"),
    [
        ({}, {"scores": False}, r"none of its 600 rows in the log has a score"),
        ({}, {"rows": 50}, "no window has 100 answers with a score"),
        ({"chances": False}, {}, "kept no probabilities"),
        ({"rows": 50}, {}, "had 50 test rows, fewer than 100"),
    ],
)
def test_where_something_is_missing_it_is_said_and_nothing_is_computed(small, log, made, logged, why):
    model = evaluated(small, **made)
    log(0, labels=False, **logged)
    found = estimate(small.settings, model)
    assert why in found.why
    assert (found.windows, found.newest) == ([], None)


def test_no_row_no_evaluation_no_version(small):
    model = evaluated(small)
    assert estimate(small.settings, model).why == "nothing is estimated: there is no row in the log"
    made = small.register("two")
    assert "the evaluation's predictions are gone" in estimate(small.settings, f"{made.model}/{made.version}").why
    with pytest.raises(RegistryError):
        estimate(small.settings, "small/9")


def test_of_numbers_nothing_is_estimated(small):
    model = evaluated(small)
    runs.client(small.settings).set_model_version_tag("small", "1", "airloom.metrics", json.dumps({"mae": 1.0}))
    found = estimate(small.settings, model)
    assert found.why == "nothing is estimated: an answer that is a number says nothing of its own error"


@pytest.mark.parametrize("windows", [1, 3])
def test_the_page_draws_estimates_and_what_was_measured(windows):
    past = PastEstimates(windows, 0, 0.01, 0.0, 1.0, True)
    each = [
        Estimate(
            "accuracy", 0.8, 0.77, 0.83, 600, 0.81, True, "held", False, place * 3600.0, place * 3600.0 + 3600, 0.79
        )
        for place in range(windows)
    ]
    head, facts, drawn = estimate_section(EstimatedVersion("small", "1", "", ASSUMPTION, 0.81, past, each))
    assert head == "<h2>Accuracy without labels</h2>"
    assert "0.800 (0.770 to 0.830) of 600 answers" in facts
    assert "no concept drift" in facts
    assert drawn.startswith("<img alt='estimated and measured accuracy by window'")
    nothing = estimate_section(EstimatedVersion("small", "1", "there is <nothing>"))
    assert nothing[1] == "<p>there is &lt;nothing&gt;"
