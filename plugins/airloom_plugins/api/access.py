"""Who may do what: the one place that decides it, before any route is reached.

Nothing is open. A request without a valid token of Airflow gets 401, whatever it asks for; a route says which right it
takes (`needs`), and one that says none is closed to everybody. The one exception is what Alertmanager calls, which
cannot renew a token: that route takes a token of its own, which opens no other.
"""

import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from airloom import audit
from airloom.errors import AirloomError
from airloom.problem_details import MEDIA, problem
from airloom.settings import Settings, load
from airloom_plugins.lazy import Receive, Scope, Send

log = logging.getLogger(__name__)
KEY = "airloom"  # of a request's scope
DECLARED = "x-airloom-right"  # in a route's description
LONGEST_BODY = 8 * 2**20  # bytes
UNCHANGING = ("GET", "HEAD")


class Right(StrEnum):
    """What a route takes, and which right of Airflow's auth manager gives it."""

    READ = "read"  # who may see the DAG of the model's pipeline
    OPERATE = "operate"  # who may start runs of it
    ADMINISTER = "administer"  # who may change Airflow's connections
    ALERTS = "alerts"  # who has the token of Alertmanager


@dataclass
class Caller:
    """Who asks.

    Attributes:
        who: the name of a user of Airflow, or `alertmanager`.
        subject: what was changed; a route that finds it in the body says so here, for the audit.
        detail: what was done, the same.
    """

    who: str
    subject: str = ""
    detail: str = ""


def needs(right: Right) -> dict[str, Any]:
    """What a route declares: `@router.get("/metrics/{model}", **needs(Right.READ))`."""
    return {"openapi_extra": {DECLARED: right.value}}


def caller(request: Request) -> Caller:
    """A route's dependency: who asks."""
    found: Caller = request.scope[KEY]
    return found


