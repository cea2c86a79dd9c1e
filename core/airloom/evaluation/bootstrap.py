"""A paired bootstrap of any metric: rows are drawn, or groups of rows that belong together, for both models at once.

Efron & Tibshirani 1993: percentile bounds (ch. 13), and those of a normal distribution with the resamples' spread,
Student's in place of it as units are few. The difference of the models itself is drawn, so that what both find hard
cancels out. The lower bound counts: percentiles alone promise too much in small tests and near the ends of a scale.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from airloom.errors import GateError
from airloom.evaluation.paired import Bounds
from airloom.tasks.rows import Answered, Array
from airloom.tasks.whole import OfSums, Sums, Whole, sign

PART = 2_000_000  # weights that are in memory at once
UNDEFINED = 0.01  # share of resamples in which a metric may not be defined, such as AUC without a positive row
FINE = 20  # copies of each row in a population that is weighted by chances
LEAST_UNITS = 30  # rows or groups: fewer do not show how they spread


@dataclass(frozen=True)
class Resampled:
    """What the resamples say of the gain: candidate minus champion, turned so that more is better."""

    gain: float
    gains: Array  # of the resamples, where it is defined
    units: int  # rows, or groups

    @property
    def error(self) -> float:
        """The standard error of the gain."""
        return float(self.gains.std(ddof=1))

    def bounds(self, alpha: float) -> dict[str, Bounds]:
        """One-sided bounds at alpha each, by method."""
        from scipy.stats import t

        low, high = np.quantile(self.gains, [alpha, 1 - alpha])
        reach = float(t.ppf(1 - alpha, self.units - 1)) * self.error
        return {
            "bootstrap": Bounds(float(low), float(high)),
            "standard_error": Bounds(self.gain - reach, self.gain + reach),
        }

    def power(self, effect: float, margin: float, alpha: float) -> float:
        """The chance that a candidate whose true gain is `effect` passes, by the normal approximation."""
        error = self.error or 1e-12
        return NormalDist().cdf((effect + margin) / error - NormalDist().inv_cdf(1 - alpha))


@dataclass(frozen=True)
class Pair:
    """Candidate and champion on the same rows, and the metric of all rows by which they are compared.

    Attributes:
        metric: its name.
        measure: the metric.
        candidate: its rows.
        champion: the champion's; None where there is none.
        groups: numbers of what rows belong to, int64 (n,); None: each is alone.
    """

    metric: str
    measure: Whole
    candidate: Answered
    champion: Answered | None
    groups: Array | None = None

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.candidate)

    @property
    def units(self) -> int:
        """How many rows or groups are drawn of."""
        return len(self) if self.groups is None else len(np.unique(self.groups))

    def take(self, places: Array) -> "Pair":
        """Some rows, or those of a mask."""

        def of(rows: Answered) -> Answered:
            return Answered(rows.label[places], rows.answers.take(places), rows.classes)

        groups = None if self.groups is None else self.groups[places]
        return Pair(self.metric, self.measure, of(self.candidate), self.champion and of(self.champion), groups)

    def problem(self) -> str:
        """Why the rows are no evidence; empty where they are."""
        models = {"candidate": self.candidate} | ({"champion": self.champion} if self.champion else {})
        for who, rows in models.items():
            if not len(rows) or not math.isfinite(value := self.measure.value(rows)):
                return f"{self.metric} of the {who} is {value if len(rows) else 'of no rows'}"
        if self.champion and self.units < LEAST_UNITS:
            what = "rows" if self.groups is None else "groups"
            return f"{self.units} {what} are no evidence for {self.metric}: it takes at least {LEAST_UNITS}"
        return ""

    def resampled(self, resamples: int, seed: int) -> Resampled:
        """The gains of so many resamples.

        Raises:
            GateError: the metric is not defined in too many of them.
        """
        assert self.champion is not None  # noqa: S101 - `problem` looked
        turn, draw = sign(self.metric), self._difference()
        gains = draw(resamples, np.random.default_rng(seed))
        gain = turn * (self.measure.value(self.candidate) - self.measure.value(self.champion))
        known = np.isfinite(gains)
        if known.mean() < 1 - UNDEFINED:
            share = f"{1 - known.mean():.1%} of the resamples"
            raise GateError(f"{self.metric} is not defined in {share}", "a class has too few rows; commit more of it")
        return Resampled(gain, turn * gains[known], self.units)

    def influence(self, drawn: int = 0) -> tuple[Array, Callable[[Array], float]]:
        """How much each row or group moves the gain; and the gain where each has a chance, as a function of these.

        Args:
            drawn: resamples in which it is told by how often the row comes, for a metric that jumps; 0: it is left out.
        """
        assert self.champion is not None  # noqa: S101 - `problem` looked
        ours, theirs = self.measure.weighted(self.candidate), self.measure.weighted(self.champion)
        units, turn = self.units, sign(self.metric)
        places = np.arange(len(self)) if self.groups is None else np.unique(self.groups, return_inverse=True)[1]

        def gains(weights: Array) -> Array:
            return turn * (ours(weights[:, places]) - theirs(weights[:, places]))

        def of_chances(chances: Array) -> float:
            # Whole numbers, as a function of one's own takes rows and no weights; finer than any chance matters.
            ends = np.floor(np.cumsum(chances) * FINE * units + 0.5)
            return float(gains(np.diff(ends, prepend=0)[None])[0])

        if drawn:
            often = np.random.default_rng(0).multinomial(units, np.full(units, 1 / units), drawn)
            moves = gains(often)
            known = np.isfinite(moves)
            return (moves[known] - moves[known].mean()) @ (often[known] - 1.0), of_chances
        moved, size = np.empty(units), max(1, PART // len(self))
        for at in range(0, units, size):
            stop = min(at + size, units)
            weights = np.ones((stop - at, units))
            weights[np.arange(stop - at), np.arange(at, stop)] = 0
            moved[at:stop] = -gains(weights)
        return np.nan_to_num(moved - np.nanmean(moved)), of_chances

    def _difference(self) -> Callable[[int, np.random.Generator], Array]:
        """Draws resamples and gives candidate minus champion of each."""
        assert self.champion is not None  # noqa: S101 - `problem` looked
        functions = self.measure.weighted(self.candidate), self.measure.weighted(self.champion)
        ours, theirs = functions
        if isinstance(ours, Sums) and isinstance(theirs, Sums):
            return _of_counts(ours, theirs, self.groups)
        units, places = self.units, None
        if self.groups is not None:
            places = np.unique(self.groups, return_inverse=True)[1]

        def draw(resamples: int, generator: np.random.Generator) -> Array:
            def of(weights: Array) -> Array:
                rows = weights if places is None else weights[:, places]
                return ours(rows) - theirs(rows)

            return _in_parts(np.ones(units), resamples, generator, of, len(self))

        return draw


def _of_counts(ours: Sums, theirs: Sums, groups: Array | None) -> Callable[[int, np.random.Generator], Array]:
    """Of sums only how often each different row is drawn is needed; the rows of a group are added up before."""
    cells, width = np.hstack([ours.cells, theirs.cells]), ours.cells.shape[1]
    if groups is not None:
        places = np.unique(groups, return_inverse=True)[1]
        summed = np.zeros((places.max() + 1, cells.shape[1]))
        np.add.at(summed, places, cells)
        cells = summed
    different, counts = np.unique(cells, axis=0, return_counts=True)

    def of(weights: Array) -> Array:
        sums = weights.astype(np.float64) @ different
        with np.errstate(divide="ignore", invalid="ignore"):
            return ours.of(sums[:, :width]) - theirs.of(sums[:, width:])

    return lambda resamples, generator: _in_parts(counts, resamples, generator, of, len(different))


def _in_parts(
    counts: Array, resamples: int, generator: np.random.Generator, of: Callable[[Array], Array], width: int
) -> Array:
    """Multinomial draws of as many units as there are, a part at a time."""
    units, size = int(counts.sum()), max(1, PART // max(width, len(counts)))
    values = np.empty(resamples)
    for at in range(0, resamples, size):
        part = slice(at, min(at + size, resamples))
        values[part] = of(generator.multinomial(units, counts / units, part.stop - part.start))
    return values


def mean_of(merit: Callable[[Answered], Array]) -> Whole:
    """The mean of what each row has, as a metric of all rows: for groups, whose rows are not drawn alone."""

    def cells(rows: Answered) -> Array:
        return np.stack([merit(rows).astype(np.float64), np.ones(len(rows))], 1)

    return OfSums(cells, lambda sums: sums[:, 0] / sums[:, 1])
