"""Intervals for a rate that hold at every look at once, so that looking often costs nothing.

Robbins' mixture: against each possible rate stands the likelihood that all rates together, weighed by Jeffreys' prior
Beta(1/2, 1/2), give to what was seen. A rate is in the interval while that ratio is below 1 / alpha; by Ville's
inequality the true one is outside with a probability of at most alpha, at any time, also at one that was chosen by
looking (Ramdas et al. 2023, "Game-theoretic statistics and safe anytime-valid inference").
"""

from collections.abc import Callable
from math import inf, lgamma, log, pi

_HALVINGS = 40


def interval(hits: int, trials: int, alpha: float) -> tuple[float, float]:
    """The lower and the upper bound of a rate.

    Args:
        hits: how often it happened.
        trials: how often it could have happened.
        alpha: the probability with which the true rate may ever be outside.
    """
    if not trials:
        return 0.0, 1.0
    misses = trials - hits
    mixture = lgamma(hits + 0.5) + lgamma(misses + 0.5) - lgamma(trials + 1) - log(pi)

    def outside(rate: float) -> bool:
        seen = _weighed(hits, rate) + _weighed(misses, 1 - rate)
        return mixture - seen > -log(alpha)

    observed = hits / trials
    low = 0.0 if not hits else _edge(outside, 0.0, observed)
    high = 1.0 if not misses else _edge(outside, 1.0, observed)
    return low, high


def _weighed(count: int, rate: float) -> float:
    if not count:
        return 0.0
    return count * log(rate) if rate > 0 else -inf


def _edge(outside: Callable[[float], bool], beyond: float, within: float) -> float:
    """Where the interval ends between a rate outside and one inside, rounded to the outside: it never is too narrow."""
    for _ in range(_HALVINGS):
        middle = (beyond + within) / 2
        if outside(middle):
            beyond = middle
        else:
            within = middle
    return beyond
