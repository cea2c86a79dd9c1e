"""One server process: what it serves, and how a judged request is answered."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from airloom.inference.best import Best, best, joined, tells_classes
from airloom.inference.instances import Instances, TooMany
from airloom.inference.model import Answers, Ended, Extras, NotFinite
from airloom.monitoring import prediction_id
from airloom.monitoring.segment_retention import Limits
from airloom.names import shown_model
from airloom.settings import load as load_settings
from airloom_serving.access_log import REQUEST
from airloom_serving.asgi import Answer, Refused
from airloom_serving.batches import run_options, terminate
from airloom_serving.counter import PredictionCounter
from airloom_serving.limits import BATCHED_ROWS, MOST_VALUES, RUN_SECONDS
from airloom_serving.logged_rows import TOP, Answered, Inputs, Scored, shortened
from airloom_serving.metrics import Metrics
from airloom_serving.prediction_log import PredictionLog
from airloom_serving.reconciler import Reconciler
from airloom_serving.served import ServedModel, TookTooLong

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Question:
    """A judged request."""

    model: ServedModel
    instances: Instances
    extras: Extras = field(default_factory=Extras)
    raw: bool = False  # whether the graph's own outputs are wanted


@dataclass(frozen=True)
class Told:
    """What there is to tell.

    Attributes:
        answers: one for each instance.
        ids: of the predictions.
        outputs: of the graph, (n, …) by name, where they were wanted.
    """

    answers: Answers
    ids: list[str]
    outputs: dict[str, Any]


class Logged(NamedTuple):
    """What the log is told beside the answers: id and trace of the request, its classes, and how long it took."""

    asked: tuple[bytes, str]
    scored: Scored | None
    seconds: float


class Server:
    """The state of one server process."""

    def __init__(self) -> None:
        settings = load_settings()
        self.installation = settings.installation
        self.reconciler = Reconciler(settings)
        self.metrics = Metrics()
        self.log = PredictionLog(
            settings.prediction_log,
            settings.prediction_log_share,
            Limits(settings.prediction_log_days, settings.prediction_log_gb),
            count_dropped=self.metrics.log_dropped.inc,
            count_written=self.metrics.log_written.inc,
        )
        self.counter = PredictionCounter(settings.database_address)
        self.requests: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to follow the registry, to count and to write the log."""
        self.log.start()
        self.counter.start()
        self.reconciler.start()

    def stop(self) -> None:
        """End all three; what is counted and queued is written."""
        self.log.stop()
        self.counter.stop()
        self.reconciler.stop()

    async def answer(self, question: Question, form: Callable[[Told], Answer]) -> Answer:
        """Answer a question: what is told is counted and logged.

        Args:
            question: what is asked.
            form: makes what is sent of what there is to tell, where the graph was run: on the loop or in a thread.

        Raises:
            Busy: too many wait for the model already.
            InstancesRefused: the model has no answer to some instance.
            TookTooLong: the deadline passed.
        """
        model = question.model
        try:
            with model.place():
                answer, outside = await self._run(question, form)
        except NotFinite as error:
            self.metrics.not_finite.labels(model.name, model.version).inc()
            log.warning("%s", error)
            raise
        except Ended:
            raise TookTooLong(f"{model.name} did not answer within {RUN_SECONDS:g} s") from None
        self.requests[model.name] += 1
        self.metrics.answered(model.name, model.version, question.instances.rows, outside)
        return answer

    async def _run(self, question: Question, form: Callable[[Told], Answer]) -> tuple[Answer, int]:
        """Run the graph, with the requests that came together with this one or for this one in a thread.

        Returns:
            what is sent, and how many instances training never saw the like of.
        """
        model, instances, loop = question.model, question.instances, asyncio.get_running_loop()
        began = loop.time()
        if instances.heavy or instances.rows > BATCHED_ROWS:
            options = run_options()
            deadline = loop.call_at(began + RUN_SECONDS, terminate, options)
            try:
                return await loop.run_in_executor(model.pool, self._run_alone, question, form, options, REQUEST.get())
            finally:
                deadline.cancel()
                terminate(options)  # a request that was cancelled leaves no graph behind
        parts = [(values, await model.batches.run(values, began + RUN_SECONDS)) for values in instances]
        answers = model.answered(instances, parts, question.extras)
        scored = None
        if tells_classes(model.task, len(model.graph.outputs)):
            scored = Scored(model.processing, model.task, [next(iter(outputs.values())) for _, outputs in parts])
        logged = Logged(REQUEST.get(), scored, loop.time() - began)
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
        answer = form(Told(answers, ids, _joined(parts)))
        self.counter.add(model.name, model.version, rows)
        inputs = Inputs(model.inputs, question.instances.cells) if model.inputs else None
        request, trace = logged.asked
        self.log.add(
            Answered(
                model=model.name,
                version=model.version,
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
            Refused: none does, or it is another version.
        """
        model = self.reconciler.models.get(name) or self.reconciler.models.get(self.short(name))
        if model is None:
            served = ", ".join(self.reconciler.models)[:1000] or "none"
            raise Refused(404, f"no model {name[:80]!r} is served; served: {served}")
        if version and version != model.version:
            raise Refused(404, f"of {self.short(model.name)} version {model.version} serves, not {version[:40]!r}")
        return model

    def short(self, model: str) -> str:
        """A model's name without that of this installation."""
        return shown_model(model, self.installation)


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
