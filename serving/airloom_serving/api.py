"""The HTTP interface: /predict and /status."""

import os
import time
from collections import Counter
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from airloom.monitoring import prediction_id
from airloom.settings import load as load_settings
from airloom_serving.counter import PredictionCounter
from airloom_serving.model import BadRequest, LoadedModel
from airloom_serving.prediction_log import Answered, PredictionLog
from airloom_serving.reconciler import Reconciler
from airloom_serving.security import BODY_LIMIT, TooLarge

MOST_INSTANCES = 10_000


class Server:
    """The state of one server process."""

    def __init__(self) -> None:
        settings = load_settings()
        self.reconciler = Reconciler(settings)
        self.log = PredictionLog(settings.prediction_log, settings.prediction_log_share)
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

    async def predict(self, request: Request) -> JSONResponse:
        """POST /predict: `{"model": name, "instances": [...]}` → predictions with an id each."""
        try:
            body = orjson.loads(await request.body())
        except orjson.JSONDecodeError as error:
            return _error(400, f"the body is no JSON: {error}")
        except TooLarge:
            return _error(413, f"a body may have {BODY_LIMIT} bytes")
        if not isinstance(body, dict) or not isinstance(body.get("instances"), list):
            return _error(400, 'the body must be {"model": name, "instances": [...]}')
        if not isinstance(body.get("model"), str):
            return _error(400, '"model" must be the name of a served model')
        model = self.reconciler.models.get(body["model"])
        if model is None:
            served = ", ".join(self.reconciler.models) or "none"
            return _error(404, f"no model {body['model'][:80]!r} is served; served: {served}")
        if len(body["instances"]) > MOST_INSTANCES:
            return _error(413, f"at most {MOST_INSTANCES} instances a request; these are {len(body['instances'])}")
        try:
            answer = await run_in_threadpool(self._answer, model, body["instances"])
        except BadRequest as error:
            return _error(422, str(error))
        return JSONResponse(answer)

    def _answer(self, model: LoadedModel, instances: list[Any]) -> dict[str, Any]:
        began = time.perf_counter()
        predictions = model.answers(model.parse(instances))
        took = (time.perf_counter() - began) * 1000
        ids = [prediction_id.new(model.name, model.version) for _ in predictions]
        self.counter.add(model.name, model.version, len(ids))
        self.log.add(Answered(model.name, model.version, ids, predictions, took, len(ids)))
        self.requests[model.name] += 1
        return {"predictions": predictions, "model": model.name, "version": model.version, "prediction_ids": ids}

    async def status(self, _: Request) -> JSONResponse:
        """GET /status: what serves, since when, and what could not be loaded."""
        models = {
            name: {"version": m.version, "loaded_at": m.loaded_at, "requests": self.requests[name]}
            for name, m in self.reconciler.models.items()
        }
        values = {"models": models, "errors": dict(self.reconciler.errors), "log_dropped": self.log.dropped}
        return JSONResponse({**values, "counting": self.counter.problem or "ok", "pid": os.getpid()})


def build(server: Server) -> Starlette:
    """The routes of a server."""

    routes = [
        Route("/predict", server.predict, methods=["POST"]),
        Route("/status", server.status, methods=["GET"]),
    ]
    return Starlette(routes=routes)


def _error(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"error": detail}, status_code=status)
