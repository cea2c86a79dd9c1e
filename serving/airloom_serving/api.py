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
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from airloom.errors import InstancesRefused
from airloom.inference.instances import Instances, TooMany
from airloom.inference.model import Ended, Extras, NotFinite
from airloom.monitoring import prediction_id
from airloom.names import shown_model
from airloom.settings import load as load_settings
from airloom_serving.counter import PredictionCounter
from airloom_serving.description import described
from airloom_serving.limits import BODY_LIMIT, MOST_SCORES, RUN_SECONDS, SMALL_BODY
from airloom_serving.metrics import Metrics
from airloom_serving.prediction_log import Answered, PredictionLog
from airloom_serving.reconciler import Reconciler
from airloom_serving.security import NoRoom, TooLarge
from airloom_serving.served import Busy, ServedModel, TookTooLong

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

    async def predict(self, request: Request) -> Response:
        """POST /predict: `{"model": name, "instances": [...]}` → predictions with an id each."""
        question = await self._question(await request.body())
        began = time.perf_counter()
        model, options = question.model, _run_options()
        deadline = asyncio.get_running_loop().call_later(RUN_SECONDS, _terminate, options)
        try:
            answer, outside = await model.threads.run(lambda: self._answer(question, options, began))
        except NotFinite as error:
            self.metrics.not_finite.labels(model.name, model.version).inc()
            log.warning("%s", error)
            raise
        finally:
            deadline.cancel()
            _terminate(options)  # a request that was cancelled leaves no graph behind
        self.requests[model.name] += 1
        self.metrics.predictions.labels(model.name, model.version).inc(question.instances.rows)
        self.metrics.outside.labels(model.name, model.version).inc(outside)
        return Response(answer, media_type="application/json")

    async def _question(self, body: bytes) -> Question:
        """What the body asks. Large ones one at a time: the objects of JSON take some 30 times its bytes."""
        if len(body) <= SMALL_BODY:
            return self._judged(body)
        async with self._parsing:
            return await run_in_threadpool(self._judged, body)

    def _judged(self, data: bytes) -> Question:
        """Judge a body.

        Raises:
            HTTPException: it has another form, or names no served model.
            InstancesRefused: its instances do not fit the model.
        """
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise HTTPException(400, f"the body is no JSON: {error}") from None
        if not isinstance(body, dict) or not isinstance(body.get("instances"), list):
            raise HTTPException(400, f"the body must be {FORM}")
        if not isinstance(body.get("model"), str):
            raise HTTPException(400, '"model" must be the name of a served model')
        if unknown := body.keys() - KEYS:
            raise HTTPException(400, f"the body has an unknown key {min(unknown)[:80]!a}; it must be {FORM}")
        scores, top = body.get("scores"), body.get("top")
        if scores is not None and type(scores) is not bool:
            raise HTTPException(400, '"scores" must be true or false')
        if top is not None and (type(top) is not int or top < 1):
            raise HTTPException(400, '"top" must be a whole number, 1 or more')
        model = self.reconciler.models.get(body["model"]) or self.reconciler.models.get(self._short(body["model"]))
        if model is None:
            served = ", ".join(self.reconciler.models)[:1000] or "none"
            raise HTTPException(404, f"no model {body['model'][:80]!r} is served; served: {served}")
        return Question(model, model.parse(body["instances"]), Extras(bool(scores), top or 0, MOST_SCORES))

    def _answer(self, question: Question, options: Any, began: float) -> tuple[bytes, int]:
        """The answer as JSON, which is counted and logged, and how many instances training never saw the like of.

        Raises:
            InstancesRefused: the model has no answer to some instance.
            TookTooLong: the deadline passed.
        """
        model = question.model
        try:
            answers = model.answers(question.instances, question.extras, options)
        except Ended:
            raise TookTooLong(f"{model.name} did not answer within {RUN_SECONDS:g} s") from None
        predictions = answers.predictions
        ids = [prediction_id.new(model.name, model.version) for _ in predictions]
        share = (time.perf_counter() - began) * 1000 / len(ids)
        self.counter.add(model.name, model.version, len(ids))
        self.log.add(Answered(model.name, model.version, ids, predictions, share, len(ids)))
        found = {
            "predictions": predictions,
            "model": self._short(model.name),
            "version": model.version,
            "prediction_ids": ids,
        }
        return orjson.dumps(found | model.extras(answers)), answers.outside

    def _short(self, model: str) -> str:
        """A model's name without that of this installation."""
        return shown_model(model, self.installation)

    async def status(self, _: Request) -> Response:
        """GET /status: what serves, since when, what is on its way since when, and what could not be loaded."""
        models = {
            name: {"version": m.version, "loaded_at": m.loaded_at, "requests": self.requests[name], **described(m)}
            for name, m in self.reconciler.models.items()
        }
        loading = {name: asdict(version) for name, version in self.reconciler.loading.copy().items()}
        values = {"models": models, "loading": loading, "errors": dict(self.reconciler.errors)}
        values |= {"log_dropped": self.log.dropped}
        return _json(200, {**values, "counting": self.counter.problem or "ok", "pid": os.getpid()})

    async def ready(self, _: Request) -> Response:
        """GET /readyz: 503 until what should serve was looked for, and is loaded or was refused."""
        problem = self.reconciler.unready
        return _json(503, {"error": problem}, {"Retry-After": "1"}) if problem else Response("\n")

    async def metrics_text(self, _: Request) -> Response:
        """GET /metrics, for Prometheus."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def build(server: Server, documentation: Callable[[], dict[str, Any]] = dict) -> Starlette:
    """The routes of a server. Every error is `{"error": text}`.

    Args:
        server: that answers.
        documentation: makes the OpenAPI document.
    """

    async def described(_: Request) -> Response:
        return _json(200, documentation())

    async def page(_: Request) -> Response:
        return RedirectResponse("/")  # BentoML's page shows /docs.json

    routes = [
        Route("/predict", server.predict, methods=["POST"]),
        Route("/status", server.status, methods=["GET"]),
        Route("/readyz", server.ready, methods=["GET"]),
        Route("/metrics", server.metrics_text, methods=["GET"]),
        Route("/docs.json", described, methods=["GET"]),
        Route("/docs", page, methods=["GET"]),
    ]
    refusals = {kind: _refused for kind in (HTTPException, InstancesRefused, Busy, TookTooLong, TooLarge, NoRoom)}
    return Starlette(routes=routes, exception_handlers={**refusals, Exception: _failed})


def _run_options() -> Any:
    import onnxruntime

    return onnxruntime.RunOptions()


def _terminate(options: Any) -> None:
    """End a graph before its next node, in a loop too."""
    options.terminate = True


async def _refused(_: Request, error: Any) -> Response:
    if isinstance(error, HTTPException):
        return _json(error.status_code, {"error": error.detail}, error.headers)
    if isinstance(error, InstancesRefused):
        return _json(413 if isinstance(error, TooMany) else 422, {"error": str(error)})
    headers = {"Retry-After": "1"} if error.status == 503 else None
    return _json(error.status, {"error": str(error) or f"a body may have {BODY_LIMIT} bytes"}, headers)


async def _failed(_: Request, error: Exception) -> Response:
    return _json(500, {"error": f"the server failed: {type(error).__name__}; its log has more"})


def _json(status: int, value: Any, headers: Any = None) -> Response:
    return Response(orjson.dumps(value), status, headers, "application/json")
