"""Judges each rollout once a second, cuts off what is worse than the champion, and moves the deployment record."""

import logging
import threading
import uuid
from dataclasses import dataclass, field

from airloom.deployment import rollouts, tallies
from airloom.deployment.judge import GO_ON, HOLD, ROLL_BACK, Verdict, judge
from airloom.deployment.rollout import Counts, Rollout
from airloom.settings import Settings
from airloom_serving.reconciler import Reconciler

log = logging.getLogger(__name__)
EVERY = 1.0  # seconds between two looks


@dataclass
class Written:
    """What the table has of this process."""

    generation: int = 0
    counts: Counts = field(default_factory=Counts)


class Rollouts:
    """A thread that judges, by what all servers have counted.

    Where the database is away it judges by its own counts: they can still cut a candidate off here, and make none the
    champion.

    Args:
        settings: of this installation.
        reconciler: has the candidates.
    """

    def __init__(self, settings: Settings, reconciler: Reconciler) -> None:
        self.problem = ""  # why the last move or write failed
        self._settings, self._reconciler = settings, reconciler
        self._writer = uuid.uuid4().hex
        self._written: dict[str, Written] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rollouts", daemon=True)

    def start(self) -> None:
        """Begin to judge."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            for name, (generation, rollout) in self._reconciler.rollouts.items():
                try:
                    self.look(name, generation, rollout)
                except Exception as error:  # one model's trouble stops no other's rollout
                    self._fails(f"the rollout of {name} does not go on: {error}"[:500])

    def look(self, name: str, generation: int, rollout: Rollout) -> None:
        """Judge one, and do what comes of it.

        Args:
            name: of the model, as clients have it.
            generation: of its deployment record.
            rollout: that the record says.
        """
        registered = self._settings.registered(name)
        counts, is_whole = self._counts(name, registered, generation)
        beside = self._reconciler.besides.get(name)
        verdict = judge(rollout, counts)
        if problem := self._reconciler.refused(name):
            verdict = Verdict(ROLL_BACK, f"it is not served: {problem}", [])
        if beside is not None and beside.generation == generation and verdict.action == ROLL_BACK and not beside.cut:
            beside.cut = verdict.reason
            log.warning("version %s of %s is cut off: %s", rollout.version, name, verdict.reason)
        if verdict.action == HOLD or (verdict.action == GO_ON and not is_whole):
            return
        after = rollouts.go_on(self._settings, registered, generation, verdict, counts)
        if after is not None:
            what = str(after.rollout or f"version {after.champion} serves")
            log.info("%s: %s (%s: %s)", name, what, verdict.action, verdict.reason)
            self._reconciler.wake()

    def _counts(self, name: str, registered: str, generation: int) -> tuple[Counts, bool]:
        """What all servers have counted; where the database is away, this one, and that it is not all."""
        beside = self._reconciler.besides.get(name)
        own = beside.counts if beside is not None and beside.generation == generation else Counts()
        address = self._settings.database_address
        try:
            if self._written.get(name) != (written := Written(generation, own)) and own != Counts():
                tallies.write(address, self._writer, registered, generation, own)
                self._written[name] = written
            total = tallies.total(address, registered, generation)
        except Exception as error:  # a database is away in many ways
            self._fails(f"the counts of a rollout are this process's alone: {error}"[:500])
            return own, False
        self.problem = ""
        return total, True

    def _fails(self, problem: str) -> None:
        if not self.problem:
            log.warning("%s", problem)
        self.problem = problem
