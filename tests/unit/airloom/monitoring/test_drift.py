"""Drift: what is planted is found within a stated number of rows, what is not there is not, nothing crashes.

Stated: a shift of half a deviation, a spread of 1.6 times, a category that goes from 20 to 35 %, are found within 1500
rows in windows of 500. In runs of ten such windows of ten features without a shift, at most 3 of 100 have an alarm.
"""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, ks_2samp

from airloom.monitoring.data_faults import FACTORS, changed_unit, fault
from airloom.monitoring.drift import DriftRule, compare, in_a_row, kolmogorov_smirnov, psi
from airloom.monitoring.drift_reference import FeatureReference, add, count, reference_of

RULE = DriftRule()
ROWS = 500


def one(reference, values, rule=RULE):
    (drift,) = compare([reference], {reference.name: count(reference, values)}, rule)
    return drift


def drawn(generator, kind, rows, planted=False):
    if kind == "shift":
        return generator.normal(0.5 if planted else 0, 1, rows)
    if kind == "spread":
        return generator.normal(0, 1.6 if planted else 1, rows)
    share = 0.35 if planted else 0.2
    return generator.choice(["a", "b", "c"], rows, p=[share, 0.5, 0.5 - share]).tolist()


@pytest.mark.parametrize("kind", ["shift", "spread", "category"])
def test_a_planted_shift_is_found_within_1500_rows(kind):
    found = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        reference = reference_of("x", drawn(generator, kind, 5000))
        moved = [one(reference, drawn(generator, kind, ROWS, planted=True)).moved for _ in range(3)]
        found += in_a_row(moved, RULE.windows) >= 0
    assert found >= 19, f"{found} of 20"


@pytest.mark.matrix("runs", [200], sample=[40])
def test_runs_without_a_shift_alarm_no_more_often_than_is_stated(record_property, runs):
    alarms = 0
    for seed in range(runs):
        generator = np.random.default_rng(1000 + seed)
        draws = [(lambda n, g=generator: g.normal(size=n))] * 4
        draws += [(lambda n, g=generator: g.lognormal(size=n))] * 3
        draws += [(lambda n, g=generator: g.poisson(2, n).astype(float))] * 3
        references = [reference_of(str(place), draw(2000)) for place, draw in enumerate(draws)]
        windows = []
        for _ in range(10):
            counted = {str(place): count(references[place], draw(ROWS)) for place, draw in enumerate(draws)}
            windows.append(compare(references, counted))
        alarms += any(in_a_row([window[place].moved for window in windows], 2) >= 0 for place in range(10))
    interval = binomtest(alarms, runs).proportion_ci(method="exact")
    record_property(f"false alarms of {runs} runs", f"{alarms}, 95 % interval up to {interval.high:.4f}")
    assert interval.high <= 0.03 or (runs < 200 and not alarms)  # so few bound the rate less closely


def test_false_alarms_of_small_windows_stay_rare_too():
    alarms = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        references = [reference_of(str(place), generator.normal(size=300)) for place in range(5)]
        windows = [
            compare(references, {str(p): count(references[p], generator.normal(size=200)) for p in range(5)})
            for _ in range(4)
        ]
        alarms += any(in_a_row([window[place].moved for window in windows], 2) >= 0 for place in range(5))
    assert binomtest(alarms, 200).proportion_ci(method="exact").high <= 0.03


def test_the_distance_is_scipys_to_within_a_bin():
    generator = np.random.default_rng(0)
    for shift in (0, 0.2, 1.0):
        before, after = generator.normal(size=4000), generator.normal(shift, 1, 1000)
        reference = reference_of("x", before)
        ours, p = kolmogorov_smirnov(np.array(reference.counts, float), np.array(count(reference, after).counts, float))
        theirs = ks_2samp(before, after)
        assert theirs.statistic - 1 / 30 - 1e-9 <= ours <= theirs.statistic + 1e-9
        assert p >= theirs.pvalue - 0.01


