"""How soon a bad canary is taken back, and how often a good one: `make bench NAME=rollouts`.

No server: requests are drawn with known rates and judged by what judges them in a server, `airloom.deployment.judge`.
A canary of 10 % beside its champion; each request of the canary is looked at where it fails, so that a median of
requests means requests.

    canary_requests_20   requests that the canary answered before a fault of 20 % was stopped, median of 500 rollouts
    canary_requests_2    the same of a fault of 2 %, with `error_rate: 0.5%`
    false_rollbacks      share of 500 canaries of equal versions that were taken back, a look every 50 requests
    good_requests        requests until an equal version went on, median; the limits are the defaults
"""

import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from airloom.deployment.judge import GO_ON, ROLL_BACK, judge
from airloom.deployment.rollout import CANARY, Counts, Limits, Rollout, Stage
from benchmarks._report import Report

ROLLOUTS = 500
MOST = 20_000  # requests of one canary
BEGAN = datetime.now(UTC)
TARGETS = {
    "canary_requests_20": ("<=", 60.0),
    "canary_requests_2": None,
    "false_rollbacks": ("<=", 0.05),
    "good_requests": None,
}


def rollout(**limits: float) -> Rollout:
    """A canary of 10 %."""
    return Rollout("2", [Stage(CANARY, 0.1, 1, 1e9)], Limits(**limits), since=BEGAN.isoformat())


def looks(seed: int, step: int, rate: float, champion_rate: float = 0.0) -> Iterator[Counts]:
    """What was counted after each `step` requests of the canary; 5 % and 1 % of all are slow."""
    random_, counts = random.Random(seed), Counts()  # noqa: S311 - no secret

    def drawn(requests: int, share: float) -> int:
        return sum(random_.random() < share for _ in range(requests))

    while counts.requests < MOST:
        others = 9 * step
        counts += Counts(
            requests=step,
            errors=drawn(step, rate),
            timed=step,
            slow=drawn(step, 0.05),
            very_slow=drawn(step, 0.01),
            compared=step,
            disagreed=drawn(step, 0.03),
            champion_requests=others,
            champion_errors=drawn(others, champion_rate),
            champion_timed=others,
            champion_slow=drawn(others, 0.05),
            champion_very_slow=drawn(others, 0.01),
        )
        yield counts


def stopped(seed: int, rate: float, wanted: Rollout) -> float:
    """Requests of the canary until it was taken back."""
    before = 0
    for counts in looks(seed, 1, rate):
        if counts.errors > before and judge(wanted, counts, BEGAN).action == ROLL_BACK:
            return counts.requests
        before = counts.errors
    return MOST


def main() -> int:
    """Measure, keep, and say whether the targets hold."""
    report = Report("rollouts", TARGETS)
    report.add("canary_requests_20", [stopped(seed, 0.2, rollout()) for seed in range(ROLLOUTS)])
    strict = rollout(error_rate=0.005)
    report.add("canary_requests_2", [stopped(seed, 0.02, strict) for seed in range(ROLLOUTS)])
    back, good = 0, []
    for seed in range(ROLLOUTS):
        first = 0
        for counts in looks(seed, 50, 0.01, 0.01):
            if counts.requests > 5000:
                break
            action = judge(rollout(), counts, BEGAN).action
            first = first or (counts.requests if action == GO_ON else 0)
            if action == ROLL_BACK:
                back += 1
                break
        if first:
            good.append(first)
    report.add("false_rollbacks", [back / ROLLOUTS])
    report.add("good_requests", good)
    report.note(rollouts=ROLLOUTS, never_went_on=ROLLOUTS - len(good))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
