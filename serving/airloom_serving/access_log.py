"""One line for a request, in the server's log: each that failed here, and of all others a few a second."""

import logging
import re
import time
from contextvars import ContextVar

from airloom.monitoring import prediction_id
from airloom_serving.asgi import Scope

LINES = 10  # a second, of requests that did not fail here
_ID = re.compile(rb"[0-9A-Za-z._:/+=-]{1,128}")
_TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")  # W3C trace context, level 2
REQUEST: ContextVar[tuple[bytes, str]] = ContextVar(
    "REQUEST", default=(b"", "")
)  # what `names_of` said of the one asked
log = logging.getLogger(__name__)


def names_of(scope: Scope) -> tuple[bytes, str]:
    """The request's id, which is the client's `X-Request-Id` or a new one, and the id of the trace that it is part of.

    What is no id is not repeated: it would stand in log and header as it came.
    """
    given, trace = b"", ""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = value if _ID.fullmatch(value) else b""
        elif name == b"traceparent" and (found := _TRACE.fullmatch(value)):
            trace = found[1].decode()
    return given or b"%016x" % prediction_id.drawn(), trace


class AccessLog:
    """Decides which requests have a line."""

    def __init__(self) -> None:
        self._second, self._lines = 0, 0

    def add(self, scope: Scope, status: int, seconds: float, request_id: bytes, trace: str) -> None:
        """Write the line of an answered request, if it is to have one."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        failed = status >= 500 and status != 503  # which says "later", to each probe before the first model is there
        if not failed and self._lines >= LINES:
            return
        self._lines += 1
        where = ascii(scope["path"][:200])[1:-1]
        trace = f" trace={trace}" if trace else ""
        text = f"{scope['method']} {where} {status} {seconds * 1000:.1f} ms request={request_id.decode()}{trace}"
        log.log(logging.WARNING if failed else logging.INFO, "%s", text)
