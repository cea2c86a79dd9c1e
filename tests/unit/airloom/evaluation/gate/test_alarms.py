"""No sequence of alarms changes the champion without evidence of its own, whatever the pipeline file's margin is."""

import numpy as np
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from airloom.evaluation.gate.alpha_spending import Tries
from airloom.evaluation.gate.decide import decide as judge
from airloom.monitoring.decision import DRIFT, METRIC, Limits, Signal, StartedRun, Subject, decide
from airloom.spec.load import checked
from airloom.spec.monitor import of_alarm

ROWS, DAY = 400, 86_400.0
FILE = {
    "pipeline": "digits",
    "dataset": {"name": "digits"},
    "train": "model.py:train",
    "gate": {
        "at_least": {"accuracy": 0.01},
        "first_model": "minimums",
        "against_champion": {"non_inferior_by": 0.03, "resamples": 200},
    },
}


def rows(generator, quality):
    """Which of the frozen test rows a model of this quality has right."""
    return generator.random(ROWS) < quality


ALARMS = st.lists(
    st.tuples(
        st.floats(-DAY, 3 * DAY),
        st.sampled_from([METRIC, DRIFT]),
        st.booleans(),  # whether new data came
        st.floats(0.3, 1),  # how good the model of the run would be
    ),
    max_size=40,
)


@effort(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ALARMS, st.integers(0, 2**32), st.floats(0.01, 0.9), st.sampled_from(["paired_bootstrap", "score"]))
def test_the_champion_changes_only_for_one_that_is_surely_better_on_the_frozen_rows(alarms, seed, margin, method):
    values = {**FILE, "gate": {**FILE["gate"]}}
    values["gate"]["against_champion"] = {"non_inferior_by": margin, "resamples": 200, "method": method}
    policy = checked(of_alarm(values)).policy
    generator = np.random.default_rng(seed)
    champion, version, newest, now, started, tries = rows(generator, 0.8), 1, 1, 0.0, [], 0
    for step, kind, data, quality in alarms:
        now, newest = now + step, newest + data
        subject = Subject("digits", str(version), 1, newest)
        limits = Limits([METRIC, DRIFT], cooldown=60.0, budget=5)
        decision = decide(subject, [Signal(kind, "x", "x")], limits, started, now)
        if not decision.run:
            continue
        started.append(StartedRun(now, decision.cause))
        tries += 1
        candidate = rows(generator, quality)
        metrics = {"accuracy": float(candidate.mean())}
        outcome = judge(policy, metrics, candidate, champion, seed % 2**31, tries=Tries(tries, tries))
        if not outcome.passed:
            continue
        assert outcome.comparison.lower > 0
        assert candidate.sum() > champion.sum()
        champion, version = candidate, version + 1


def test_an_equal_model_passes_the_files_gate_and_not_that_of_an_alarm():
    champion = np.random.default_rng(0).random(ROWS) < 0.8
    found = [
        judge(checked(values).policy, {"accuracy": 0.8}, champion, champion).passed for values in (FILE, of_alarm(FILE))
    ]
    assert found == [True, False]


def test_where_nothing_serves_an_alarm_lets_no_first_model_pass():
    candidate = np.ones(ROWS, bool)
    found = [
        judge(checked(values).policy, {"accuracy": 1.0}, candidate, None).passed for values in (FILE, of_alarm(FILE))
    ]
    assert found == [True, False]
