"""The gate's decision, without any I/O: numbers in, verdict and evidence out. It fails closed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from airloom.evaluation import paired
from airloom.evaluation.bootstrap import Pair
from airloom.evaluation.gate.alpha_spending import FIRST, Tries
from airloom.spec.gate import AgainstChampion, GateSection, SliceRule

Array = np.ndarray[Any, Any]
Check = tuple[bool, str]
SHOWN = 10  # classes in one reason
LEAST_ROWS = 30  # for losses: fewer rows do not show how they spread


@dataclass(frozen=True)
class PairedComparison:
    """A paired comparison of candidate and champion on the same rows."""

    rows: int
    effect: float  # mean gain: candidate minus champion, turned so that more is better
    lower: float  # one-sided bound at alpha
    interval: tuple[float, float]  # two-sided at 2 alpha
    better: int  # rows that only the candidate has right, or has a lower loss on; 0 for a metric of all rows
    worse: int
    power: float  # chance to pass where the true gain is the planned effect
    alpha: float  # after the correction for earlier tries
    bounds: dict[str, float] = field(default_factory=dict)  # lower bound by method; the least of them counts
    p_value: float | None = None  # of the score test or McNemar's
    units: int | None = None  # what was drawn for a metric of all rows: rows, or groups of them


@dataclass(frozen=True)
class SliceRows:
    """A part of the rows, and the candidate's metrics on it."""

    mask: Array  # bool, shape (n,)
    metrics: dict[str, float]


@dataclass(frozen=True)
class GateOutcome:
    """The verdict with one reason a rule, in the order checked."""

    passed: bool
    reasons: list[str]
    comparison: PairedComparison | None
    slices: dict[str, PairedComparison] = field(default_factory=dict)


def decide(
    policy: GateSection,
    metrics: Mapping[str, float],
    candidate: Array | Pair,
    champion: Array | None,
    seed: int = 0,
    *,
    slices: Mapping[str, SliceRows] | None = None,
    tries: Tries = FIRST,
    unknown: Mapping[str, Mapping[str, int]] | None = None,
) -> GateOutcome:
    """Check every rule; a rule without evidence is a rule not met.

    All rules must hold, so several of them make no false promotion likelier: only tries do.

    Args:
        policy: the pipeline's gate section.
        metrics: the candidate's metrics on the test split.
        candidate: of each test row, shape (n,): whether the candidate has it right (bool), or minus its loss (float).
            For a metric of all rows, or of groups, both models' rows.
        champion: the same of the champion on the same rows; None where nothing serves yet, or a pair is given.
        seed: of the bootstrap.
        slices: by name.
        tries: which tries on this test split the candidate is.
        unknown: the classes that `candidate` or `champion` do not know, with their test rows.
    """
    checks = [_minimum(name, least, metrics) for name, least in policy.at_least.items()]
    checks += [_maximum(name, most, metrics) for name, most in policy.at_most.items()]
    rule, comparison, comparisons = policy.against_champion, None, dict[str, PairedComparison]()
    if problem := _problem(candidate, champion, rule):
        checks.append((False, problem))
    elif not _has_champion(candidate, champion):
        checks.append(_first_model(policy))
    else:
        comparison = _compared(candidate, champion, rule, seed, tries.alpha(rule.alpha))
        checks.append(_against(comparison, rule, tries))
    checks += [_unknown(who, classes, policy) for who, classes in (unknown or {}).items()]
    for name, slice_rule in policy.slices.items():
        part, pair = (slices or {}).get(name), None if comparison is None else (candidate, champion)
        checks += _slice(name, slice_rule, part, rule, seed, pair, tries, comparisons)
    reasons = [f"{'passed' if passed else 'REFUSED'}: {text}" for passed, text in checks]
    return GateOutcome(all(passed for passed, _ in checks), reasons, comparison, comparisons)


