"""Our own routes: /predict, /v1/models, /status, /metrics, /readyz and the description of all routes."""

import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import orjson

from airloom.deployment.rollout import CANARY
from airloom_serving import raw_bodies
from airloom_serving.access import GRANT, check_admin
from airloom_serving.asgi import Answer, Receive, Refused, Scope, body_of, refusal
from airloom_serving.bodies import Judging, extras_of
from airloom_serving.description import described, task_of
from airloom_serving.invocations import Invocations
from airloom_serving.open_inference import OpenInference
from airloom_serving.questions import Question, Told
from airloom_serving.routes import PARAMETERS, Route, Routes, key_of
from airloom_serving.security import SOON
from airloom_serving.served import ServedModel
from airloom_serving.server import Server

TEXT = b"text/plain; charset=utf-8"
FORM = '{"model": name, "instances": [...]}, and if wanted "scores": true, "top": 3'
UNREADY = "what should serve is not loaded yet; /status says what is waited for"
KEYS = {"model", "instances", "scores", "top"}
MOST_CLASSES = 1000  # that a record of a model tells
WHY = "the alias champion in the registry"


class Api:
    """What answers them.

    Args:
        server: whose models answer.
        judging: of large bodies, one at a time at all doors.
    """

    def __init__(self, server: Server, judging: Judging) -> None:
        self._server, self._judging = server, judging

    async def predict(self, scope: Scope, receive: Receive) -> Answer:
        """POST /predict: `{"model": name, "instances": [...]}` → predictions with an id each.

        POST /v1/models/{model}/predict is the same, with the name in the path; its body may also be a picture, or the
        numbers of a tensor. /v1/models/{model}/versions/{version}/predict answers where that version serves.
        """
        body, media = await body_of(receive), raw_bodies.media_of(scope)
        key = key_of(scope)

        async def ask() -> Question:
            if media:
                return await self._judging.of(self._raw, body, scope, media, key)
            return await self._judging.of(self._judged, body, scope[PARAMETERS], key)

        question = await self._server.awake(ask)

        def form(told: Told) -> Answer:
            model = told.model
            found = {
                "predictions": told.answers.predictions,
                "model": self._server.short(model.name),
                "version": model.version,
                "prediction_ids": told.ids,
            }
            return Answer(orjson.dumps(found | model.extras(told.answers)))

        return await self._server.answer(question, form)

    def _raw(self, body: bytes, scope: Scope, media: str, key: bytes) -> Question:
        """Judge a body that is one picture, or a tensor.

        Raises:
            Refused: the path names no model, or one that takes something else.
            InstancesRefused: the values do not fit the model.
        """
        found = scope[PARAMETERS]
        if "model" not in found:
            text = f"{media} is answered at /v1/models/{{model}}/predict, whose path names the model; here send JSON"
            raise Refused(415, text, value=media)
        return self._server.question(
            found["model"],
            key,
            lambda model: raw_bodies.instances_of(model, media, body),
            raw_bodies.wanted(scope),
            version=found.get("version", ""),
        )

    def _judged(self, data: bytes, found: dict[str, str], key: bytes) -> Question:
        """Judge a body of JSON.

        Args:
            data: the body.
            found: in the path.
            key: of the request; see `Server.question`.

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
        no_booleans = b"u" not in data and b"f" not in data  # neither true nor false
        name = found.get("model")
        if name is not None and "model" in body:
            raise Refused(400, 'the path names the model: leave "model" out', input="model")
        if name is None and not isinstance(body.get("model"), str):
            raise Refused(400, '"model" must be the name of a served model', input="model")
        if unknown := body.keys() - KEYS:
            raise Refused(400, f"the body has an unknown key {min(unknown)[:80]!a}; it must be {FORM}")
        return self._server.question(
            body["model"] if name is None else name,
            key,
            lambda model: model.parse(body["instances"], no_booleans=no_booleans),
            extras_of(body.get("scores"), body.get("top")),
            version=found.get("version", ""),
        )

    async def status(self, *_: Any) -> Answer:
        """GET /status: what serves, since when, what is on its way since when, and what could not be loaded."""
        check_admin()
        models = self._all()
        rollouts = {name: self._rollout(name) for name in self._server.reconciler.rollouts}
        loading = {name: asdict(version) for name, version in self._server.reconciler.loading.copy().items()}
        values: dict[str, Any] = {"models": models, "loading": loading, "errors": dict(self._server.reconciler.errors)}
        values["asleep"], rolling = self._asleep(), self._server.rollouts
        values |= {"rollouts": rollouts, "rolling": (rolling.problem if rolling else "") or "ok"}
        values |= {"log_dropped": self._server.log.dropped, "counting": self._server.counter.problem or "ok"}
        values |= {"tokens": self._server.access.problem or "ok"}
        return Answer(orjson.dumps({**values, "pid": os.getpid()}))

    async def models(self, *_: Any) -> Answer:
        """GET /v1/models: what serves, and what would if it were asked."""
        grant, told = GRANT.get(), self._all()
        found: dict[str, Any] = {"models": {name: about for name, about in told.items() if grant.may_see(name)}}
        if asleep := [name for name in self._asleep() if grant.may_see(name)]:
            found["asleep"] = asleep
        return Answer(orjson.dumps(found))

    async def model(self, scope: Scope, _: Receive) -> Answer:
        """GET /v1/models/{model}: what serves, why and since when, what it takes, and a body that can be sent to it."""
        found = scope[PARAMETERS]
        model = await self._server.model(found["model"], found.get("version", ""))
        name = self._server.short(model.name)
        example = None if model.example is None else {"instances": [model.example]}
        more: dict[str, Any] = {}
        if put_back := self._server.reconciler.put_back.get(name):
            more["put_back"] = put_back
        more |= {"classes": model.known_classes[:MOST_CLASSES], "example": example, "roles": self._roles(model)}
        return Answer(orjson.dumps({"model": name, **self._about(model), "task": task_of(model), **more}))

    def _asleep(self) -> list[str]:
        """The models that are loaded when they are asked."""
        reconciler = self._server.reconciler
        return sorted(name for name in reconciler.known if name not in reconciler.models)

    def _all(self) -> dict[str, Any]:
        return {name: self._about(model) for name, model in self._server.reconciler.models.items()}

    def _about(self, model: ServedModel) -> dict[str, Any]:
        requests = self._server.requests[model.name]
        return {"version": model.version, "loaded_at": model.loaded_at, "requests": requests, **described(model)}

    def _rollout(self, name: str) -> dict[str, Any]:
        """The version on its way beside a model: its stage, and what this process has counted and done."""
        generation, rollout = self._server.reconciler.rollouts[name]
        beside = self._server.reconciler.besides.get(name)
        told = {"version": rollout.version, "stage": str(rollout.stage), "generation": generation}
        if beside is None or beside.generation != generation:
            return told | {"answers": False}
        return told | {"answers": not beside.cut, "cut_off": beside.cut, "counts": beside.counts.to_dict()}

    def _roles(self, model: ServedModel) -> list[dict[str, Any]]:
        """Who answers, with its share of the requests and why it serves: the champion what a canary leaves to it."""
        beside = self._server.reconciler.besides.get(self._server.short(model.name))
        champion = {"role": "champion", "version": model.version, "share": 1.0, "why": WHY, "since": model.loaded_at}
        if beside is None or beside.cut or model.version == beside.model.version:
            return [champion]
        stage = beside.rollout.stage
        if stage.role == CANARY:
            champion["share"] = 1.0 - stage.share
        why = f"a rollout, stage {beside.rollout.at + 1} of {len(beside.rollout.stages)}"
        other = {"role": stage.role, "version": beside.model.version, "share": stage.share, "why": why}
        return [champion, {**other, "since": beside.rollout.since}]

    async def ready(self, *_: Any) -> Answer:
        """GET /readyz: 503 until what should serve was looked for, and is loaded or was refused; admin is told what."""
        problem = self._server.reconciler.unready
        if problem:
            return refusal(503, problem if GRANT.get().admin else UNREADY, SOON, kind="not-ready")
        return Answer(b"\n", media=TEXT)

    def _serves(self, name: str, version: str) -> bool:
        """Whether a version serves; of a model that is asleep each one that was counted while it was awake."""
        reconciler, short = self._server.reconciler, self._server.short(name)
        model, beside = reconciler.models.get(short), reconciler.besides.get(short)
        if model is None:
            return short in reconciler.known
        return version in (model.version, beside.model.version if beside else None)

    async def metrics_text(self, *_: Any) -> Answer:
        """GET /metrics, for Prometheus: what has a model's name in it with a token that may have it."""
        grant, besides = GRANT.get(), list(self._server.reconciler.besides.values())
        text = self._server.metrics.text(besides, self._serves, whole=grant.metrics or grant.admin)
        return Answer(text, media=b"text/plain; version=0.0.4; charset=utf-8")


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

    judging = Judging()
    api, v2, mlflow = Api(server, judging), OpenInference(server, judging), Invocations(server, judging)
    of_v1 = {"": Route("GET", api.model), "/predict": Route("POST", api.predict)}
    of_v2 = {"": Route("GET", v2.model), "/ready": Route("GET", v2.ready), "/infer": Route("POST", v2.infer)}
    of_mlflow = {"/invocations": Route("POST", mlflow.invoke), "/version": Route("GET", mlflow.version)}
    of_mlflow |= dict.fromkeys(("/ping", "/health"), Route("GET", mlflow.ping))
    return Routes(
        {
            "/predict": Route("POST", api.predict),
            "/status": Route("GET", api.status),
            "/readyz": Route("GET", api.ready),
            "/metrics": Route("GET", api.metrics_text),
            "/docs.json": Route("GET", described),
            "/docs": Route("GET", page),
            "/v1/models": Route("GET", api.models),
            "/v2": Route("GET", v2.server),
            "/v2/health/live": Route("GET", v2.live),
            "/v2/health/ready": Route("GET", api.ready),
            **of_mlflow,
            **_of_models("/v1", of_v1 | of_mlflow),
            **_of_models("/v2", of_v2),
        }
    )


def _of_models(above: str, routes: dict[str, Route]) -> dict[str, Route]:
    """The routes of a model, and the same of one of its versions."""
    versions = ("", "/versions/{version}")
    return {f"{above}/models/{{model}}{part}{path}": route for part in versions for path, route in routes.items()}