class Gate:
    """Stands before the app. What it does not let through, the app never sees; each change is a row of the audit.

    Args:
        app: behind it.
    """

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] != "http":  # there is no other door, not even one that would ask for a token
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope, receive)
        try:
            settings = await run_in_threadpool(load)
            found = await self._admitted(request, settings)
            body = await _body(request)
        except HTTPException as error:
            await _refusal(error.status_code, str(error.detail), error.headers)(scope, receive, send)
            return
        except AirloomError as error:
            log.error("the API is not set up: %s", error)
            await _refusal(500, "the API is not set up: the log of Airflow's API server says why")(scope, receive, send)
            return
        except ClientDisconnect:
            return
        scope[KEY] = found
        again = _Replayed(body, receive)
        if request.method in UNCHANGING:
            await self.app(scope, again, send)
            return
        await self._audited(request, settings.database_address, found, again, send)

    async def _admitted(self, request: Request, settings: Settings) -> Caller:
        """Who asks, if he may.

        Raises:
            HTTPException: 401, 403, 404 or 405, in this order: who may ask nothing learns nothing.
        """
        route, status, found = _route(self.app, request)
        right = _right_of(route)
        if right == Right.ALERTS:
            if not await run_in_threadpool(is_alertmanager, settings, request.headers.get("authorization", "")):
                raise HTTPException(401, _NO_ALERTS, {"WWW-Authenticate": "Bearer"})
            return Caller("alertmanager")
        user = await _user(request)
        if status != 200:
            raise HTTPException(status, f"there is no {request.method} {request.url.path}")
        name = str(user.get_name())
        if right is None or not await run_in_threadpool(_may, user, right, found.get("model", "")):
            text = f"{name} may not {right} here: Airflow's roles say so" if right else "this route is closed"
            if request.method not in UNCHANGING:
                await run_in_threadpool(_note_refused, settings.database_address, name, _action(route), text)
            raise HTTPException(403, text)
        return Caller(name, str(found.get("model", "")))

    async def _audited(self, request: Request, address: str, found: Caller, receive: Receive, send: Send) -> None:
        """Let the app make a change between two writes of the audit; without the first there is no change."""
        action = _action(_route(self.app, request)[0])
        try:
            row = await run_in_threadpool(audit.begin, address, found.who, action, found.subject)
        except Exception as error:  # a database is away in many ways
            log.warning("nothing was changed, as the audit cannot be written: %s", error)
            await _refusal(503, "the database does not answer: nothing was changed, try again")(
                request.scope, receive, send
            )
            return
        status = 500

        async def watched(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(request.scope, receive, watched)
        finally:
            outcome = audit.DONE if status < 400 else audit.REFUSED if status < 500 else audit.FAILED
            detail = found.detail or f"HTTP {status}"
            try:
                await run_in_threadpool(audit.end, address, row, outcome, detail, found.subject)
            except Exception as error:  # it stays `begun`, and the answer is on its way
                log.warning("the end of audit row %s cannot be written: %s", row, error)


_NO_ALERTS = "this takes the token of alerts: Alertmanager's authorization, with credentials_file"


def is_alertmanager(settings: Settings, header: str) -> bool:
    """Whether a header has the token of alerts; without such a token nobody has it."""
    scheme, _, token = header.partition(" ")
    wanted = settings.token_of_alerts
    if not wanted or scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(sha256(token.strip().encode()).digest(), sha256(wanted.encode()).digest())


def _may(user: Any, right: Right, model: str) -> bool:
    """Ask Airflow's auth manager. A model is called like its pipeline's DAG, whose rights count for it."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
    from airflow.models.dag import DagModel

    manager = get_auth_manager()
    if right == Right.ADMINISTER:
        return bool(manager.is_authorized_connection(method="PUT", user=user))
    details = DagDetails(id=model, team_name=DagModel.get_team_name(model)) if model else None
    if right == Right.OPERATE:
        run = DagAccessEntity.RUN
        return bool(manager.is_authorized_dag(method="POST", access_entity=run, details=details, user=user))
    return right == Right.READ and bool(manager.is_authorized_dag(method="GET", details=details, user=user))


async def _user(request: Request) -> Any:
    """The user whose token, or cookie, a request has, as Airflow itself says.

    Raises:
        HTTPException: 401; Airflow's own 403 for a token that is none means the same.
    """
    from airflow.api_fastapi.core_api.security import bearer_scheme, get_user

    try:
        return await get_user(request, None, await bearer_scheme(request))
    except HTTPException as error:
        text = f"{error.detail}: POST /auth/token of this Airflow gives a token"
        raise HTTPException(401, text, {"WWW-Authenticate": "Bearer"}) from None


def _route(app: FastAPI, request: Request) -> tuple[Any, int, Mapping[str, Any]]:
    """The route of a request, 200, 404 or 405, and the parameters of its path."""
    partial = None
    for route in app.router.routes:
        match, scope = route.matches(request.scope)
        if match == Match.FULL:
            return route, 200, scope.get("path_params", {})
        partial = partial or (route if match == Match.PARTIAL else None)
    return None, 405 if partial else 404, {}


def _right_of(route: Any) -> Right | None:
    declared = (getattr(route, "openapi_extra", None) or {}).get(DECLARED)
    return Right(declared) if declared else None


def _action(route: Any) -> str:
    return str(getattr(route, "summary", None) or getattr(route, "name", "?"))[:60]


def _note_refused(address: str, who: str, action: str, text: str) -> None:
    audit.end(address, audit.begin(address, who, action), audit.REFUSED, text)


async def _body(request: Request) -> bytes:
    """All of it.

    Raises:
        HTTPException: 413, it is too long.
    """
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > LONGEST_BODY:
            raise HTTPException(413, f"the body has more than {LONGEST_BODY >> 20} MiB: send it in parts")
    return b"".join(parts)


class _Replayed:
    """A body that was read, for who reads it next."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Any:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def _refusal(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(problem(status, text), status, dict(headers or {}), media_type=MEDIA)