def _unknown(who: str, classes: Mapping[str, int], policy: GateSection) -> Check:
    some = [f"{name!a} ({rows} rows)" for name, rows in list(classes.items())[:SHOWN]]
    more = f" and {len(classes) - SHOWN} more" if len(classes) > SHOWN else ""
    named = f"the class {some[0]}" if len(classes) == 1 else f"{len(classes)} classes: {', '.join(some)}{more}"
    allowed, rows = policy.unknown_classes == "count_as_wrong", sum(classes.values())
    counted = f"its answers to {rows} rows count as wrong" if rows else "no test row shows what that costs"
    return allowed, f"the {who} does not know {named}; {counted if allowed else 'gate.unknown_classes is refuse'}"


def _has_champion(candidate: Array | Pair, champion: Array | None) -> bool:
    return candidate.champion is not None if isinstance(candidate, Pair) else champion is not None


def _compared(
    candidate: Array | Pair, champion: Array | None, rule: AgainstChampion, seed: int, alpha: float
) -> PairedComparison:
    if isinstance(candidate, Pair):
        return compare_pair(candidate, rule, seed, alpha)
    assert champion is not None  # noqa: S101 - asked before
    return compare(candidate, champion, rule, seed, alpha=alpha)


def _problem(candidate: Array | Pair, champion: Array | None, rule: AgainstChampion) -> str:
    """Why the rows cannot be judged; empty where they can."""
    if isinstance(candidate, Pair):
        return candidate.problem()
    if not _is_evidence(candidate, rule):
        return f"the candidate's rows are no evidence: {candidate.dtype}, shape {candidate.shape}"
    if champion is None:
        return ""
    if not _is_evidence(champion, rule) or len(champion) != len(candidate):
        message = f"{len(candidate)} rows of the candidate do not pair with {champion.dtype} {champion.shape}"
        return f"{message} of the champion"
    if rule.metric != "accuracy" and len(candidate) < LEAST_ROWS:
        return f"{len(candidate)} rows are no evidence for {rule.metric}: it takes at least {LEAST_ROWS}"
    return ""


def _is_evidence(rows: Array, rule: AgainstChampion) -> bool:
    right = rows.dtype == np.bool_ if rule.metric == "accuracy" else rows.dtype == np.float64
    return bool(right and rows.ndim == 1 and len(rows) > 0 and np.isfinite(rows).all())


def _first_model(policy: GateSection) -> Check:
    if policy.first_model == "minimums":
        return True, "first model: there is no champion to compare with"
    return False, "there is no champion to compare with, and gate.first_model does not let a first model pass"


def _minimum(name: str, least: float, metrics: Mapping[str, float]) -> Check:
    if name not in metrics:
        return False, f"{name} was not measured; it must be at least {least}"
    value = metrics[name]
    # A NaN compares as false, so it never passes; infinity is no measurement either.
    return math.isfinite(value) and value >= least, f"{name} {value:.4f}, at least {least}"


def _maximum(name: str, most: float, metrics: Mapping[str, float]) -> Check:
    if name not in metrics:
        return False, f"{name} was not measured; it must be at most {most}"
    value = metrics[name]
    return math.isfinite(value) and value <= most, f"{name} {value:.4f}, at most {most}"


def _against(comparison: PairedComparison, rule: AgainstChampion, tries: Tries) -> Check:
    text = (
        f"{rule.metric}: a gain of {comparison.effect:+.4f} over the champion, "
        f"with {1 - comparison.alpha:.2%} confidence more than {comparison.lower:+.4f} "
        f"({tries} at alpha {rule.alpha}); "
    )
    if comparison.units is not None and rule.group:
        text = f"{text[:-2]}, drawn as {comparison.units} groups by {rule.group}; "
    wanted = "it must be better" if rule.superior else f"it may be worse by {rule.margin}"
    if rule.method == "mcnemar":
        passed = comparison.p_value is not None and comparison.p_value <= comparison.alpha
        return passed, f"{text}{wanted}: McNemar p {comparison.p_value:.4f}"
    return comparison.lower > -rule.margin, text + wanted


