"""Whether two versions answer alike: the same classes, and numbers that differ by less than a twentieth."""

from collections.abc import Iterator
from math import isclose
from typing import Any

CLOSE = 0.05  # of the larger of two numbers


def share_that_agrees(first: Any, second: Any) -> float:
    """The share of the values in two answers that agree; answers of another form do not.

    Args:
        first: predictions as the server tells them: names, numbers, lists of them, objects of outputs.
        second: likewise, to the same instances.
    """
    pairs = list(_pairs(first, second))
    return sum(pairs) / len(pairs) if pairs else 1.0


def _pairs(first: Any, second: Any) -> Iterator[bool]:
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        for name, value in first.items():
            yield from _pairs(value, second[name])
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for one, other in zip(first, second, strict=True):
            yield from _pairs(one, other)
    elif isinstance(first, float) and isinstance(second, float | int):
        yield isclose(first, second, rel_tol=CLOSE)
    else:
        yield first == second
