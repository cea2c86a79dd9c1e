"""A token before everything but the probes, and limits for bodies. BentoML has neither."""

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airloom_serving.limits import BODY_LIMIT, IN_FLIGHT, InFlight

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
TOO_LARGE = f"a body may have {BODY_LIMIT} bytes"
NO_ROOM = f"other requests take the {IN_FLIGHT} bytes that may be in flight; ask again in a second"


class Guard:
    """ASGI middleware: 401 without the bearer token, 413 above the limit, 503 where the bytes in flight have no room.

    Args:
        app: what is guarded.
        token: the bearer token; an empty one lets nobody in.
        in_flight: the account of the bytes in flight.
    """

    def __init__(self, app: App, token: str, in_flight: InFlight | None = None) -> None:
        self.app = app
        self.expected = f"Bearer {token}".encode() if token else b""
        self.in_flight = in_flight or InFlight()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the app, or let it."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if not self.expected or not hmac.compare_digest(headers.get(b"authorization", b""), self.expected):
            detail = "send the header `Authorization: Bearer <token>`; `airloom up` prints the token"
            await _refuse(send, 401, detail, (b"www-authenticate", b"Bearer"))
            return
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 20 or int(length) > BODY_LIMIT:  # int() takes 4300 digits at most
            await _refuse(send, 413, TOO_LARGE)
            return
        body = _Body(receive, self.in_flight)
        try:
            if not body.take(int(length)):
                await _refuse(send, 503, NO_ROOM, (b"retry-after", b"1"))
                return
            await self.app(scope, body, send)
        finally:
            body.give_back()


class TooLarge(Exception):
    """A body without an honest length went over the limit."""

    status = 413

    def __str__(self) -> str:
        return TOO_LARGE


class NoRoom(Exception):
    """A body without an honest length found no room among those in flight."""

    status = 503

    def __str__(self) -> str:
        return NO_ROOM


class _Body:
    """Counts the bytes that really come: a chunked body has no length to trust."""

    def __init__(self, receive: Receive, in_flight: InFlight) -> None:
        self._receive, self._in_flight = receive, in_flight
        self._seen = self._taken = 0

    def take(self, size: int) -> bool:
        """Take room for so many bytes in all."""
        more = max(0, size - self._taken)
        if not self._in_flight.take(more):
            return False
        self._taken += more
        return True

    def give_back(self) -> None:
        """The request is over."""
        self._in_flight.give(self._taken)
        self._taken = 0

    async def __call__(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen > BODY_LIMIT:
            raise TooLarge
        if not self.take(self._seen):
            raise NoRoom
        return message


async def _refuse(send: Send, status: int, detail: str, *more: tuple[bytes, bytes]) -> None:
    body = json.dumps({"error": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
