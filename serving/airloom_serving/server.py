"""One server process: what it serves, and how a judged request is answered."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from airloom.deployment.rollout import CANARY, SHADOW
from airloom.errors import InstancesRefused
from airloom.inference.best import Best, best, joined, tells_classes
from airloom.inference.instances import Instances, TooMany
from airloom.inference.model import Answers, Ended, Extras, NotFinite
from airloom.monitoring import prediction_id
from airloom.names import shown_model
from airloom.registry import tokens
from airloom.settings import Settings
from airloom.settings import load as load_settings
from airloom_serving.access import GRANT, Access, check_ask, check_see
from airloom_serving.access_log import REQUEST
from airloom_serving.asgi import Answer, Refused
from airloom_serving.batches import run_options, terminate
from airloom_serving.counter import PredictionCounter
from airloom_serving.limits import BATCHED_ROWS, MOST_VALUES, RUN_SECONDS
from airloom_serving.logged_rows import TOP, Answered, Inputs, Scored, shortened
from airloom_serving.metrics import Metrics
from airloom_serving.questions import Judge, Question, Told
from airloom_serving.reconciler import Reconciler
from airloom_serving.request_minutes import RequestMinutes
from airloom_serving.rollouts import Rollouts
from airloom_serving.served import Asleep, Busy, ServedModel, TookTooLong
from airloom_serving.source import Source

T = TypeVar("T")
CHAMPION = "champion"
NONE = Extras()
WAKES = 3  # tries to ask a model that others push out of memory again
log = logging.getLogger(__name__)


class Logged(NamedTuple):
    """What the log is told beside the answers: id and trace of the request, its classes, and how long it took."""

    asked: tuple[bytes, str]
    scored: Scored | None
    seconds: float


class Log(Protocol):
    """Where answers are told."""

    dropped: int

    def start(self) -> None:
        """Begin to write."""

    def stop(self) -> None:
        """Write what waits."""

    def add(self, answered: Answered) -> None:
        """Take the answers to a request; never waits."""


class Server:
    """The state of one server process.

    Args:
        settings: of the installation; None: those of this process.
        source: of the models; None: the registry.
    """

    def __init__(self, settings: Settings | None = None, source: Source | None = None) -> None:
        settings = settings or load_settings()
        self.installation = settings.installation
        self.reconciler: Source = source or Reconciler(settings)
        self.rollouts: Rollouts | None = None
        if isinstance(self.reconciler, Reconciler):
            self.rollouts = Rollouts(settings, self.reconciler)
        self.metrics = Metrics()
        self.log: Log = self._log(settings)
        self.counter = PredictionCounter(settings.database_address)
        self.minutes = RequestMinutes(settings.database_address, self.metrics.asked)
        self.requests: Counter[str] = Counter()
        self.access = Access(settings.model_token, tokens.file_of(settings))

    def _log(self, settings: Settings) -> Log:
        # Here, as a package, which logs nothing, has no pyarrow.
        from airloom.monitoring.segment_retention import Limits
        from airloom_serving.prediction_log import PredictionLog

        return PredictionLog(
            settings.prediction_log,
            settings.prediction_log_share,
            Limits(settings.prediction_log_days, settings.prediction_log_gb),
            count_dropped=self.metrics.log_dropped.inc,
            count_written=self.metrics.log_written.inc,
        )

    def start(self) -> None:
        """Begin to follow the registry and the file of tokens, to count and to write the log."""
        self.access.start()
        self.log.start()
        self.counter.start()
        self.minutes.start()
        self.reconciler.start()
        if self.rollouts is not None:
            self.rollouts.start()

    def stop(self) -> None:
        """End all of them; what is counted and queued is written."""
        if self.rollouts is not None:
            self.rollouts.stop()
        self.access.stop()
        self.log.stop()
        self.counter.stop()
        self.minutes.stop()
        self.reconciler.stop()

    async def awake(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` returns, once the model that it asks is in memory.

        Raises:
            Busy: the model cannot be loaded now.
        """
        for _ in range(WAKES):
            try:
                return await ask()
            except Asleep as asleep:
                name = asleep.name
            loading = asyncio.wrap_future(self.reconciler.want(name))
            try:
                async with asyncio.timeout(RUN_SECONDS):
                    await asyncio.shield(loading)  # others wait for it too
            except TimeoutError:
                break
        problem = self.reconciler.errors.get(name, f"it was not loaded within {RUN_SECONDS:g} s")
        raise Busy(f"{name} cannot be asked now: {problem}")

    async def model(self, name: str, version: str = "") -> ServedModel:
        """The model that serves under a name, once it is in memory; see `served`."""

        async def ask() -> ServedModel:
            return self.served(name, version)

        return await self.awake(ask)

    def question(
        self, name: str, key: bytes, judge: Judge, extras: Extras | None = None, *, version: str = "", raw: bool = False
    ) -> Question:
        """Judge a request for the version that answers it: the champion, or during a rollout also the candidate.

        Args:
            name: of the model, as a client has it.
            key: requests with the same key are answered by the same version.
            judge: makes instances of the request, as a version takes them.
            extras: what is wanted besides.
            version: that is asked for; "": whatever serves.
            raw: whether the graph's own outputs are wanted.

        Raises:
            Refused: no such model is served.
            InstancesRefused: it does not take the instances.
        """
        model = self.served(name, version)
        extras = NONE if extras is None else extras
        beside = None if version else self.reconciler.besides.get(self.short(model.name))
        if self.reconciler.shelf.room:
            self.reconciler.shelf.used(self.short(model.name))
        if beside is None:
            return Question(model, self._judged(judge, model), judge, extras, raw)
        role = beside.role_for(key)
        if role == CANARY:
            try:
                instances = judge(beside.model)
            except (InstancesRefused, Refused):
                instances = self._judged(judge, model)  # else it is the client's mistake
                beside.refused()
                self.minutes.add(beside.model, role, "refused")
                return Question(model, instances, judge, extras, raw)
            return Question(beside.model, instances, judge, extras, raw, beside, model, CANARY)
        return Question(model, self._judged(judge, model), judge, extras, raw, beside, model, shadow=role == SHADOW)

    def _judged(self, judge: Judge, model: ServedModel) -> Instances:
        try:
            return judge(model)
        except InstancesRefused:
            self.minutes.add(model, "", "refused")
            raise

    async def answer(self, question: Question, form: Callable[[Told], Answer]) -> Answer:
        """Answer a question: what is told is counted and logged. See `answered`.

        Raises:
            Refused: the token of the request is not for predictions of this model.
        """
        check_ask(self.short(question.model.name))
        if question.beside is None:
            return await self.answered(question, form)
        return await question.beside.answer(self, question, form)

    async def unseen(self, question: Question, seconds: float) -> list[Any]:
        """The predictions for a question whose answer nobody gets; see `answered`."""
        told: list[list[Any]] = []

        def form(what: Told) -> Answer:
            told.append(what.answers.predictions)
            return Answer(b"")

        with self.minutes.request(question.model, question.role), question.model.place():
            await self._run(question, form, seconds)
        return told[0]

    async def answered(
        self, question: Question, form: Callable[[Told], Answer], seconds: float = RUN_SECONDS
    ) -> Answer:
        """Have a question's model answer it.

        Args:
            question: what is asked.
            form: makes what is sent of what there is to tell, where the graph was run: on the loop or in a thread.
            seconds: that it may take.

        Raises:
            Busy: too many wait for the model already.
            InstancesRefused: the model has no answer to some instance.
            TookTooLong: the deadline passed.
        """
        with self.minutes.request(question.model, question.role):
            return await self._answered(question, form, seconds)

    async def _answered(self, question: Question, form: Callable[[Told], Answer], seconds: float) -> Answer:
        model, began = question.model, time.perf_counter()
        try:
            with model.place():
                answer, outside = await self._run(question, form, seconds)
        except NotFinite as error:
            self.metrics.not_finite.labels(model.name, model.version).inc()
            log.warning("%s", error)
            raise
        except Ended:
            raise TookTooLong(f"{model.name} did not answer within {seconds:g} s") from None
        self.requests[model.name] += 1
        seconds = time.perf_counter() - began
        self.metrics.answered(model, question.role or CHAMPION, question.instances.rows, outside, seconds)
        return answer

    async def _run(self, question: Question, form: Callable[[Told], Answer], seconds: float) -> tuple[Answer, int]:
        """Run the graph, with the requests that came together with this one or for this one in a thread.

        Returns:
            what is sent, and how many instances training never saw the like of.
        """
        model, instances, loop = question.model, question.instances, asyncio.get_running_loop()
        began, until = time.perf_counter(), loop.time() + seconds  # uvloop's own clock counts whole milliseconds
        if instances.heavy or instances.rows > BATCHED_ROWS:
            options = run_options()
            deadline = loop.call_at(until, terminate, options)
            try:
                return await loop.run_in_executor(model.pool, self._run_alone, question, form, options, REQUEST.get())
            finally:
                deadline.cancel()
                terminate(options)  # a request that was cancelled leaves no graph behind
        parts, made = list[tuple[dict[str, Any], dict[str, Any]]](), list[list[Any] | None]()
        for values in instances:
            waiting = model.batches.ask(values, until)
            parts.append((values, await waiting.future))
            made.append(waiting.answers)
        if len(made) == 1 and made[0] is not None and not (question.extras.scores or question.extras.top):
            answers = Answers(made[0], instances.outside)
        else:
            answers = model.answered(instances, parts, question.extras)
        scored = None
        if tells_classes(model.task, len(model.graph.outputs)):
            scored = Scored(model.processing, model.task, [next(iter(outputs.values())) for _, outputs in parts])
        logged = Logged(REQUEST.get(), scored, time.perf_counter() - began)
        return self._told(question, answers, [outputs for _, outputs in parts], form, logged)

    def _run_alone(
        self, question: Question, form: Callable[[Told], Answer], options: Any, asked: tuple[bytes, str]
    ) -> tuple[Answer, int]:
        began, model, kept = time.perf_counter(), question.model, list[dict[str, Any]]()
        classes, tells = list[Best | None](), tells_classes(model.task, len(model.graph.outputs))

        def parts() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
            for values in question.instances:
                outputs = model.run(values, options)
                if question.raw:
                    kept.append(outputs)
                    _check_room(kept[0], question.instances.rows)
                yield values, outputs
                if tells:  # once it is known to be an answer
                    classes.append(best(model.processing, model.task, outputs, values, TOP))

        answers = model.answered(question.instances, parts(), question.extras)
        found = joined(classes)
        scored = Scored(model.processing, model.task, best=found) if found else None
        logged = Logged(asked, scored, time.perf_counter() - began)
        return self._told(question, answers, kept, form, logged)

    def _told(
        self,
        question: Question,
        answers: Answers,
        parts: list[dict[str, Any]],
        form: Callable[[Told], Answer],
        logged: Logged,
    ) -> tuple[Answer, int]:
        """What is sent; it is counted and logged."""
        model, predictions = question.model, answers.predictions
        rows = len(predictions)
        ids = prediction_id.several(model.name, model.version, rows)
        answer = form(Told(model, answers, ids, _joined(parts))).of(model.version, ids)
        if question.role != SHADOW:  # which nobody got
            self.counter.add(model.name, model.version, rows)
        inputs = Inputs(model.inputs, question.instances.cells) if model.inputs else None
        request, trace = logged.asked
        self.log.add(
            Answered(
                model=model.name,
                version=model.version,
                role=question.role or CHAMPION,
                ids=ids,
                predictions=shortened(predictions),
                latency_ms=logged.seconds * 1000 / rows,
                rows=rows,
                scored=logged.scored,
                inputs=inputs,
                request=request.decode(),
                trace=trace,
            )
        )
        return answer, answers.outside

    def served(self, name: str, version: str = "") -> ServedModel:
        """The model that serves under a name, short or whole.

        Args:
            name: as a client has it.
            version: of it that is asked for; "": whatever serves.

        Raises:
            Refused: none does, it is another version, or the token of the request is for other models.
            Asleep: it is not in memory.
        """
        check_see(self.short(name))
        model = self.reconciler.models.get(name) or self.reconciler.models.get(self.short(name))
        if model is None and (self.reconciler.knows(name) or self.reconciler.knows(self.short(name))):
            raise Asleep(self.short(name))
        if model is None:
            grant = GRANT.get()
            served = ", ".join(one for one in self.reconciler.models if grant.may_see(one))[:1000] or "none"
            text = f"no model {name[:80]!r} is served; served: {served}"
            raise Refused(404, text, kind="not-served", model=name[:80])
        if version and version != model.version:
            beside = self.reconciler.besides.get(self.short(model.name))
            if beside is not None and beside.model.version == version:
                return beside.model
            text = f"of {self.short(model.name)} version {model.version} serves, not {version[:40]!r}"
            raise Refused(404, text, kind="not-served", model=name[:80], version=version[:40])
        return model

    def short(self, model: str) -> str:
        """A model's name without that of this installation."""
        return _short(model, self.installation)


@lru_cache(4096)  # each request asks several times, and names of requests are no more than that many
def _short(model: str, installation: str) -> str:
    return shown_model(model, installation)


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The outputs of all parts; none where they were not kept."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}


def _check_room(outputs: dict[str, Any], rows: int) -> None:
    """Whether what a graph gives for all rows may be held at once."""
    values = sum(output[0].size for output in outputs.values())
    if values * rows > MOST_VALUES:
        raise TooMany(f"at most {max(1, MOST_VALUES // values)} instances, as each is answered with {values} numbers")
