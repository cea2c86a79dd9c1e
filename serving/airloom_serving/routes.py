"""Which paths are ours, and what answers each of them."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from airloom.errors import InstancesRefused
from airloom.inference.instances import TooMany
from airloom.inference.model import NotFinite
from airloom_serving.access_log import REQUEST
from airloom_serving.asgi import Answer, HungUp, Receive, Refused, Scope, Send, refusal
from airloom_serving.security import SOON, NoRoom, TooLarge, TooSlow
from airloom_serving.served import Busy, TookTooLong

_MLFLOW = ("/invocations", "/ping", "/health", "/version")
FIXED = frozenset(
    {"/predict", "/status", "/metrics", "/readyz", "/docs", "/docs.json", *_MLFLOW}
    | {"/v1/models", "/v2", "/v2/health/live", "/v2/health/ready"}
)
_OF_A_MODEL = {"/v1": ("", "/predict", *_MLFLOW), "/v2": ("", "/ready", "/infer")}
OF_A_MODEL = frozenset(
    f"{above}/models/{{model}}{version}{path}"
    for above, paths in _OF_A_MODEL.items()
    for version in ("", "/versions/{version}")
    for path in paths
)
BENTOMLS = frozenset({"/", "/livez", "/healthz", "/schema.json"})
OTHER = "other"  # stands for any path that is none of these
KEY = b"x-airloom-key"
ROUTE, PARAMETERS = "airloom.route", "airloom.parameters"  # keys of the scope: what `match` says of its path
KINDS: dict[type[Exception], str] = {  # how programs tell errors apart, whatever their text
    InstancesRefused: "instances-refused",
    NotFinite: "not-finite",
    TooMany: "too-many",
    TooLarge: "too-large",
    TooSlow: "too-slow",
    NoRoom: "no-room",
    Busy: "busy",
    TookTooLong: "took-too-long",
}
log = logging.getLogger(__name__)


def match(path: str) -> tuple[str, dict[str, str]]:
    """The route that a path is of, one of a fixed set, and what stands in its places."""
    if path in FIXED or path in BENTOMLS:
        return path, {}
    parts = path.split("/")  # "", "v2", "models", the name, and what is asked of it
    if len(parts) < 4 or parts[2] != "models" or not parts[3]:
        return OTHER, {}
    found, route, rest = {"model": parts[3]}, [*parts[:3], "{model}"], parts[4:]
    if len(rest) > 1 and rest[0] == "versions":
        found["version"] = rest[1]
        route, rest = [*route, "versions", "{version}"], rest[2:]
    name = "/".join([*route, *rest])
    return (name, found) if name in OF_A_MODEL else (OTHER, {})


def route_of(scope: Scope) -> str:
    """The route of a request, which is looked for once: it and its parameters stand in the scope from then on."""
    if ROUTE not in scope:
        scope[ROUTE], scope[PARAMETERS] = match(scope["path"])
    return str(scope[ROUTE])


def key_of(scope: Scope) -> bytes:
    """Requests with the same key are answered by the same version: that of the header `X-Airloom-Key`, else the
    request's id, which is the client's or a new one.
    """
    for name, value in scope["headers"]:
        if name == KEY:
            return bytes(value)
    return REQUEST.get()[0]


@dataclass(frozen=True)
class Route:
    """What answers a path."""

    method: str
    handle: Callable[[Scope, Receive], Awaitable[Answer]]


class Routes:
    """The ASGI app of our routes: without the layers of a framework, which cost more than a small model.

    Args:
        routes: by path.
    """

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = dict(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; every error is problem details."""
        try:
            answer = await self._answer(scope, receive)
        except HungUp:
            return
        except Exception as error:
            answer = answer_of(error)
        await answer.send(send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        route = self._routes.get(route_of(scope))
        if route is None:
            raise Refused(404, "there is no such route; / shows those that there are")
        method = scope["method"]
        if method != route.method and not (method == "HEAD" and route.method == "GET"):
            allowed = "GET, HEAD" if route.method == "GET" else route.method
            raise Refused(405, f"this route takes {allowed}", (b"allow", allowed.encode()))
        return await route.handle(scope, receive)


def answer_of(error: Exception) -> Answer:
    """What is answered where answering failed."""
    if isinstance(error, Refused):
        return error.answer
    if isinstance(error, InstancesRefused):
        status = 413 if isinstance(error, TooMany) else 422
        return refusal(status, str(error), kind=KINDS[type(error)], **error.where)
    if isinstance(error, Busy | TookTooLong | TooLarge | NoRoom | TooSlow):
        return refusal(error.status, str(error), *((SOON,) if error.status == 503 else ()), kind=KINDS[type(error)])
    log.error("a request failed", exc_info=error)
    return refusal(500, f"the server failed: {type(error).__name__}; its log has more")
