"""The gate's decision, without any I/O: numbers in, verdict and evidence out. It fails closed."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from airloom.pipeline.spec import AgainstChampion, GateSection

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of candidate and champion on the same rows."""

    rows: int
    effect: float  # candidate minus champion
    lower: float  # one-sided bound at alpha
    interval: tuple[float, float]  # two-sided at 2 alpha
    better: int  # rows that only the candidate has right
    worse: int  # rows that only the champion has right
    power: float  # chance to pass at a true difference of 0


@dataclass(frozen=True)
class Outcome:
    """The verdict with one reason a rule, in the order checked."""

    passed: bool
    reasons: list[str]
    comparison: Comparison | None


def decide(
    policy: GateSection, metrics: dict[str, float], candidate: Array, champion: Array | None, seed: int = 0
) -> Outcome:
    """Check every rule; a rule without evidence is a rule not met.

    Args:
        policy: the pipeline's gate section.
        metrics: the candidate's metrics on the test split.
        candidate: bool, shape (n,): which test rows the candidate has right.
        champion: the same of the champion on the same rows; None where nothing serves yet.
        seed: of the bootstrap.
    """
    checks = [_minimum(name, least, metrics) for name, least in policy.at_least.items()]
    comparison = None
    if not _is_evidence(candidate):
        checks.append((False, f"the candidate's rows are no evidence: {candidate.dtype}, shape {candidate.shape}"))
    elif champion is None:
        checks.append((True, "first model: there is no champion to compare with"))
    elif not _is_evidence(champion) or len(champion) != len(candidate):
        message = f"{len(candidate)} rows of the candidate do not pair with {champion.dtype} {champion.shape}"
        checks.append((False, f"{message} of the champion"))
    else:
        comparison = compare(candidate, champion, policy.against_champion, seed)
        checks.append(_non_inferior(comparison, policy.against_champion))
    reasons = [f"{'passed' if passed else 'REFUSED'}: {text}" for passed, text in checks]
    return Outcome(all(passed for passed, _ in checks), reasons, comparison)


def _is_evidence(rows: Array) -> bool:
    return rows.dtype == np.bool_ and rows.ndim == 1 and len(rows) > 0


def _minimum(name: str, least: float, metrics: dict[str, float]) -> tuple[bool, str]:
    if name not in metrics:
        return False, f"{name} was not measured; it must be at least {least}"
    value = metrics[name]
    # A NaN compares as false, so it never passes; infinity is no measurement either.
    return math.isfinite(value) and value >= least, f"{name} {value:.4f}, at least {least}"


def _non_inferior(found: Comparison, rule: AgainstChampion) -> tuple[bool, str]:
    text = (
        f"{rule.metric} differs from the champion's by {found.effect:+.4f}, "
        f"with {1 - rule.alpha:.0%} confidence by more than {found.lower:+.4f}; "
        f"it may be worse by {rule.non_inferior_by}"
    )
    return found.lower > -rule.non_inferior_by, text


def compare(candidate: Array, champion: Array, rule: AgainstChampion, seed: int = 0) -> Comparison:
    """Paired bootstrap of the difference in accuracy (Efron & Tibshirani 1993, ch. 8 and 13).

    A row's difference is -1, 0 or 1, so a resample is one multinomial draw of three counts, whatever the row count.
    Rows that were never seen cannot be drawn: without a row that got worse the bootstrap's bound would say that none
    can. The rule of three (Hanley & Lippman-Hand 1983) then bounds the share of such rows instead.
    """
    rows = len(candidate)
    better, worse = int((candidate & ~champion).sum()), int((champion & ~candidate).sum())
    effect = (better - worse) / rows
    bound = min(1.0, -math.log(rule.alpha) / rows)
    if better + worse == 0:
        low, high, error = -bound, bound, bound / NormalDist().inv_cdf(1 - rule.alpha)
    else:
        shares = np.array([worse, rows - better - worse, better]) / rows
        draws = np.random.default_rng(seed).multinomial(rows, shares, rule.resamples)
        differences = (draws[:, 2] - draws[:, 0]) / rows
        low, high = (float(value) for value in np.quantile(differences, [rule.alpha, 1 - rule.alpha]))
        low = min(low, -bound) if worse == 0 else low
        error = math.sqrt(((better + worse) / rows - effect**2) / rows) or 1 / rows
    normal = NormalDist()
    power = normal.cdf(rule.non_inferior_by / error - normal.inv_cdf(1 - rule.alpha))
    return Comparison(rows, effect, low, (low, high), better, worse, power)
