"""A token before everything but the probes, and limits for bodies and for requests at once. BentoML has neither."""

import asyncio
import hmac
from collections.abc import MutableMapping
from typing import Any

from airloom_serving.asgi import App, Receive, Scope, Send, refusal
from airloom_serving.credentials import presented
from airloom_serving.limits import BODY_LIMIT, BODY_SECONDS, IN_FLIGHT, MOST_REQUESTS, InFlight

OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics", "/ping", "/health"})
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
        self._clock = Clock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the app, or let it."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = presented(scope["path"], headers.get(b"authorization", b""))
        if not self.expected or not hmac.compare_digest(given, self.expected):
            await refusal(401, WITHOUT, (b"www-authenticate", b"Bearer")).send(send)
            return
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 20 or int(length) > BODY_LIMIT:  # int() takes 4300 digits at most
            await refusal(413, TOO_LARGE).send(send)
            return
        body = _Body(receive, self.in_flight, self._clock)
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


class Clock:
    """Ends bodies that come too slowly: one timer for all, since one for each would cost more than reading most."""

    def __init__(self) -> None:
        self._reading: dict[_Body, float] = {}  # when each began, by the loop's clock; the oldest first
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, body: "_Body") -> None:
        """It is waited for from now on."""
        loop = asyncio.get_running_loop()
        self._reading[body] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(BODY_SECONDS, self._look)

    def end(self, body: "_Body") -> None:
        """It came, or nobody waits for it any more."""
        self._reading.pop(body, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        late = loop.time() - BODY_SECONDS
        for body in [body for body, began in self._reading.items() if began <= late]:
            body.late()
        oldest = next(iter(self._reading.values()), None)
        self._timer = None if oldest is None else loop.call_at(oldest + BODY_SECONDS, self._look)


class _Body:
    """Counts the bytes that really come: a chunked body has no length to trust."""

    def __init__(self, receive: Receive, in_flight: InFlight, clock: Clock) -> None:
        self._receive, self._in_flight, self._clock = receive, in_flight, clock
        self._seen = self._taken = 0
        self._reader: asyncio.Task[Any] | None = None  # while it is waited for
        self._is_begun = self._is_whole = self._is_late = False

    def take(self, size: int) -> bool:
        """Take room for so many bytes in all."""
        more = max(0, size - self._taken)
        if not self._in_flight.take(more):
            return False
        self._taken += more
        return True

    def give_back(self) -> None:
        """The request is over."""
        self._clock.end(self)
        self._in_flight.give(self._taken)
        self._taken = 0

    def late(self) -> None:
        """Its time is over."""
        self._clock.end(self)
        self._is_late = True
        if self._reader is not None:
            self._reader.cancel()

    async def __call__(self) -> MutableMapping[str, Any]:
        if self._is_whole:  # whoever asks now waits until the client hangs up
            return await self._receive()
        if not self._is_begun:
            self._is_begun = True
            self._clock.begin(self)
        self._reader = asyncio.current_task()
        try:
            message = await self._receive()
        except asyncio.CancelledError:
            if self._is_late and self._reader is not None:
                self._reader.uncancel()
                raise TooSlow from None
            raise
        finally:
            self._reader = None
        if self._is_late:
            raise TooSlow
        if not message.get("more_body"):
            self._is_whole = True
            self._clock.end(self)
        self._seen += len(message.get("body", b""))
        if self._seen > BODY_LIMIT:
            raise TooLarge
        if not self.take(self._seen):
            raise NoRoom
        return message
