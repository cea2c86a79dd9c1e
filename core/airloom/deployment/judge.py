"""What comes of a stage: the next one, the end, or nothing yet.

Three outcomes, as a canary without evidence is neither good nor bad. The candidate is taken back where it surely is
worse than the champion by more than a limit; it goes on where it surely is not; and where neither is sure at the
deadline of its stage the champion stays. "Surely" holds for all looks of all stages together: see `sequential`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from airloom.contracts import Record
from airloom.deployment.rollout import CANARY, Counts, Limits, Rollout
from airloom.deployment.sequential import interval

HOLD, GO_ON, ROLL_BACK, KEEP = "hold", "go on", "roll back", "keep the champion"
P99 = 0.01  # of the requests may take longer than `Limits.p99_ms`


@dataclass(frozen=True)
class Rate:
    """How often something happened, and to how many."""

    hits: int
    trials: int


@dataclass(frozen=True)
class Guard(Record):
    """One comparison: the candidate's rate against the champion's, or against a limit alone."""

    what: str
    candidate: Rate
    champion: Rate | None  # None: the limit is no difference
    limit: float

    def seen(self, alpha: float) -> tuple[float, float, str]:
        """Between which bounds the candidate surely is beyond the champion, and a sentence for people.

        Args:
            alpha: the probability with which this may ever be wrong.
        """
        rates = [self.candidate] if self.champion is None else [self.candidate, self.champion]
        (low, high), *others = (interval(rate.hits, rate.trials, alpha / len(rates)) for rate in rates)
        text = f"{self.what}: {_shown(self.candidate)}"
        if others and self.champion is not None:
            text += f", the champion {_shown(self.champion)}"
            (champion_low, champion_high) = others[0]
            low, high = low - champion_high, high - champion_low
        beyond = "more than the champion" if others else "of all"
        return low, high, f"{text}; surely {max(0.0, low):.1%} to {high:.1%} {beyond}, limit {self.limit:.1%}"


@dataclass(frozen=True)
class Verdict(Record):
    """What comes of a stage, why, and what was seen of each limit."""

    action: str  # HOLD, GO_ON, ROLL_BACK, KEEP
    reason: str
    seen: list[str]


def judge(rollout: Rollout, counts: Counts, at: datetime | None = None) -> Verdict:
    """Judge the stage that a rollout is in.

    Args:
        rollout: with its limits.
        counts: of all servers, since the stage began.
        at: the time; now when left out.
    """
    guards = _guards(rollout.stage.role == CANARY, rollout.limits, counts)
    alpha = rollout.limits.alpha / len(rollout.stages) / len(guards)
    seen, unsure = [], ""
    for guard in guards:
        low, high, text = guard.seen(alpha)
        seen.append(text)
        if low > guard.limit:
            return Verdict(ROLL_BACK, text, seen)
        if high >= guard.limit:
            unsure = unsure or text
    needed = rollout.stage.requests
    if counts.requests < needed:
        unsure = f"{counts.requests} of {needed} requests"
    if not unsure:
        return Verdict(GO_ON, f"{counts.requests} requests, within all limits", seen)
    if (at or datetime.now(UTC)) >= rollout.deadline:
        return Verdict(KEEP, f"not sure within {rollout.stage.within:g} s: {unsure}", seen)
    return Verdict(HOLD, unsure, seen)


def _guards(canary: bool, limits: Limits, counts: Counts) -> list[Guard]:
    """What is compared. A shadow's times say nothing: it answers when there is nothing else to do."""
    c, before = counts, counts.champion_requests
    guards = [Guard("errors", Rate(c.errors, c.requests), Rate(c.champion_errors, before), limits.error_rate)]
    guards.append(Guard("other answers", Rate(c.disagreed, c.compared), None, limits.disagreement))
    if canary:
        slow, very_slow = Rate(c.champion_slow, c.champion_timed), Rate(c.champion_very_slow, c.champion_timed)
        guards.append(Guard("slower than the champion's p95", Rate(c.slow, c.timed), slow, limits.slow))
        guards.append(Guard("slower than the champion's p99", Rate(c.very_slow, c.timed), very_slow, limits.very_slow))
    if canary and limits.p99_ms is not None:
        guards.append(Guard(f"slower than {limits.p99_ms:g} ms", Rate(c.too_slow, c.timed), None, P99))
    return guards


def _shown(rate: Rate) -> str:
    return f"{rate.hits} of {rate.trials}"
