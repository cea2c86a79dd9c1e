"""Epochs of several loaders over the same rows: checked for equal rows, then timed in turn."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks._datasets.measure import Clock, Cost, by_cpu, clock, median, ratios

SHORTEST = 0.5  # seconds; of quicker epochs several make one measurement


@dataclass(frozen=True)
class Variant:
    """A way to read all rows once, in batches (inputs, labels).

    `side` says whose it is; of a side with several ways the fastest counts. `shuffle`: over all rows, within a
    block or buffer, or none.
    """

    name: str
    side: str
    shuffle: str
    epoch: Callable[[], Iterable[Any]]


@dataclass
class Race:
    """The variants of one kind of data, and what their epochs cost."""

    rows: int
    variants: Sequence[Variant]
    costs: dict[str, list[Cost]] = field(default_factory=dict)
    _passes: dict[str, int] = field(default_factory=dict)

    def check(self, expected: Iterable[bytes]) -> None:
        """Every variant yields exactly these rows; also warms up, and finds how many epochs make a measurement."""
        wanted = sorted(expected)
        for variant in self.variants:
            found = sorted(digest for batch in variant.epoch() for digest in hashes(*batch))
            assert found == wanted, f"{variant.name}: {len(found)} rows, not the same as the {len(wanted)} given"
            took = _pass(variant, 1).wall
            self._passes[variant.name] = max(1, min(20, math.ceil(SHORTEST / took)))

    def run(self, rounds: int) -> None:
        """Time an epoch of each variant, one after the other, so many times over."""
        for _ in range(rounds):
            for variant in self.variants:
                self.costs.setdefault(variant.name, []).append(_pass(variant, self._passes[variant.name]))

    def fastest(self, side: str, by: Clock) -> list[Cost]:
        """The costs of the best of a side's variants, by one of the two clocks."""
        own = [self.costs[variant.name] for variant in self.variants if variant.side == side]
        return min(own, key=lambda costs: by(median(costs)))

    def times(self, peer: str, by: Clock = by_cpu) -> list[float]:
        """How many times as many rows ours yields in a second of the clock, round by round."""
        return ratios(self.fastest(peer, by), self.fastest("airloom", by), by)

    def table(self, title: str) -> str:
        """A line a variant."""
        best = median(self.fastest("airloom", by_cpu)).cpu
        lines = [f"{title:52}{'shuffle':>8}{'rows/CPU s':>12}{'rows/s':>12}{'ours, CPU':>11}"]
        for variant in self.variants:
            cost = median(self.costs[variant.name])
            speed = f"{self.rows / cost.cpu:>12,.0f}{self.rows / cost.wall:>12,.0f}{cost.cpu / best:>10.2f}x"
            lines.append(f"{variant.name:52}{variant.shuffle:>8}{speed}")
        return "\n".join(lines)

    def record(self) -> dict[str, Any]:
        """For the kept result: seconds an epoch by variant, round by round."""
        return {
            v.name: {
                "side": v.side,
                "shuffle": v.shuffle,
                "cpu_s": [round(cost.cpu, 5) for cost in self.costs[v.name]],
                "wall_s": [round(cost.wall, 5) for cost in self.costs[v.name]],
            }
            for v in self.variants
        }


def _pass(variant: Variant, passes: int) -> Cost:
    with clock() as cost:
        for _ in range(passes):
            for _batch in variant.epoch():
                pass
            del _batch
    return Cost(cost.cpu / passes, cost.wall / passes)


def hashes(inputs: Any, labels: Any) -> Iterator[bytes]:
    """A digest of each row of a batch: of its input's bytes with the label behind them."""
    if isinstance(inputs, dict):
        (inputs,) = inputs.values()
    if isinstance(inputs, (list, tuple)):
        data = (row.encode() if isinstance(row, str) else row for row in inputs)
    else:
        flat = np.ascontiguousarray(np.asarray(inputs)).reshape(len(inputs), -1)
        data = iter(flat)
    ends = np.asarray(labels).astype("<i8")
    for row, label in zip(data, ends, strict=True):
        state = hashlib.md5(row, usedforsecurity=False)
        state.update(label.tobytes())
        yield state.digest()
