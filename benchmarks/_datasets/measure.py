"""What something costs: CPU of this process and of the children that ended, and wall time."""

import gc
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class Cost:
    """Seconds."""

    cpu: float = 0.0
    wall: float = 0.0

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.cpu - other.cpu, self.wall - other.wall)

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.cpu + other.cpu, self.wall + other.wall)


Clock = Callable[[Cost], float]


def now() -> Cost:
    """The clocks; the difference of two readings is a cost."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Cost(sum(u.ru_utime + u.ru_stime for u in used), time.perf_counter())


@contextmanager
def clock() -> Iterator[Cost]:
    """The cost of what is done inside; filled in at the end."""
    gc.collect()
    cost, began = Cost(), now()
    yield cost
    spent = now() - began
    cost.cpu, cost.wall = spent.cpu, spent.wall


def median(costs: Sequence[Cost]) -> Cost:
    """Of CPU and of wall, each for itself."""
    return Cost(statistics.median(c.cpu for c in costs), statistics.median(c.wall for c in costs))


@contextmanager
def timed(owner: Any, name: str) -> Iterator[Cost]:
    """The cost of all calls of `owner.name` inside, so that a part of a larger whole can be told apart."""
    cost, original = Cost(), getattr(owner, name)

    def call(*arguments: Any, **named: Any) -> Any:
        began = now()
        try:
            return original(*arguments, **named)
        finally:
            spent = now() - began
            cost.cpu += spent.cpu
            cost.wall += spent.wall

    setattr(owner, name, call)
    try:
        yield cost
    finally:
        setattr(owner, name, original)


def by_cpu(cost: Cost) -> float:
    """One of the two clocks."""
    return cost.cpu


def by_wall(cost: Cost) -> float:
    """The other one."""
    return cost.wall


def ratios(above: Sequence[Cost], below: Sequence[Cost], by: Clock = by_cpu) -> list[float]:
    """Round by round, as the two sides were measured next to each other."""
    return [by(a) / by(b) for a, b in zip(above, below, strict=True)]
