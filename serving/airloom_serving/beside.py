"""A version on its way to be the champion, beside the champion: whom it answers, and what is counted of it.

Whoever it answers is not hurt by it: what it fails to answer the champion does, and that is counted.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airloom.deployment.rollout import CANARY, SHADOW, Counts, Limits, Rollout
from airloom.errors import InstancesRefused
from airloom.inference.model import NotFinite
from airloom_serving.agreeing import share_that_agrees
from airloom_serving.asgi import Answer
from airloom_serving.limits import RUN_SECONDS
from airloom_serving.questions import Asks, Question, Told
from airloom_serving.served import Busy, ServedModel

MOST_BESIDE = 8  # requests that are asked of the other version too at once; others are not, which is counted
FEW = 200  # requests of the champion whose times say what is slow
AGREES = 0.95  # share of the values of an answer that are the same, where both say the same
_SHARES = 2**64


@dataclass
class Tally:
    """What one process counts of a stage. On the event loop only."""

    limits: Limits
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Counts().to_dict(), 0))
    p95: float = 0.0  # seconds, of the champion; 0 until they are known
    p99: float = 0.0
    _times: list[float] = field(default_factory=list)

    def add(self, *names: str) -> None:
        """Count one more of each."""
        for name in names:
            self.counts[name] += 1

    def champion(self, seconds: float) -> None:
        """Count an answer of the champion; the first ones say what is slow."""
        self.add("champion_requests")
        if self.p95:
            self._slow("champion_", seconds)
            return
        self._times.append(seconds)
        if len(self._times) == FEW:
            self._times.sort()
            self.p95, self.p99 = (self._times[int(FEW * share)] for share in (0.95, 0.99))

    def candidate(self, seconds: float) -> None:
        """Count an answer of the candidate to a client."""
        self.add("requests")
        if self.p95:
            self._slow("", seconds)
            if self.limits.p99_ms is not None and seconds * 1000 > self.limits.p99_ms:
                self.add("too_slow")

    def failed(self) -> None:
        """Count what the candidate could not answer and the champion can."""
        self.add("requests", "errors")

    def _slow(self, whose: str, seconds: float) -> None:
        self.add(f"{whose}timed")
        if seconds > self.p95:
            self.add(f"{whose}slow")
        if seconds > self.p99:
            self.add(f"{whose}very_slow")


class Beside:
    """A candidate in one stage of its rollout.

    Args:
        model: the candidate, loaded.
        rollout: its way.
        generation: of the deployment record that says so.
    """

    def __init__(self, model: ServedModel, rollout: Rollout, generation: int) -> None:
        self.model, self.rollout, self.generation = model, rollout, generation
        self.cut = ""  # why it gets no requests any more, whatever the registry says
        self._tally = Tally(rollout.limits)
        # The same in each stage, so that a larger share has all keys of a smaller one.
        self._salt = f"{model.name}/{model.version}".encode()[-64:]
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def counts(self) -> Counts:
        """What this process has counted since the stage began."""
        return Counts(**self._tally.counts)

    def role_for(self, key: bytes) -> str:
        """What the candidate is for the requests with a key: canary, shadow, or nothing ("")."""
        if self.cut:
            return ""
        drawn = int.from_bytes(hashlib.blake2b(key, digest_size=8, key=self._salt).digest())
        return self.rollout.stage.role if drawn < self.rollout.stage.share * _SHARES else ""

    def refused(self) -> None:
        """The candidate refuses a request that the champion takes."""
        self._tally.failed()

    async def answer(self, server: Asks, question: Question, form: Callable[[Told], Answer]) -> Answer:
        """Answer a question with one of the two, and have the other one answer too where that is wanted."""
        told: list[list[Any]] = []

        def kept(what: Told) -> Answer:
            told.append(what.answers.predictions)
            return form(what)

        # The loop's own clock counts whole milliseconds under uvloop.
        began, champion = time.perf_counter(), question.champion or question.model
        if question.role != CANARY:
            answer = await self._champion(server, question, kept, began)
            other = self.model if question.shadow else None
        else:
            try:
                answer = await server.answered(question, kept, self._seconds())
            except Exception:  # whatever it is: the client gets the champion's answer
                answer = await server.answered(question.of(champion, ""), form)
                self._tally.failed()  # the champion can
                return answer
            self._tally.candidate(time.perf_counter() - began)
            other = champion
        if other is not None:
            self._begin(self._compare(server, question, other, told[0]))
        return answer

    async def _champion(self, server: Asks, question: Question, form: Callable[[Told], Answer], began: float) -> Answer:
        try:
            answer = await server.answered(question, form)
        except Exception as error:
            if isinstance(error, NotFinite) or not isinstance(error, InstancesRefused | Busy):
                self._tally.add("champion_requests", "champion_errors")
            raise
        self._tally.champion(time.perf_counter() - began)
        return answer

    def _seconds(self) -> float:
        """How long the candidate may take: whoever it is too slow for still gets the champion's answer in time."""
        return min(RUN_SECONDS / 2, max(1.0, 10 * self._tally.p99)) if self._tally.p99 else RUN_SECONDS / 4

    def _begin(self, work: Any) -> None:
        if len(self._tasks) >= MOST_BESIDE:
            work.close()
            self._tally.add("dropped")
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compare(self, server: Asks, question: Question, other: ServedModel, predictions: list[Any]) -> None:
        """Ask the other one too; nobody gets its answer."""
        is_candidate = other is self.model
        try:
            answers = await server.unseen(question.of(other, SHADOW), self._seconds())
        except Exception:
            if is_candidate:
                self._tally.failed()
            return
        if is_candidate:
            self._tally.add("requests")
        self._tally.add("compared")
        if share_that_agrees(predictions, answers) < AGREES:
            self._tally.add("disagreed")
