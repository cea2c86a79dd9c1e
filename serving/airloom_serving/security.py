"""A token before everything but the probes, and a limit for bodies. BentoML has neither."""

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
BODY_LIMIT = 8 * 2**20  # bytes


class Guard:
    """ASGI middleware: 401 without the bearer token, 413 above the limit.

    Args:
        app: what is guarded.
        token: the bearer token; an empty one lets nobody in.
    """

    def __init__(self, app: App, token: str) -> None:
        self.app = app
        self.expected = f"Bearer {token}".encode() if token else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the app, or let it."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if not self.expected or not hmac.compare_digest(headers.get(b"authorization", b""), self.expected):
            await _refuse(send, 401, "send the header `Authorization: Bearer <token>`; `airloom up` prints the token")
            return
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 20 or int(length) > BODY_LIMIT:  # int() takes 4300 digits at most
            await _refuse(send, 413, f"a body may have {BODY_LIMIT} bytes")
            return
        await self.app(scope, _Limited(receive), send)


class TooLarge(Exception):
    """A body without an honest length went over the limit."""


class _Limited:
    """Counts the bytes that really come: a chunked body has no length to trust."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._seen = receive, 0

    async def __call__(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen > BODY_LIMIT:
            raise TooLarge
        return message


async def _refuse(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"error": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
