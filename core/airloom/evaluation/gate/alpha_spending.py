"""Alpha spending: all candidates that were ever judged on one test split share one alpha.

Who looks at the same rows again and again finds a candidate that is better by luck. The k-th try may spend
alpha * 6 / (pi * k) ** 2: the shares of infinitely many tries sum to alpha, so the chance that any of them is promoted
falsely stays below alpha, whatever the number of tries (union bound).
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Tries:
    """The numbers of the tries that a decision spends: one, or several for the best of several candidates."""

    first: int = 1
    last: int = 1

    def alpha(self, whole: float) -> float:
        """What each of these candidates may use of `whole`: they share what their tries may spend."""
        shares = [6 / (math.pi * number) ** 2 for number in range(self.first, self.last + 1)]
        return whole * math.fsum(shares) / len(shares)

    def __str__(self) -> str:
        return f"try {self.first}" if self.first == self.last else f"tries {self.first} to {self.last}"


FIRST = Tries()
