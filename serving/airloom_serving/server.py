"""One server process: what it serves, and how a judged request is answered."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from airloom.inference.instances import Instances, TooMany
from airloom.inference.model import Answers, Ended, Extras, NotFinite
from airloom.monitoring import prediction_id
from airloom.names import shown_model
from airloom.registry import tokens
from airloom.settings import Settings
from airloom.settings import load as load_settings
from airloom_serving.access import GRANT, Access, check_ask, check_see
from airloom_serving.asgi import Answer, Refused
from airloom_serving.batches import run_options, terminate
from airloom_serving.counter import PredictionCounter
from airloom_serving.limits import BATCHED_ROWS, MOST_VALUES, RUN_SECONDS
from airloom_serving.metrics import Metrics
from airloom_serving.prediction_log import Answered, PredictionLog
from airloom_serving.reconciler import Loading, Reconciler
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


class Source(Protocol):
    """Where the models of a server come from: the registry, or a package of one."""

    models: dict[str, ServedModel]  # by short name
    errors: dict[str, str]
    loading: dict[str, Loading]

    @property
    def unready(self) -> str:
        """Why no request should come yet; empty for nothing."""

    def start(self) -> None:
        """Begin to bring them."""

    def stop(self) -> None:
        """Bring no more."""


class Server:
    """The state of one server process.

    Args:
        settings: of the installation; None: those of this process.
        source: of the models; None: the registry.
    """

    def __init__(self, settings: Settings | None = None, source: Source | None = None) -> None:
        settings = settings or load_settings()
        self.installation = settings.installation
        self.reconciler: Source = Reconciler(settings) if source is None else source
        self.log = PredictionLog(settings.prediction_log, settings.prediction_log_share)
        self.counter = PredictionCounter(settings.database_address)
        self.requests: Counter[str] = Counter()
        self.metrics = Metrics()
        self.access = Access(settings.model_token, tokens.file_of(settings))

    def start(self) -> None:
        """Begin to follow the registry and the file of tokens, to count and to write the log."""
        self.access.start()
        self.log.start()
        self.counter.start()
        self.reconciler.start()

    def stop(self) -> None:
        """End all of them; what is counted and queued is written."""
        self.access.stop()
        self.log.stop()
        self.counter.stop()
        self.reconciler.stop()

    async def answer(self, question: Question, form: Callable[[Told], Answer]) -> Answer:
        """Answer a question: what is told is counted and logged.

        Args:
            question: what is asked.
            form: makes what is sent of what there is to tell, where the graph was run: on the loop or in a thread.

        Raises:
            Refused: the token of the request is not for predictions of this model.
            Busy: too many wait for the model already.
            InstancesRefused: the model has no answer to some instance.
            TookTooLong: the deadline passed.
        """
        model = question.model
        check_ask(self.short(model.name))
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
                return await loop.run_in_executor(model.pool, self._run_alone, question, form, options)
            finally:
                deadline.cancel()
                terminate(options)  # a request that was cancelled leaves no graph behind
        parts = [(values, await model.batches.run(values, began + RUN_SECONDS)) for values in instances]
        answers = model.answered(instances, parts, question.extras)
        return self._told(question, answers, [outputs for _, outputs in parts], form, loop.time() - began)

    def _run_alone(self, question: Question, form: Callable[[Told], Answer], options: Any) -> tuple[Answer, int]:
        began, model, kept = time.perf_counter(), question.model, list[dict[str, Any]]()

        def parts() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
            for values in question.instances:
                outputs = model.run(values, options)
                if question.raw:
                    kept.append(outputs)
                    _check_room(kept[0], question.instances.rows)
                yield values, outputs

        answers = model.answered(question.instances, parts(), question.extras)
        return self._told(question, answers, kept, form, time.perf_counter() - began)

    def _told(
        self,
        question: Question,
        answers: Answers,
        parts: list[dict[str, Any]],
        form: Callable[[Told], Answer],
        seconds: float,
    ) -> tuple[Answer, int]:
        """What is sent; it is counted and logged."""
        model, predictions = question.model, answers.predictions
        ids = prediction_id.several(model.name, model.version, len(predictions))
        answer = form(Told(answers, ids, _joined(parts)))
        self.counter.add(model.name, model.version, len(ids))
        self.log.add(Answered(model.name, model.version, ids, predictions, seconds * 1000 / len(ids), len(ids)))
        return answer, answers.outside

    def served(self, name: str, version: str = "") -> ServedModel:
        """The model that serves under a name, short or whole.

        Args:
            name: as a client has it.
            version: of it that is asked for; "": whatever serves.

        Raises:
            Refused: none does, it is another version, or the token of the request is for other models.
        """
        check_see(self.short(name))
        model = self.reconciler.models.get(name) or self.reconciler.models.get(self.short(name))
        if model is None:
            grant = GRANT.get()
            served = ", ".join(one for one in self.reconciler.models if grant.may_see(one))[:1000] or "none"
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
