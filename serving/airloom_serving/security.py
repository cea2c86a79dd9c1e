"""A token before everything but the probes, and limits for bodies and for requests at once. BentoML has neither."""

import asyncio
import math
from collections.abc import MutableMapping
from typing import Any

from airloom_serving.access import GRANT, NOBODY, Access
from airloom_serving.asgi import Answer, App, Receive, Scope, Send, refusal
from airloom_serving.clock import Clock
from airloom_serving.credentials import presented
from airloom_serving.limits import BODY_LIMIT, BODY_SECONDS, IN_FLIGHT, MOST_HEADERS, MOST_REQUESTS, InFlight

METRICS = "/metrics"
# They say nothing of any model.
OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz", METRICS, "/ping", "/health"})
ONCE = (b"authorization", b"content-type", b"content-length")  # of two, one layer would believe the other one
TOO_LARGE = f"a body may have {BODY_LIMIT} bytes"
NO_ROOM = f"{MOST_REQUESTS} requests, or {IN_FLIGHT} bytes of them, may be in flight; ask again in a second"
TOO_SLOW = f"the body did not come within {BODY_SECONDS:g} s"
WITHOUT = "send the header `Authorization: Bearer <token>`; `airloom token create` makes a token"
PICKLE = "pickles are not read: they run code; send JSON, or tensors to /v2/models/{model}/infer"
SOON = (b"retry-after", b"1")


class Guard:
    """ASGI middleware: whoever has no token is refused, and whatever is too much.

    401 without a token, 429 above its rate, 413 above the limit of bytes, 415 for a pickle, 431 for many headers, 503
    where the requests in flight leave no room. What the token is for is judged where the model is known: `access.py`.

    Args:
        app: what is guarded.
        access: who is let in; or the one token that is.
        in_flight: the account of the requests in flight.
    """

    def __init__(self, app: App, access: Access | str, in_flight: InFlight | None = None) -> None:
        self.app = app
        self._access = Access(access) if isinstance(access, str) else access
        self.in_flight = in_flight or InFlight()
        self._requests = 0
        self._clock = Clock(BODY_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the app, or let it."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})  # there are none, and none passes without a token
            else:
                await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        is_open = scope["path"] in OPEN_PATHS
        refused = self._refusal(scope, headers, is_open)
        if refused is not None:
            await refused.send(send)
        elif is_open:
            await self.app(scope, receive, send)
        else:
            await self._with_room(int(headers.get(b"content-length", b"0")), scope, receive, send)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes], is_open: bool) -> Answer | None:
        """What is answered instead of the app; from here on `GRANT` is what this request may do."""
        if len(scope["headers"]) > MOST_HEADERS:
            return refusal(431, f"a request may have {MOST_HEADERS} headers")
        authorization = headers.get(b"authorization", b"")
        if not authorization.startswith(b"Bearer "):
            authorization = presented(scope["path"], authorization)
        grant = self._access.of(authorization)
        if grant is None and (not is_open or (authorization and scope["path"] == METRICS)):
            return refusal(401, WITHOUT, (b"www-authenticate", b"Bearer"))
        GRANT.set(grant or NOBODY)
        if len(headers) != len(scope["headers"]):
            names = [name for name, _ in scope["headers"]]
            if twice := next((name for name in ONCE if names.count(name) > 1), None):
                return refusal(400, f"the header {twice.decode()} may come once")
        if b"pickle" in headers.get(b"content-type", b"").lower():
            return refusal(415, PICKLE)
        if is_open:
            return None
        if grant is not None and grant.bucket is not None and (seconds := grant.bucket.take()):
            later = str(math.ceil(seconds)).encode()
            return refusal(429, f"this token may ask {grant.bucket.rate:g} times a second", (b"retry-after", later))
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 20 or int(length) > BODY_LIMIT:  # int() takes 4300 digits at most
            return refusal(413, TOO_LARGE)
        return None

    async def _with_room(self, length: int, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer, where there is room for so many bytes."""
        body = _Body(receive, self.in_flight, self._clock)
        self._requests += 1
        try:
            if self._requests > MOST_REQUESTS or not body.take(length):
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
        self._is_late = True
        if self._reader is not None:
            self._reader.cancel()

    async def __call__(self) -> MutableMapping[str, Any]:
        if self._is_whole:  # whoever asks now waits until the client hangs up
            return await self._receive()
        if not self._is_begun:
            self._is_begun = True
            self._clock.begin(self, self.late)
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
