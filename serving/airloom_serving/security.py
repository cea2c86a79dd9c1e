"""A token before everything but the probes, and limits for bodies and for requests at once. BentoML has neither."""

import asyncio
import hmac
from collections.abc import MutableMapping
from typing import Any

from airloom_serving.asgi import App, Receive, Scope, Send, refusal
from airloom_serving.limits import BODY_LIMIT, BODY_SECONDS, IN_FLIGHT, MOST_REQUESTS, InFlight

OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
TOO_LARGE = f"a body may have {BODY_LIMIT} bytes"
NO_ROOM = f"{MOST_REQUESTS} requests, or {IN_FLIGHT} bytes of them, may be in flight; ask again in a second"
TOO_SLOW = f"the body did not come within {BODY_SECONDS:g} s"
WITHOUT = "send the header `Authorization: Bearer <token>`; `airloom up` prints the token"
SOON = (b"retry-after", b"1")


class Guard:
    """ASGI middleware: 401 without the bearer token, 413 above the limit, 503 where those in flight leave no room.

    Args:
        app: what is guarded.
        token: the bearer token; an empty one lets nobody in.
        in_flight: the account of the requests in flight.
    """

    def __init__(self, app: App, token: str, in_flight: InFlight | None = None) -> None:
        self.app = app
        self.expected = f"Bearer {token}".encode() if token else b""
        self.in_flight = in_flight or InFlight()
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the app, or let it."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if not self.expected or not hmac.compare_digest(headers.get(b"authorization", b""), self.expected):
            await refusal(401, WITHOUT, (b"www-authenticate", b"Bearer")).send(send)
            return
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 20 or int(length) > BODY_LIMIT:  # int() takes 4300 digits at most
            await refusal(413, TOO_LARGE).send(send)
            return
        body = _Body(receive, self.in_flight)
        self._requests += 1
        try:
            if self._requests > MOST_REQUESTS or not body.take(int(length)):
                await refusal(503, NO_ROOM, SOON).send(send)
                return
            await self.app(scope, body, send)
        finally:
            self._requests -= 1
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


class TooSlow(Exception):
    """A body that does not come keeps its room for so long and no longer."""

    status = 408

    def __str__(self) -> str:
        return TOO_SLOW


class _Body:
    """Counts the bytes that really come: a chunked body has no length to trust."""

    def __init__(self, receive: Receive, in_flight: InFlight) -> None:
        self._receive, self._in_flight = receive, in_flight
        self._seen = self._taken = 0
        self._whole = False
        self._until = 0.0  # by the loop's clock

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
        if self._whole:  # whoever asks now waits until the client hangs up
            return await self._receive()
        if not self._until:
            self._until = asyncio.get_running_loop().time() + BODY_SECONDS
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise TooSlow from None
        self._whole = not message.get("more_body")
        self._seen += len(message.get("body", b""))
        if self._seen > BODY_LIMIT:
            raise TooLarge
        if not self.take(self._seen):
            raise NoRoom
        return message
