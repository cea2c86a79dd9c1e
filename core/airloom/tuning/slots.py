"""The slots of a study: exactly as many as it has trials. Who holds one works on its trial.

Every change is one transaction with its condition.

FREE ─▶ TAKEN ─▶ COMPLETE | PRUNED
  ▲──────┘ its trial failed, was preempted, or its owner died
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    case,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from airloom import database
from airloom.contracts import Record

TAKEN, COMPLETE, PRUNED = "TAKEN", "COMPLETE", "PRUNED"
FINISHED = (COMPLETE, PRUNED)
LONGEST_BEAT = 10.0  # seconds; a longer silence is a time in which nobody worked
T = TypeVar("T")
FREE = "FREE"
metadata = MetaData()
studies = Table(
    "study_states",
    metadata,
    Column("name", String(500), primary_key=True),
    Column("failed", Text, nullable=False, default=""),
    Column("failed_at", Float(53), nullable=False, default=0.0),
    Column("seconds", Float(53), nullable=False, default=0.0),
    Column("beat", Float(53), nullable=False, default=0.0),
    Column("created", Float(53), nullable=False),
)
slots = Table(
    "study_slots",
    metadata,
    Column("study", String(500), primary_key=True),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("state", String(20), nullable=False, default=FREE),
    Column("token", Integer, nullable=False, default=0),
    Column("owner", String(255), nullable=False, default=""),
    Column("worker", Integer, nullable=False, default=-1),
    Column("trial", Integer, nullable=False, default=-1),
    Column("parameters", JSON),
    Column("tries", Integer, nullable=False, default=0),
    Column("faults", Integer, nullable=False, default=0),
    Column("again", Integer, nullable=False, default=0),
    Column("preempted", Integer, nullable=False, default=0),
    Column("step", Integer, nullable=False, default=-1),
    Column("value", Float(53)),
    Column("seconds", Float(53), nullable=False, default=0.0),
    Column("lost", Float(53), nullable=False, default=0.0),
    Column("cpu_seconds", Float(53), nullable=False, default=0.0),
    Column("peak_memory", BigInteger, nullable=False, default=0),
    Column("mlflow_run", String(64), nullable=False, default=""),
    Column("logged", Integer, nullable=False, default=0),
    Column("reason", Text, nullable=False, default=""),
    Index("study_slots_by_state", "study", "state"),
)


def _fresh() -> dict[str, Any]:
    """What a slot is with new parameters."""
    values: dict[str, Any] = {"trial": -1, "parameters": None, "again": 0, "step": -1, "value": None, "seconds": 0.0}
    values |= {"cpu_seconds": 0.0, "mlflow_run": "", "logged": 0}
    return {**values, "tries": slots.c.tries + 1, "lost": slots.c.lost + slots.c.seconds}


@dataclass(frozen=True)
class Slot(Record):
    """A slot, as the table has it."""

    study: str
    slot: int
    state: str
    token: int  # how often it was reserved; only the newest reservation may write
    owner: str  # who holds it; see `airloom.tuning.ownership`
    worker: int
    trial: int  # number in Optuna of its newest trial, -1 before there is one
    parameters: dict[str, Any] | None  # of that trial, all that the training function gets
    tries: int  # how often it began with new parameters, from 0
    faults: int  # failures by its trials' own fault
    again: int  # those of them with the present parameters
    preempted: int  # how often its trial was killed or stopped from outside
    step: int  # newest reported one
    value: float | None  # newest reported one
    seconds: float  # of the present try, all attempts together
    lost: float  # seconds of the earlier tries
    cpu_seconds: float
    peak_memory: int  # bytes
    mlflow_run: str
    logged: int  # 1 when MLflow has all of it
    reason: str = field(default="")  # why it was last given back

    @property
    def resumes(self) -> bool:
        """Whether there is a trial to go on with."""
        return self.trial >= 0


@dataclass(frozen=True)
class Tally:
    """What a study has come to.

    Attributes:
        trials: slots.
        finished: those that are complete or pruned.
        taken: those in work.
        faults: failures by own fault.
        seconds: wall time in which at least one worker worked.
        device_seconds: time of all trials.
        failed: why the study failed; empty: it did not.
    """

    trials: int
    finished: int
    taken: int
    faults: int
    seconds: float
    device_seconds: float
    failed: str

    @property
    def over(self) -> bool:
        """Whether every slot is finished."""
        return self.finished == self.trials


class Slots:
    """The slots of one installation's studies."""

    def __init__(self, address: str) -> None:
        self._engine = database.patiently(lambda: database.engine(address, metadata))

    def make(self, study: str, trials: int) -> int:
        """Have at least `trials` slots in the study; returns how many it has. Safe to call twice, and at once."""

        def write(connection: Connection) -> int:
            count = connection.execute(select(func.count()).where(slots.c.study == study)).scalar_one()
            if not connection.execute(select(studies.c.name).where(studies.c.name == study)).first():
                connection.execute(insert(studies).values(name=study, created=time.time()))
            new = [{"study": study, "slot": number} for number in range(count, trials)]
            if new:
                connection.execute(insert(slots), new)
            return max(count, trials)

        try:
            return self._write(write)
        except IntegrityError:  # another one made them in between
            return self._write(write)

    def reserve(self, study: str, owner: str, worker: int) -> Slot | None:
        """Take a free slot, one with a trial to go on with first; None where there is none."""
        claim = f"{owner}#{uuid.uuid4().hex[:12]}"  # so that a reservation whose answer was lost is found again
        own = (slots.c.study == study, slots.c.state == TAKEN, slots.c.owner == claim)
        free = (slots.c.study == study, slots.c.state == FREE)
        order = (case((slots.c.trial >= 0, 0), else_=1), slots.c.slot)

        def write(connection: Connection) -> bool:
            if connection.execute(select(slots.c.slot).where(*own)).first():
                return True
            query = select(slots.c.slot, slots.c.token).where(*free).order_by(*order).limit(1)
            first = connection.execute(query).first()
            if first is None:
                return True
            this = (slots.c.study == study, slots.c.slot == first.slot, slots.c.token == first.token)
            values = {"state": TAKEN, "owner": claim, "worker": worker, "token": first.token + 1}
            done = connection.execute(update(slots).where(*this, slots.c.state == FREE).values(**values))
            return bool(done.rowcount)

        while not self._write(write):  # another worker was quicker
            pass
        return next(iter(self._read(*own)), None)

    def hold(self, slot: Slot, **values: Any) -> bool:
        """Change a slot that this reservation still has; returns whether it has."""
        this = (slots.c.study == slot.study, slots.c.slot == slot.slot, slots.c.token == slot.token)
        query = update(slots).where(*this, slots.c.state == TAKEN).values(**values)
        return self._write(lambda connection: connection.execute(query).rowcount == 1)

    def finish(self, slot: Slot, state: str, **values: Any) -> bool:
        """Record that the slot's trial is COMPLETE or PRUNED; returns whether this reservation still had it."""
        return self.hold(slot, state=state, owner="", reason="", **values)

    def release(self, slot: Slot, reason: str, *, fault: bool, keep: bool) -> bool:
        """Give a slot back.

        Args:
            slot: as reserved, or as found with a dead owner.
            reason: for people.
            fault: it counts as a failure by its own fault, else as preempted.
            keep: go on with the same parameters; False: with new ones.
        """
        counters = ("faults", "again") if fault else ("preempted",)
        values = {"state": FREE, "owner": "", "reason": reason[:4000], **{n: slots.c[n] + 1 for n in counters}}
        return self.hold(slot, **(values if keep else values | _fresh()))

    def renew(self, slot: Slot) -> bool:
        """Make a finished slot free: what Optuna has does not say so."""
        this = (slots.c.study == slot.study, slots.c.slot == slot.slot, slots.c.token == slot.token)
        query = update(slots).where(*this, slots.c.state.in_(FINISHED)).values(state=FREE, logged=0)
        return self._write(lambda connection: connection.execute(query).rowcount == 1)

    def note(self, slot: Slot, **values: Any) -> None:
        """Set what MLflow has of this try of the slot, whoever holds it: `mlflow_run`, `logged`."""
        this = (slots.c.study == slot.study, slots.c.slot == slot.slot, slots.c.tries == slot.tries)
        self._write(lambda connection: connection.execute(update(slots).where(*this).values(**values)))

    def beat(self, study: str) -> None:
        """Record that somebody works on the study: its wall time goes on."""
        this, now = studies.c.name == study, time.time()

        def write(connection: Connection) -> None:
            row = connection.execute(select(studies.c.beat).where(this)).one()
            gap = now - row.beat
            passed = gap if 0 < gap < LONGEST_BEAT else 0.0
            values = {"beat": now, "seconds": studies.c.seconds + passed}
            connection.execute(update(studies).where(this, studies.c.beat == row.beat).values(**values))

        self._write(write)

    def fail(self, study: str, reason: str) -> None:
        """Record that the study has failed; the first reason stays."""
        query = update(studies).where(studies.c.name == study, studies.c.failed == "")
        values = {"failed": reason[:4000], "failed_at": time.time()}
        self._write(lambda connection: connection.execute(query.values(**values)))

    def reopen(self, study: str, before: float | None = None) -> bool:
        """Forget the failures of a study that failed, before a time; returns whether it had."""
        at = time.time() if before is None else before
        this = (studies.c.name == study, studies.c.failed != "", studies.c.failed_at < at)

        def write(connection: Connection) -> bool:
            failed = connection.execute(update(studies).where(*this).values(failed="")).rowcount == 1
            if failed:
                connection.execute(update(slots).where(slots.c.study == study).values(faults=0, again=0))
            return failed

        return self._write(write)

    def tally(self, study: str) -> Tally:
        """Count how far the study is."""
        counts = (
            func.count(),
            func.sum(case((slots.c.state.in_(FINISHED), 1), else_=0)),
            func.sum(case((slots.c.state == TAKEN, 1), else_=0)),
            func.sum(slots.c.faults),
            func.sum(slots.c.seconds + slots.c.lost),
        )

        def read(connection: Connection) -> Tally:
            row = connection.execute(select(studies.c.seconds, studies.c.failed).where(studies.c.name == study)).first()
            totals = connection.execute(select(*counts).where(slots.c.study == study)).one()
            trials, finished, taken, faults, used = (value or 0 for value in totals)
            seconds, failed = (row.seconds, row.failed) if row else (0.0, "")
            return Tally(trials, int(finished), int(taken), int(faults), seconds, float(used), failed)

        return self._write(read)

    def all(self, study: str, *states: str) -> list[Slot]:
        """The slots of a study, in order."""
        only = [slots.c.state.in_(states)] if states else []
        return self._read(slots.c.study == study, *only)

    def names(self) -> list[str]:
        """The studies, oldest first."""
        query = select(studies.c.name).order_by(studies.c.created)
        return self._write(lambda connection: [str(row.name) for row in connection.execute(query)])

    def _read(self, *conditions: Any) -> list[Slot]:
        query = select(slots).where(*conditions).order_by(slots.c.slot)
        return self._write(lambda connection: [Slot(**row._mapping) for row in connection.execute(query)])

    def _write(self, work: Callable[[Connection], T]) -> T:
        def once() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        return database.patiently(once)
