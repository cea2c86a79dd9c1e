"""Our own routes: /predict, /v1/models, /status, /metrics, /readyz and the description of all routes."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import orjson

from airloom.inference.model import Extras
from airloom_serving.access import GRANT, check_admin
from airloom_serving.asgi import Answer, Receive, Refused, Scope, body_of, refusal
from airloom_serving.description import described
from airloom_serving.limits import MOST_SCORES, SMALL_BODY
from airloom_serving.open_inference import OpenInference
from airloom_serving.routes import PARAMETERS, Route, Routes
from airloom_serving.security import SOON
from airloom_serving.served import ServedModel
from airloom_serving.server import Question, Server, Told

TEXT = b"text/plain; charset=utf-8"
FORM = '{"model": name, "instances": [...]}, and if wanted "scores": true, "top": 3'
UNREADY = "what should serve is not loaded yet; /status says what is waited for"
KEYS = {"model", "instances", "scores", "top"}


class Api:
    """What answers them.

    Args:
        server: whose models answer.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parsing = asyncio.Lock()

    async def predict(self, scope: Scope, receive: Receive) -> Answer:
        """POST /predict: `{"model": name, "instances": [...]}` → predictions with an id each.

        POST /v1/models/{model}/predict is the same, with the name in the path.
        """
        question = await self._question(await body_of(receive), scope[PARAMETERS].get("model"))
        model = question.model

        def form(told: Told) -> Answer:
            found = {
                "predictions": told.answers.predictions,
                "model": self._server.short(model.name),
                "version": model.version,
                "prediction_ids": told.ids,
            }
            return Answer(orjson.dumps(found | model.extras(told.answers)))

        return await self._server.answer(question, form)

    async def _question(self, body: bytes, name: str | None) -> Question:
        """What the body asks. Large ones one at a time: the objects of JSON take some 30 times its bytes."""
        if len(body) <= SMALL_BODY:
            return self._judged(body, name)
        async with self._parsing:
            return await asyncio.to_thread(self._judged, body, name)

    def _judged(self, data: bytes, name: str | None) -> Question:
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
        if name is not None and "model" in body:
            raise Refused(400, 'the path names the model: leave "model" out')
        if name is None and not isinstance(body.get("model"), str):
            raise Refused(400, '"model" must be the name of a served model')
        if unknown := body.keys() - KEYS:
            raise Refused(400, f"the body has an unknown key {min(unknown)[:80]!a}; it must be {FORM}")
        scores, top = body.get("scores"), body.get("top")
        if scores is not None and type(scores) is not bool:
            raise Refused(400, '"scores" must be true or false')
        if top is not None and (type(top) is not int or top < 1):
            raise Refused(400, '"top" must be a whole number, 1 or more')
        model = self._server.served(body["model"] if name is None else name)
        return Question(model, model.parse(body["instances"]), Extras(bool(scores), top or 0, MOST_SCORES))

    async def status(self, *_: Any) -> Answer:
        """GET /status: what serves, since when, what is on its way since when, and what could not be loaded."""
        check_admin()
        models = self._all()
        loading = {name: asdict(version) for name, version in self._server.reconciler.loading.copy().items()}
        values: dict[str, Any] = {"models": models, "loading": loading, "errors": dict(self._server.reconciler.errors)}
        values |= {"log_dropped": self._server.log.dropped, "counting": self._server.counter.problem or "ok"}
        values |= {"tokens": self._server.access.problem or "ok"}
        return Answer(orjson.dumps({**values, "pid": os.getpid()}))

    async def models(self, scope: Scope, _: Receive) -> Answer:
        """GET /v1/models: what serves; GET /v1/models/{model}: one of them."""
        if "model" not in scope[PARAMETERS]:
            grant = GRANT.get()
            return Answer(
                orjson.dumps({"models": {name: told for name, told in self._all().items() if grant.may_see(name)}})
            )
        model = self._server.served(scope[PARAMETERS]["model"])
        return Answer(orjson.dumps({"model": self._server.short(model.name), **self._about(model)}))

    def _all(self) -> dict[str, Any]:
        return {name: self._about(model) for name, model in self._server.reconciler.models.items()}

    def _about(self, model: ServedModel) -> dict[str, Any]:
        requests = self._server.requests[model.name]
        return {"version": model.version, "loaded_at": model.loaded_at, "requests": requests, **described(model)}

    async def ready(self, *_: Any) -> Answer:
        """GET /readyz: 503 until what should serve was looked for, and is loaded or was refused; admin is told what."""
        problem = self._server.reconciler.unready
        if problem:
            return refusal(503, problem if GRANT.get().admin else UNREADY, SOON)
        return Answer(b"\n", media=TEXT)

    async def metrics_text(self, *_: Any) -> Answer:
        """GET /metrics, for Prometheus: what has a model's name in it with a token that may have it."""
        grant = GRANT.get()
        whole = grant.metrics or grant.admin
        return Answer(self._server.metrics.text(whole), media=b"text/plain; version=0.0.4; charset=utf-8")


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

    api, v2 = Api(server), OpenInference(server)
    return Routes(
        {
            "/predict": Route("POST", api.predict),
            "/status": Route("GET", api.status),
            "/readyz": Route("GET", api.ready),
            "/metrics": Route("GET", api.metrics_text),
            "/docs.json": Route("GET", described),
            "/docs": Route("GET", page),
            "/v1/models": Route("GET", api.models),
            "/v1/models/{model}": Route("GET", api.models),
            "/v1/models/{model}/predict": Route("POST", api.predict),
            "/v2": Route("GET", v2.server),
            "/v2/health/live": Route("GET", v2.live),
            "/v2/health/ready": Route("GET", api.ready),
            **{
                f"/v2/models/{{model}}{version}{path}": route
                for version in ("", "/versions/{version}")
                for path, route in {
                    "": Route("GET", v2.model),
                    "/ready": Route("GET", v2.ready),
                    "/infer": Route("POST", v2.infer),
                }.items()
            },
        }
    )