def _slice(
    name: str,
    rule: SliceRule,
    part: SliceRows | None,
    against: AgainstChampion,
    seed: int,
    pair: tuple[Array | Pair, Array | None] | None,
    tries: Tries,
    comparisons: dict[str, PairedComparison],
) -> list[Check]:
    """The checks of one slice; its comparison, where there is one, comes into `comparisons`."""
    if part is None or part.mask.dtype != np.bool_ or not part.mask.any():
        return [(False, f"slice {name} is empty or was not evaluated")]
    checks = [_minimum(metric, least, part.metrics) for metric, least in rule.at_least.items()]
    if rule.non_inferior_by is not None and pair is not None and _has_champion(*pair):
        if len(part.mask) != len(pair[0]):
            return [(False, f"slice {name} marks {len(part.mask)} rows of {len(pair[0])}")]
        asked = against.model_copy(
            update={"non_inferior_by": rule.non_inferior_by, "superior": False, "method": "paired_bootstrap"}
        )
        candidate: Array | Pair = pair[0].take(part.mask) if isinstance(pair[0], Pair) else pair[0][part.mask]
        champion = None if pair[1] is None else pair[1][part.mask]
        if problem := _problem(candidate, champion, asked):
            checks.append((False, problem))
        else:
            comparisons[name] = _compared(candidate, champion, asked, seed, tries.alpha(against.alpha))
            checks.append(_against(comparisons[name], asked, tries))
    return [(passed, f"slice {name} ({int(part.mask.sum())} rows): {text}") for passed, text in checks]


def compare_pair(pair: Pair, rule: AgainstChampion, seed: int = 0, alpha: float | None = None) -> PairedComparison:
    """Compare by a metric of all rows, or by groups of rows, by a paired bootstrap.

    Args:
        pair: candidate and champion, which were checked to be evidence.
        rule: metric, margin, resamples.
        seed: of the bootstrap.
        alpha: default: the rule's.

    Raises:
        GateError: the metric is not defined in too many resamples.
    """
    alpha = rule.alpha if alpha is None else alpha
    drawn = pair.resampled(rule.resamples, seed)
    bounds = drawn.bounds(alpha)
    low, high = min(b.lower for b in bounds.values()), max(b.upper for b in bounds.values())
    chance = drawn.power(rule.planned.effect, rule.margin, alpha)
    lowest = {name: bound.lower for name, bound in bounds.items()}
    return PairedComparison(len(pair), drawn.gain, low, (low, high), 0, 0, chance, alpha, lowest, units=drawn.units)


def compare(
    candidate: Array, champion: Array, rule: AgainstChampion, seed: int = 0, *, alpha: float | None = None
) -> PairedComparison:
    """Compare on rows that were checked to be evidence.

    The bootstrap's percentile bound alone lets more than alpha pass in small tests (5 to 8 % for 5 %), and knows
    nothing of rows that were never seen. For right answers the score bound stands beside it, for losses the bootstrap-t
    bound; the lower one counts.

    Args:
        candidate: bool or float, shape (n,), more is better.
        champion: the same.
        rule: metric, method, margin.
        seed: of the bootstrap.
        alpha: default: the rule's.
    """
    alpha = rule.alpha if alpha is None else alpha
    gains = candidate.astype(np.float64) - champion.astype(np.float64)
    better, worse, rows = int((gains > 0).sum()), int((gains < 0).sum()), len(gains)
    bounds, p_value = dict[str, paired.Bounds](), None
    if rule.metric == "accuracy":
        bounds["score"] = paired.score(better, worse, rows, alpha)
        statistic = paired.score_statistic(better, worse, rows, -rule.margin)
        p_value = 0.5 * math.erfc(statistic / math.sqrt(2))
    else:
        bounds["bootstrap_t"] = paired.studentised(gains, alpha, rule.resamples, seed)
    if rule.method == "paired_bootstrap":
        bounds["bootstrap"] = paired.bootstrap(gains, alpha, rule.resamples, seed)
    if rule.method == "mcnemar":
        p_value = paired.mcnemar(better, worse)
    low, high = min(b.lower for b in bounds.values()), max(b.upper for b in bounds.values())
    chance = paired.power(gains, rule.planned.effect, rule.margin, alpha)
    lowest = {name: bound.lower for name, bound in bounds.items()}
    return PairedComparison(rows, float(gains.mean()), low, (low, high), better, worse, chance, alpha, lowest, p_value)
