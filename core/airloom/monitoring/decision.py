"""What is to be done about the signs that were found. Pure: signs, past runs and a clock in, one decision out.

Signs are taken in this order, and the first one decides. A data fault is quarantined: training on it would be harm.
A measured metric that surely fell starts a run. What is weak, or only estimated, asks a person. Drift explains.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from airloom.contracts import Record

FAULT, METRIC, ESTIMATE, DRIFT, ALERT = "data fault", "metric", "estimate", "drift", "alert"  # kinds, in their order
QUARANTINE, RETRAIN, ASK, EXPLAIN, NOTHING = "quarantine", "retrain", "ask a person", "explain", "nothing"  # actions
ORDER = (FAULT, METRIC, ESTIMATE, DRIFT, ALERT)
WEEK = 7 * 86_400.0
RUN = "monitor__"  # how the ids of runs begin that were started so


@dataclass(frozen=True)
class Signal(Record):
    """A sign that something is not as it was.

    Attributes:
        kind: `data fault`, `metric`, `estimate`, `drift` or `alert`.
        subject: the feature, the metric, the alert.
        says: for people.
        sure: whether the evidence is strong; of an estimate: whether it may be trusted, too.
    """

    kind: str
    subject: str
    says: str
    sure: bool = True


@dataclass(frozen=True)
class Limits(Record):
    """What may start runs, and how many.

    Attributes:
        starts: kinds of signs that start a run: `metric`, `drift`; none: a person is asked.
        cooldown: seconds between the starts of two runs.
        budget: runs within seven days.
    """

    starts: list[str] = field(default_factory=list)
    cooldown: float = 86_400.0
    budget: int = 2


@dataclass(frozen=True)
class Subject(Record):
    """What is watched.

    Attributes:
        model: by its name in the registry.
        version: the champion's number.
        trained: number of the dataset version that it learned from.
        newest: of the dataset version that a run would learn from.
    """

    model: str
    version: str
    trained: int
    newest: int


@dataclass(frozen=True)
class StartedRun(Record):
    """A run that an earlier decision started: when, in seconds since 1970, and for which cause."""

    at: float
    cause: str


@dataclass(frozen=True)
class MonitorDecision(Record):
    """One decision.

    Attributes:
        action: `quarantine`, `retrain`, `ask a person`, `explain` or `nothing`.
        kind: of the sign that decided; empty for none.
        says: why, for people.
        cause: of a run: the same for the same sign of the same version on the same data; else empty.
    """

    action: str
    kind: str
    says: str
    cause: str = ""

    @property
    def run(self) -> str:
        """The id of the run that it starts; the same for the same cause, so that a retry starts no second one."""
        return RUN + self.cause if self.action == RETRAIN else ""


def decide(
    subject: Subject, signals: Sequence[Signal], limits: Limits, started: Sequence[StartedRun], now: float
) -> MonitorDecision:
    """The one thing to do.

    Args:
        subject: what is watched.
        signals: in any order.
        limits: of runs.
        started: all runs of the model that earlier decisions started.
        now: seconds since 1970. Runs that seem to lie ahead, as the clock was put back, count as just started.
    """
    first = min(signals, key=_rank, default=None)
    if first is None:
        return MonitorDecision(NOTHING, "", "nothing is wrong, as far as it can be told")
    says = _listed([signal for signal in signals if signal.kind == first.kind])
    if first.kind == FAULT:
        more = "the window is not to be learned from, and no run is started: whoever sends the data has to mend them"
        return MonitorDecision(QUARANTINE, FAULT, f"{says}; {more}")
    if first.kind == METRIC:
        if not first.sure:
            return MonitorDecision(ASK, METRIC, f"{says}; that may be chance: more labels would tell")
        if METRIC not in limits.starts:
            return MonitorDecision(ASK, METRIC, f"{says}; the pipeline file lets no metric start a run")
        return _run(subject, METRIC, first.subject, says, limits, started, now)
    if first.kind == ESTIMATE and first.sure:
        return MonitorDecision(ASK, ESTIMATE, f"{says}; an estimate starts no run: labels would tell")
    drifts = [signal for signal in signals if signal.kind == DRIFT]
    if drifts and DRIFT in limits.starts:
        return _run(subject, DRIFT, "", _listed(drifts), limits, started, now)
    return MonitorDecision(EXPLAIN, first.kind, f"{says}; that starts nothing by itself")


def loss(
    value: float, interval: Sequence[float], baseline: float, margin: float, *, more_is_better: bool
) -> tuple[bool, bool]:
    """Whether a metric is worse than its baseline by more than a margin, and whether that is sure.

    Args:
        value: what was measured.
        interval: of it; without one nothing is sure.
        baseline: on the test rows.
        margin: in the metric's own unit.
        more_is_better: of the metric.
    """
    turn = 1 if more_is_better else -1
    least = turn * baseline - margin
    sure = len(interval) == 2 and max(turn * end for end in interval) < least
    return turn * value < least, sure


def _run(
    subject: Subject,
    kind: str,
    about: str,
    says: str,
    limits: Limits,
    started: Sequence[StartedRun],
    now: float,
) -> MonitorDecision:
    """Start a run, unless it is too soon, has been tried, could learn nothing, or there were enough."""
    last = max((run.at for run in started), default=None)
    if last is not None and now < last + limits.cooldown:
        until = _shown(last + limits.cooldown)
        return MonitorDecision(
            EXPLAIN, kind, f"{says}; the last run was started at {_shown(last)}, the next not before {until}"
        )
    cause = cause_of(subject, kind, about)
    if any(run.cause == cause for run in started):
        return MonitorDecision(ASK, kind, f"{says}; run {RUN}{cause} was started for that already, on the same data")
    if subject.newest <= subject.trained:
        return MonitorDecision(
            ASK, kind, f"{says}; there are no rows newer than those it learned from: commit new ones"
        )
    recent = sum(run.at > now - WEEK for run in started)
    if recent >= limits.budget:
        return MonitorDecision(ASK, kind, f"{says}; the budget of {limits.budget} runs a week is used up")
    return MonitorDecision(RETRAIN, kind, says, cause)


def cause_of(subject: Subject, kind: str, about: str = "") -> str:
    """What names a cause: the same sign of the same version, on the same data, is the same cause."""
    parts = [subject.model, subject.version, subject.newest, kind, about]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _rank(signal: Signal) -> tuple[int, bool]:
    return ORDER.index(signal.kind), not signal.sure


def _listed(signals: Sequence[Signal]) -> str:
    said = [signal.says for signal in sorted(signals, key=_rank)]
    return "; ".join(said[:3]) + (f"; and {len(said) - 3} more" if len(said) > 3 else "")


def _shown(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M}"
