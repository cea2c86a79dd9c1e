"""Where the gate's statistics end: few rows, senseless arrays, and how often it errs at the boundary."""

import math

import numpy as np
import pytest

from airloom.evaluation.gate.decide import compare, decide
from airloom.spec.gate import AgainstChampion, GateSection

RULE = AgainstChampion(non_inferior_by=0.05, alpha=0.05, resamples=400)
POLICY = GateSection(at_least={"accuracy": 0.8}, against_champion=RULE, first_model="minimums")
GOOD = {"accuracy": 0.9}


def rows(both: int, better: int, worse: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Which rows candidate and champion have right, given how many each has alone."""
    candidate = np.repeat([True, True, False, False], [both, better, worse, neither])
    return candidate, np.repeat([True, False, True, False], [both, better, worse, neither])


@pytest.mark.parametrize("better", [0, 1])
def test_a_handful_of_rows_proves_nothing(better: int) -> None:
    """No row got worse, but 20 rows cannot rule out that one in twenty does."""
    assert not decide(POLICY, GOOD, *rows(20 - better, better, 0, 0)).passed
    assert decide(POLICY, GOOD, *rows(400 - better, better, 0, 0)).passed


@pytest.mark.parametrize("worse", [0, 1])
def test_one_row_has_no_bound_outside_the_possible(worse: int) -> None:
    assert -1 <= compare(*rows(0, 1 - worse, worse, 0), RULE).lower <= 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_senseless_metric_never_passes(value: float) -> None:
    assert not decide(POLICY, {"accuracy": value}, *rows(400, 0, 0, 0)).passed


@pytest.mark.parametrize("senseless", [np.ones(200), np.full(200, np.nan), np.ones((200, 1), bool), np.ones(0, bool)])
def test_arrays_that_are_no_evidence_never_pass(senseless: np.ndarray) -> None:
    good = np.ones(len(senseless), bool)
    assert not decide(POLICY, GOOD, senseless, None).passed
    assert not decide(POLICY, GOOD, senseless, good).passed
    assert not decide(POLICY, GOOD, good, senseless).passed


def test_power_is_the_normal_formula() -> None:
    found = compare(*rows(900, 30, 30, 40), RULE)
    spread = math.sqrt(60 / 1000 / 1000)
    assert found.power == pytest.approx(0.5 * (1 + math.erf((0.05 / spread - 1.6448536) / math.sqrt(2))), abs=1e-6)


@pytest.mark.parametrize(("better", "size"), [(0, 150), (0.03, 150), (0.03, 450), (0.1, 150), (0.1, 450)])
def test_false_passes_at_the_boundary_are_about_alpha(better: float, size: int) -> None:
    """The candidate is worse by exactly the margin. Whole rows leave the score bound some lumps."""
    generator, passed = np.random.default_rng(7), 0
    for seed in range(300):
        draw = generator.uniform(size=size)
        worse, gained = draw < better + RULE.non_inferior_by, draw > 1 - better
        passed += compare(~worse, ~gained, RULE, seed).lower > -RULE.non_inferior_by
    assert passed <= 26  # 300 * 0.05 is 15; 26 or more come by chance once in 200