VALUES = st.lists(
    st.one_of(
        st.none(), st.floats(), st.integers(-(2**70), 2**70), st.text(max_size=3), st.booleans(), st.lists(st.none())
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=150)
@given(VALUES, VALUES)
def test_nothing_crashes_and_what_is_said_is_finite(before, after):
    reference = reference_of("x", before)
    rule = DriftRule(rows=1)
    drift = one(reference, after, rule)
    assert np.isfinite([drift.psi, drift.ks, drift.p, drift.adjusted]).all()
    assert drift.says or reference.kind in ("number", "category")
    assert isinstance(fault(reference, count(reference, after), after), str)
    assert FeatureReference.from_dict(json.loads(json.dumps(reference.to_dict()))) == reference
    assert one(reference, before, rule).moved is False


NUMBERS = st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(float("nan")), st.integers(0, 3).map(float)), min_size=1)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_counts_of_parts_are_those_of_the_whole(before, first, second):
    reference = reference_of("x", before)
    if reference.kind == "number":
        assert add([count(reference, first), count(reference, second)]) == count(reference, first + second)
        assert sum(reference.counts) + reference.nulls == reference.rows
        assert (reference.counts[0], reference.counts[-1]) == (0, 0)
    assert reference_of("x", np.array(before)) == reference
    assert count(reference, np.array(first)).nulls == count(reference, first).nulls


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ([1.0] * 300, [1.0] * 300, "constant, as in training"),
        (["a"] * 300, ["a"] * 300, "constant, as in training"),
        ([None] * 300, [1.0] * 300, "no value in training"),
        ([float("nan")] * 300, [1.0] * 300, "no value in training"),
        ([float("inf")] * 300, [1.0] * 300, "no finite value"),
        (list(range(300)), [None] * 300, "no row of the window has a value"),
        (list(range(300)), [1.0], "1 rows in the window, fewer than 200"),
        (list(range(300)), [], "0 rows in the window"),
        ([1.0], list(range(300)), "1 rows with a value in training"),
        ([str(n) for n in range(3000)], ["a"] * 300, "nearly every row has another text"),
        ([[1]] * 300, [[1]] * 300, "list is no number and no category"),
    ],
)
def test_where_nothing_can_be_said_it_is_said_why(before, after, says):
    drift = one(reference_of("x", before), after)
    assert says in drift.says
    assert not drift.moved


def test_a_constant_that_becomes_another_has_moved():
    assert one(reference_of("x", [1.0] * 300), [2.0] * 300).moved
    assert one(reference_of("x", ["a"] * 300), ["b"] * 300).moved


def test_without_an_effect_many_rows_decide_nothing():
    generator = np.random.default_rng(0)
    drift = one(reference_of("x", generator.normal(size=200_000)), generator.normal(0.05, 1, 200_000))
    assert drift.adjusted < 1e-6
    assert not drift.moved


@pytest.mark.parametrize(
    ("moved", "place"),
    [([True, True], 1), ([True, None, True], 2), ([True, False, True], -1), ([], -1), ([False, True, True, True], 2)],
)
def test_two_windows_in_a_row(moved, place):
    assert in_a_row(moved, 2) == place


@pytest.mark.parametrize("factor", [*FACTORS, *(1 / one for one in FACTORS), 7.3])
@pytest.mark.parametrize("kind", ["normal", "lognormal", "exponential"])
def test_a_changed_unit_is_told_from_drift(factor, kind):
    generator = np.random.default_rng(3)
    draw = {
        "normal": lambda n: generator.normal(40, 8, n),
        "lognormal": lambda n: generator.lognormal(2, 1, n),
        "exponential": lambda n: generator.exponential(3, n),
    }[kind]
    reference = reference_of("x", draw(5000))
    found = changed_unit(reference, draw(500) * factor)
    assert found == pytest.approx(factor, rel=0.25)
    assert changed_unit(reference, draw(500)) == 0


def test_what_merely_drifts_is_no_changed_unit():
    generator = np.random.default_rng(4)
    reference = reference_of("x", generator.normal(40, 8, 5000))
    for values in (generator.normal(60, 8, 500), generator.normal(40, 20, 500), generator.normal(-40, 8, 500)):
        assert fault(reference, count(reference, values), values) == ""


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (list(range(300)), [None] * 90 + [1.0] * 10, "is null in 90% of the rows, in training in 0%"),
        (["a", "b"] * 200, ["a"] * 90 + ["z"] * 10, "is in 10.0% of the rows what training never had: 'z'"),
        (list(range(300)), ["n/a"] * 50 + [1.0] * 50, "is no number in 50% of the rows"),
        (list(range(300)), [7.0] * 100, "is 7.0 in every row"),
        (["a", "b"] * 200, ["a"] * 98 + ["z"] * 2, ""),
        (list(range(300)), [None], ""),
        ([1.0] * 300, [1.0] * 300, ""),
        ([None] * 300, [1.0] * 300, ""),
    ],
)
def test_data_faults_are_told(before, after, says):
    reference = reference_of("x", before)
    assert fault(reference, count(reference, after), after) == says


def test_psi_is_that_of_the_books():
    before, after = np.array([1e7, 2e7, 7e7]), np.array([2e7, 2e7, 6e7])
    assert psi(before, after) == pytest.approx(0.1 * np.log(2) + -0.1 * np.log(6 / 7), rel=1e-5)
