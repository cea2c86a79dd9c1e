"""Intervals that hold at every look, and what is judged by them."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.deployment.judge import GO_ON, HOLD, KEEP, ROLL_BACK, judge
from airloom.deployment.rollout import CANARY, SHADOW, Counts, Limits, Rollout, Stage
from airloom.deployment.sequential import interval

BEGAN = datetime(2026, 11, 30, tzinfo=UTC)
LOOK = 50  # requests of the candidate between two looks


def rollout(role=CANARY, requests=500, within=3600.0, **limits) -> Rollout:
    stage = Stage(role, 0.1, requests, within)
    return Rollout("2", [stage], Limits(**limits), since=BEGAN.isoformat())


def drawn(random_, requests, rate) -> int:
    return sum(random_.random() < rate for _ in range(requests))


def looks(seed, rate=0.0, champion_rate=0.0, slow=0.05, most=5000, look=LOOK):
    """Counts of a canary of 10 %, look by look: errors at two rates, times of which 5 % and 1 % are slow."""
    random_, counts = random.Random(seed), Counts()
    while counts.requests < most:
        more = {"requests": look, "errors": drawn(random_, look, rate), "timed": look, "compared": look}
        more |= {"champion_requests": 9 * look, "champion_errors": drawn(random_, 9 * look, champion_rate)}
        more |= {"champion_timed": 9 * look, "champion_slow": drawn(random_, 9 * look, 0.05)}
        more |= {"champion_very_slow": drawn(random_, 9 * look, 0.01), "slow": drawn(random_, look, slow)}
        counts += Counts(**more, very_slow=drawn(random_, look, 0.01))
        yield counts


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.floats(1e-6, 0.5))
def test_it_holds_what_was_seen(hits, misses, alpha):
    trials = hits + misses
    low, high = interval(hits, trials, alpha)
    assert 0 <= low <= high <= 1
    assert not trials or low <= hits / trials <= high
    wider = interval(hits, trials, alpha / 2)
    assert wider[0] <= low
    assert wider[1] >= high


@pytest.mark.parametrize("rate", [0.001, 0.05, 0.5])
def test_the_true_rate_is_outside_at_any_look_as_rarely_as_promised(rate):
    """A fixed interval that is looked at so often is wrong in about a third of these."""
    wrong = 0
    for seed in range(60):
        random_, hits = random.Random(seed), 0
        for trials in range(1, 300):
            hits += random_.random() < rate
            low, high = interval(hits, trials, 0.1)
            if not low <= rate <= high:
                wrong += 1
                break
    assert wrong <= 6


@pytest.mark.parametrize("seeds", [25, pytest.param(500, marks=pytest.mark.long)])
def test_equal_versions_are_taken_back_as_rarely_as_alpha_says(seeds, record_property):
    back = 0
    for seed in range(seeds):
        verdicts = (judge(rollout(), counts, BEGAN) for counts in looks(seed, 0.02, 0.02))
        back += any(verdict.action == ROLL_BACK for verdict in verdicts)
    record_property("rolled back", f"{back} of {seeds} canaries of equal versions, a look every {LOOK} requests")
    assert back <= 0.05 * seeds


def first_rollback(seed, **rates) -> int:
    for counts in looks(seed, **rates):
        if judge(rollout(), counts, BEGAN).action == ROLL_BACK:
            return counts.requests
    return 10**9


@pytest.mark.parametrize(("rate", "most"), [(0.2, 60), (0.5, 20)])
def test_a_planted_fault_is_stopped_soon(rate, most):
    needed = sorted(first_rollback(seed, rate=rate, look=1, most=400) for seed in range(41))
    assert needed[20] <= most


def test_an_equal_version_goes_on():
    needed = []
    for seed in range(11):
        actions = {
            judge(rollout(), counts, BEGAN).action: counts.requests for counts in looks(seed, 0.001, 0.001, most=2000)
        }
        assert ROLL_BACK not in actions
        needed.append(GO_ON in actions)
    assert sum(needed) >= 9


def test_without_requests_nothing_goes_on():
    for role in (CANARY, SHADOW):
        wanted = rollout(role, requests=1)
        assert judge(wanted, Counts(), BEGAN).action == HOLD
        late = judge(wanted, Counts(), BEGAN + timedelta(hours=2))
        assert (late.action, "0 of 1 requests" in late.reason) == (KEEP, True)
        only_champion = Counts(champion_requests=10**6, champion_timed=10**6)
        assert judge(wanted, only_champion, BEGAN).action == HOLD


def test_who_is_slower_is_taken_back():
    slow = [first_rollback(seed, slow=0.4) for seed in range(5)]
    assert max(slow) <= 500


def test_a_limit_in_milliseconds_is_of_the_candidate_alone():
    counts = Counts(requests=2000, timed=2000, too_slow=80, compared=2000, champion_requests=9000, champion_timed=9000)
    verdict = judge(rollout(p99_ms=20.0), counts, BEGAN)
    assert (verdict.action, "80 of 2000" in verdict.reason) == (ROLL_BACK, True)
    assert judge(rollout(), counts, BEGAN).action == GO_ON


def test_who_answers_otherwise_is_taken_back_and_a_shadows_times_say_nothing():
    differs = Counts(requests=300, compared=300, disagreed=240, champion_requests=300)
    assert judge(rollout(SHADOW), differs, BEGAN).action == ROLL_BACK
    alike = Counts(requests=600, compared=600, disagreed=3, champion_requests=900, timed=600, slow=600, very_slow=600)
    assert judge(rollout(SHADOW), alike, BEGAN).action == GO_ON
    assert judge(rollout(CANARY), alike, BEGAN).action != GO_ON


def test_alpha_is_shared_by_the_stages():
    """The same counts: sure for one stage, not for the fourth of four."""
    counts = Counts(requests=36, errors=8, compared=36, champion_requests=360)
    one = rollout(SHADOW)
    assert judge(one, counts, BEGAN).action == ROLL_BACK
    assert judge(one.with_(stages=one.stages * 64), counts, BEGAN).action == HOLD
