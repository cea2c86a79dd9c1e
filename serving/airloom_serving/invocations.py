"""MLflow's own door: what `mlflow models serve` answers at `/invocations`, `/ping`, `/health` and `/version`.

Its server has one model. Here each has these paths below `/v1/models/{model}`, and those at the root are of the model
that serves alone.
"""

import json
from functools import cache
from importlib import metadata
from typing import Any

import orjson

from airloom.inference.model import Extras
from airloom_serving.access import GRANT
from airloom_serving.asgi import JSON, Answer, Receive, Refused, Scope, body_of
from airloom_serving.bodies import Judging, extras_of, media_of
from airloom_serving.frames import FORMS, instances_of, of_csv
from airloom_serving.questions import Question, Told
from airloom_serving.routes import PARAMETERS, key_of
from airloom_serving.security import SOON
from airloom_serving.server import Server

CSV = "text/csv"
MEDIA = ("application/json", CSV)
FORM = f'an object with one of {", ".join(FORMS)}; "params" may stand beside it'
PARAMS = {"scores", "top"}


class Invocations:
    """What answers its routes.

    Args:
        server: whose models answer.
        judging: of large bodies, one at a time at all doors.
    """

    def __init__(self, server: Server, judging: Judging) -> None:
        self._server, self._judging = server, judging

    async def invoke(self, scope: Scope, receive: Receive) -> Answer:
        """POST /invocations: `{"predictions": …}`, as MLflow answers; version and ids stand beside them."""
        body, media = await body_of(receive), _media(scope)
        name, version = self._asked(scope)
        await self._server.model(name, version)  # before the body is looked at
        key = key_of(scope)

        async def ask() -> Question:
            return await self._judging.of(self._judged, body, media, key, name, version)

        def form(told: Told) -> Answer:
            model = told.model
            found = {"predictions": told.answers.predictions, "model": self._server.short(model.name)}
            found |= {"version": model.version, "prediction_ids": told.ids}
            return Answer(orjson.dumps(found | model.extras(told.answers)))

        return await self._server.answer(await self._server.awake(ask), form)

    async def ping(self, scope: Scope, _: Receive) -> Answer:
        """GET /ping: whether there is what should serve; of one model whether it serves."""
        if "model" in scope[PARAMETERS]:
            await self._server.model(*self._asked(scope))
        elif self._server.reconciler.unready:
            raise Refused(503, "not ready yet", SOON, kind="not-ready")  # a probe is told no names of models
        return Answer(b"\n", media=JSON)

    async def version(self, *_: Any) -> Answer:
        """GET /version: MLflow's, as its own server says it."""
        return Answer(_mlflow(), media=b"text/plain; charset=utf-8")

    def _asked(self, scope: Scope) -> tuple[str, str]:
        """Name and version of the model of the path, else of the one that serves alone."""
        found = scope[PARAMETERS]
        if "model" in found:
            return found["model"], found.get("version", "")
        there = [name for name in self._server.reconciler.known if GRANT.get().may_see(name)]
        if len(there) == 1:
            return there[0], ""
        served = ", ".join(there)[:1000] or "none"
        text = f"{len(there)} models serve here, say which: /v1/models/{{model}}/invocations; served: {served}"
        raise Refused(404, text, kind="not-served")

    def _judged(self, body: bytes, media: str, key: bytes, name: str, version: str) -> Question:
        """Judge a body.

        Raises:
            Refused: it has another form.
            InstancesRefused: its rows do not fit the model.
        """
        if media == CSV:
            return self._server.question(name, key, lambda model: of_csv(model, body), version=version)
        form, rows, extras = _said(body)
        return self._server.question(name, key, lambda model: instances_of(model, form, rows), extras, version=version)


@cache
def _mlflow() -> bytes:
    return metadata.version("mlflow").encode()


def _media(scope: Scope) -> str:
    """The content type.

    Raises:
        Refused: it is none that can be read.
    """
    media, parameters = media_of(scope)
    charset = parameters.get("charset", "utf-8")
    if (media and media not in MEDIA) or charset not in ("utf-8", "utf8"):
        told = media + (f"; charset={charset}" if "charset" in parameters else "")
        raise Refused(415, f"send {' or '.join(MEDIA)} in UTF-8; this is {told[:80]!a}", value=told[:80])
    return media


def _said(body: bytes) -> tuple[str, Any, Extras]:
    """The form of a body of JSON, its rows, and what is wanted besides.

    Raises:
        Refused: it has another form.
    """
    found = _parsed(body)
    forms = found.keys() & set(FORMS)
    if unknown := found.keys() - {*FORMS, "params"}:
        raise Refused(400, f"the body has an unknown key {min(unknown)[:80]!a}; it must be {FORM}")
    if len(forms) != 1:
        raise Refused(400, f"the body has {', '.join(sorted(forms)) or 'none of them'}; it must be {FORM}")
    params = {} if found.get("params") is None else found["params"]
    if not isinstance(params, dict) or params.keys() - PARAMS:
        raise Refused(400, f'"params" may have {" and ".join(sorted(PARAMS))}, as {{"top": 3}}', input="params")
    (form,) = forms
    return form, found[form], extras_of(params.get("scores"), params.get("top"))


def _parsed(body: bytes) -> dict[str, Any]:
    """The object of a body. A cell that is missing comes as NaN from a frame, which no JSON is: it is null."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        found = _with_gaps(body, error)
    if not isinstance(found, dict):
        raise Refused(400, f"the body must be {FORM}")
    return found


def _with_gaps(body: bytes, first: Exception) -> Any:
    if b"NaN" in body:
        try:  # and back, so that one judge says what else is no JSON: infinity, halves of characters
            return orjson.loads(json.dumps(json.loads(body, parse_constant=_gap)))
        except (ValueError, RecursionError):
            pass
    raise Refused(400, f"the body is no JSON: {first}") from None


def _gap(word: str) -> None:
    if word != "NaN":
        raise ValueError(word)
