"""The order of signs, and that no sequence of alarms starts more runs than the file allows."""

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from airloom.monitoring.decision import (
    ALERT,
    ASK,
    DRIFT,
    ESTIMATE,
    EXPLAIN,
    FAULT,
    METRIC,
    NOTHING,
    QUARANTINE,
    RETRAIN,
    WEEK,
    Limits,
    Signal,
    StartedRun,
    Subject,
    cause_of,
    decide,
    loss,
)

DAY = 86_400.0
NOW = 1_790_000_000.0
DIGITS = Subject("digits", "3", trained=2, newest=3)
METRICS, BOTH, NONE = Limits([METRIC]), Limits([METRIC, DRIFT]), Limits([])
SIGNS = {
    "fault": Signal(FAULT, "city", "city is null in 90% of the rows"),
    "fell": Signal(METRIC, "accuracy", "accuracy 0.5 of 200 labelled rows"),
    "weak": Signal(METRIC, "accuracy", "accuracy 0.9 of 20 labelled rows", sure=False),
    "estimate": Signal(ESTIMATE, "accuracy", "accuracy is estimated 0.5"),
    "vague": Signal(ESTIMATE, "accuracy", "accuracy is estimated 0.9", sure=False),
    "drift": Signal(DRIFT, "distance", "distance drifts"),
    "alert": Signal(ALERT, "ErrorRate", "the alert ErrorRate started this look"),
}


def act(names, limits=METRICS, started=(), now=NOW, subject=DIGITS):
    return decide(subject, [SIGNS[name] for name in names.split()], limits, started, now)


@pytest.mark.parametrize(
    ("signs", "limits", "action", "says"),
    [
        ("", METRICS, NOTHING, "nothing is wrong"),
        ("fault", BOTH, QUARANTINE, "city is null"),
        ("drift fell estimate fault", BOTH, QUARANTINE, "has to mend them"),
        ("fell", METRICS, RETRAIN, "accuracy 0.5"),
        ("alert drift estimate fell", METRICS, RETRAIN, "accuracy 0.5"),
        ("fell", NONE, ASK, "lets no metric start a run"),
        ("weak", BOTH, ASK, "may be chance"),
        ("weak drift", BOTH, ASK, "may be chance"),
        ("estimate", BOTH, ASK, "an estimate starts no run"),
        ("estimate drift", BOTH, ASK, "an estimate starts no run"),
        ("vague", BOTH, EXPLAIN, "starts nothing by itself"),
        ("drift", METRICS, EXPLAIN, "distance drifts; that starts nothing"),
        ("drift", BOTH, RETRAIN, "distance drifts"),
        ("vague drift", BOTH, RETRAIN, "distance drifts"),
        ("alert", BOTH, EXPLAIN, "the alert ErrorRate"),
    ],
)
def test_signs_are_taken_in_their_order(signs, limits, action, says):
    decision = act(signs, limits)
    assert decision.action == action
    assert says in decision.says
    assert bool(decision.run) == bool(decision.cause) == (action == RETRAIN)


def test_a_cause_has_one_run_and_new_data_is_a_new_cause():
    first = act("fell")
    started = [StartedRun(NOW - 2 * DAY, first.cause)]
    again = act("fell", started=started)
    assert (again.action, again.run) == (ASK, "")
    assert first.run in again.says
    newer = act("fell", started=started, subject=DIGITS.with_(newest=4))
    assert newer.action == RETRAIN
    assert newer.run != first.run


def test_cooldown_budget_and_old_data_hold_a_run_back():
    held = act("fell", started=[StartedRun(NOW - DAY / 2, "x")])
    assert held.action == EXPLAIN
    assert "not before" in held.says
    spent = act("fell", started=[StartedRun(NOW - days * DAY, f"x{days}") for days in (2, 4)])
    assert (spent.action, "budget of 2 runs a week is used up" in spent.says) == (ASK, True)
    assert act("fell", started=[StartedRun(NOW - days * DAY, f"x{days}") for days in (2, 8)]).action == RETRAIN
    old = act("fell", subject=DIGITS.with_(newest=2))
    assert (old.action, "no rows newer" in old.says) == (ASK, True)


def test_a_run_that_seems_to_lie_ahead_has_just_been_started():
    assert act("fell", started=[StartedRun(NOW + 40 * DAY, "x")]).action == EXPLAIN


ALARMS = st.lists(
    st.tuples(
        st.floats(-3 * DAY, 5 * DAY),  # how far the clock went; a step back is a clock that was set
        st.sets(st.sampled_from(sorted(SIGNS))),
        st.integers(1, 3),  # the champion's version
        st.integers(0, 6),  # the newest dataset version
    ),
    max_size=120,
)
LIMITS = st.builds(
    Limits, st.sampled_from([[METRIC], [DRIFT], [METRIC, DRIFT], []]), st.floats(60, 3 * DAY), st.integers(1, 5)
)


@effort(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ALARMS, LIMITS)
def test_no_sequence_of_alarms_starts_more_than_the_budget_or_two_runs_of_one_cause(alarms, limits):
    now, started = NOW, []
    for step, names, version, newest in alarms:
        now += step
        signs = [SIGNS[name] for name in sorted(names)]
        subject = Subject("digits", str(version), trained=2, newest=newest)
        decision = decide(subject, signs, limits, started, now)
        assert decision == decide(subject, signs[::-1], limits, started[::-1], now)
        if decision.action != RETRAIN:
            assert not decision.run
            continue
        assert decision.kind in limits.starts
        assert "fault" not in names
        assert newest > 2
        assert all(now >= run.at + limits.cooldown for run in started)
        started.append(StartedRun(now, decision.cause))
        assert sum(run.at > now - WEEK for run in started) <= limits.budget
    assert len({run.cause for run in started}) == len(started)


def test_a_thousand_alarms_within_an_hour_start_what_the_budget_has():
    limits, started = Limits([METRIC, DRIFT], cooldown=60, budget=2), []
    for alarm in range(1000):
        subject = DIGITS.with_(newest=3 + alarm)  # each with data of its own: no cause is there twice
        decision = act("fell drift alert", limits, started, NOW + alarm * 3.6, subject)
        started += [StartedRun(NOW + alarm * 3.6, decision.cause)] if decision.run else []
    assert len(started) == 2


@pytest.mark.parametrize(
    ("value", "interval", "more", "found"),
    [
        (0.80, [0.75, 0.85], True, (True, True)),
        (0.87, [0.82, 0.92], True, (True, False)),
        (0.89, [0.80, 0.95], True, (False, False)),
        (0.80, [], True, (True, False)),
        (1.2, [1.05, 1.4], False, (True, True)),
        (0.5, [0.4, 0.6], False, (False, False)),
    ],
)
def test_a_loss_is_sure_where_the_whole_interval_is_beyond_the_margin(value, interval, more, found):
    assert loss(value, interval, 0.9, 0.02 if more else 0.1, more_is_better=more) == found


@effort(deadline=None)
@given(st.integers(1, 9), st.sampled_from(["a", "b"]))
def test_causes_differ_where_sign_version_or_data_do(version, about):
    one = cause_of(DIGITS, METRIC, "accuracy")
    assert one == cause_of(DIGITS, METRIC, "accuracy")
    assert one not in {
        cause_of(DIGITS.with_(version=f"{version}0"), METRIC, "accuracy"),
        cause_of(DIGITS, DRIFT, about),
    }
