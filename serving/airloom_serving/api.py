"""The HTTP interface: /predict, /status, /metrics, /readyz and the description of all routes."""

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from airloom.inference.instances import Instances
from airloom.inference.model import Answers, Ended, Extras, NotFinite
from airloom.monitoring import prediction_id
from airloom.names import shown_model
from airloom.settings import load as load_settings
from airloom_serving.asgi import Answer, Receive, Refused, Scope, body_of, refusal
from airloom_serving.batches import run_options, terminate
from airloom_serving.counter import PredictionCounter
from airloom_serving.description import described
from airloom_serving.limits import BATCHED_ROWS, MOST_SCORES, RUN_SECONDS, SMALL_BODY
from airloom_serving.metrics import Metrics
from airloom_serving.prediction_log import Answered, PredictionLog
from airloom_serving.reconciler import Reconciler
from airloom_serving.routes import Route, Routes
from airloom_serving.security import SOON
from airloom_serving.served import ServedModel, TookTooLong

TEXT = b"text/plain; charset=utf-8"
log = logging.getLogger(__name__)
FORM = '{"model": name, "instances": [...]}, and if wanted "scores": true, "top": 3'
KEYS = {"model", "instances", "scores", "top"}


@dataclass(frozen=True)
class Question:
    """A judged request."""

    model: ServedModel
    instances: Instances
    extras: Extras


class Server:
    """The state of one server process."""

    def __init__(self) -> None:
        settings = load_settings()
        self.installation = settings.installation
        self.reconciler = Reconciler(settings)
        self.log = PredictionLog(settings.prediction_log, settings.prediction_log_share)
        self.counter = PredictionCounter(settings.database_address)
        self.requests: Counter[str] = Counter()
        self.metrics = Metrics()
        self._parsing = asyncio.Lock()

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

    async def predict(self, _: Scope, receive: Receive) -> Answer:
        """POST /predict: `{"model": name, "instances": [...]}` → predictions with an id each."""
        question = await self._question(await body_of(receive))
        model = question.model
        try:
            with model.place():
                answer, outside = await self._answer(question)
        except NotFinite as error:
            self.metrics.not_finite.labels(model.name, model.version).inc()
            log.warning("%s", error)
            raise
        except Ended:
            raise TookTooLong(f"{model.name} did not answer within {RUN_SECONDS:g} s") from None
        self.requests[model.name] += 1
        self.metrics.answered(model.name, model.version, question.instances.rows, outside)
        return answer

    async def _answer(self, question: Question) -> tuple[Answer, int]:
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
                return await loop.run_in_executor(model.pool, self._answer_alone, question, options)
            finally:
                deadline.cancel()
                terminate(options)  # a request that was cancelled leaves no graph behind
        parts = [(values, await model.batches.run(values, began + RUN_SECONDS)) for values in instances]
        return self._told(question, model.answered(instances, parts, question.extras), loop.time() - began)

    def _answer_alone(self, question: Question, options: Any) -> tuple[Answer, int]:
        began = time.perf_counter()
        answers = question.model.answers(question.instances, question.extras, options)
        return self._told(question, answers, time.perf_counter() - began)

    def _told(self, question: Question, answers: Answers, seconds: float) -> tuple[Answer, int]:
        """The answer as JSON, which is counted and logged."""
        model, predictions = question.model, answers.predictions
        ids = prediction_id.several(model.name, model.version, len(predictions))
        self.counter.add(model.name, model.version, len(ids))
        self.log.add(Answered(model.name, model.version, ids, predictions, seconds * 1000 / len(ids), len(ids)))
        found = {
            "predictions": predictions,
            "model": self._short(model.name),
            "version": model.version,
            "prediction_ids": ids,
        }
        return Answer(orjson.dumps(found | model.extras(answers))), answers.outside

    async def _question(self, body: bytes) -> Question:
        """What the body asks. Large ones one at a time: the objects of JSON take some 30 times its bytes."""
        if len(body) <= SMALL_BODY:
            return self._judged(body)
        async with self._parsing:
            return await asyncio.to_thread(self._judged, body)

    def _judged(self, data: bytes) -> Question:
        """Judge a body.

        Raises:
            Refused: it has another form, or names no served model.
            InstancesRefused: its instances do not fit the model.
        """
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise Refused(400, f"the body is no JSON: {error}") from None
        if not isinstance(body, dict) or not isinstance(body.get("instances"), list):
            raise Refused(400, f"the body must be {FORM}")
        if not isinstance(body.get("model"), str):
            raise Refused(400, '"model" must be the name of a served model')
        if unknown := body.keys() - KEYS:
            raise Refused(400, f"the body has an unknown key {min(unknown)[:80]!a}; it must be {FORM}")
        scores, top = body.get("scores"), body.get("top")
        if scores is not None and type(scores) is not bool:
            raise Refused(400, '"scores" must be true or false')
        if top is not None and (type(top) is not int or top < 1):
            raise Refused(400, '"top" must be a whole number, 1 or more')
        model = self.reconciler.models.get(body["model"]) or self.reconciler.models.get(self._short(body["model"]))
        if model is None:
            served = ", ".join(self.reconciler.models)[:1000] or "none"
            raise Refused(404, f"no model {body['model'][:80]!r} is served; served: {served}")
        return Question(model, model.parse(body["instances"]), Extras(bool(scores), top or 0, MOST_SCORES))

    def _short(self, model: str) -> str:
        """A model's name without that of this installation."""
        return shown_model(model, self.installation)

    async def status(self, *_: Any) -> Answer:
        """GET /status: what serves, since when, what is on its way since when, and what could not be loaded."""
        models = {
            name: {"version": m.version, "loaded_at": m.loaded_at, "requests": self.requests[name], **described(m)}
            for name, m in self.reconciler.models.items()
        }
        loading = {name: asdict(version) for name, version in self.reconciler.loading.copy().items()}
        values = {"models": models, "loading": loading, "errors": dict(self.reconciler.errors)}
        values |= {"log_dropped": self.log.dropped}
        return Answer(orjson.dumps({**values, "counting": self.counter.problem or "ok", "pid": os.getpid()}))

    async def ready(self, *_: Any) -> Answer:
        """GET /readyz: 503 until what should serve was looked for, and is loaded or was refused."""
        problem = self.reconciler.unready
        return refusal(503, problem, SOON) if problem else Answer(b"\n", media=TEXT)

    async def metrics_text(self, *_: Any) -> Answer:
        """GET /metrics, for Prometheus."""
        return Answer(self.metrics.text(), media=b"text/plain; version=0.0.4; charset=utf-8")


def build(server: Server, documentation: Callable[[], dict[str, Any]] = dict) -> Routes:
    """The routes of a server.

    Args:
        server: that answers.
        documentation: makes the OpenAPI document.
    """

    async def described(*_: Any) -> Answer:
        return Answer(orjson.dumps(documentation()))

    async def page(*_: Any) -> Answer:
        return Answer(b"", 307, TEXT, ((b"location", b"/"),))  # BentoML's page shows /docs.json

    return Routes(
        {
            "/predict": Route("POST", server.predict),
            "/status": Route("GET", server.status),
            "/readyz": Route("GET", server.ready),
            "/metrics": Route("GET", server.metrics_text),
            "/docs.json": Route("GET", described),
            "/docs": Route("GET", page),
        }
    )
