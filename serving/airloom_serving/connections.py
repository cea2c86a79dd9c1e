"""What uvicorn's HTTP protocol lets a client do for ever, each with an end.

uvicorn 0.54 watches a connection from an answer to the next byte only (`timeout_keep_alive`, 5 s). It does not end one
that sends nothing at first, a head that never ends, what is left of a body after its answer, or an answer that the
client does not read; and it takes heads of any size and as many connections as come. BentoML has no option for it.
"""

import asyncio
import resource
from http import HTTPStatus

import uvicorn.protocols.http.auto as chosen
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from airloom_serving.asgi import refusal
from airloom_serving.clock import Clock
from airloom_serving.limits import HEAD_LIMIT, HEAD_SECONDS, MOST_CONNECTIONS, WRITE_SECONDS

SPARE = 128  # files that a process needs for other things than connections


def install() -> None:
    """Have the uvicorn that BentoML starts in this process use it, with as many files as it may need."""
    Limited.heads, Limited.answers = Clock(HEAD_SECONDS), Clock(WRITE_SECONDS)
    wanted, (files, most) = MOST_CONNECTIONS + SPARE, resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < wanted:
        files = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
    unlimited = files == resource.RLIM_INFINITY
    Limited.most = MOST_CONNECTIONS if unlimited else max(1, min(MOST_CONNECTIONS, files - SPARE))
    chosen.AutoHTTPProtocol = Limited


def _raw(status: int, text: str) -> bytes:
    """An answer to what is no request yet."""
    answer = refusal(status, text)
    kind, size = f"content-type: {answer.media.decode()}", f"content-length: {len(answer.body)}"
    first = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    return "\r\n".join([first, kind, size, "connection: close", "", ""]).encode() + answer.body


FULL = _raw(503, "the server has as many connections as it takes; ask again in a second")
TOO_LARGE = _raw(431, f"the first line and the headers may have {HEAD_LIMIT} bytes")
TOO_SLOW = _raw(408, f"the first line and the headers did not come within {HEAD_SECONDS:g} s")


class Limited(HttpToolsProtocol):
    """One connection."""

    heads = Clock(HEAD_SECONDS)  # connections on which a request is to come
    answers = Clock(WRITE_SECONDS)  # those whose client takes no more bytes
    most = MOST_CONNECTIONS
    _size = 0  # bytes of a head that is not whole, beyond its first read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        """It is open."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._end(FULL)
        else:
            self.heads.begin(self, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self.heads.end(self)
        self.answers.end(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        before = self.scope
        super().data_received(data)
        if self.scope is None or "method" not in self.scope:  # the head is not whole
            self._size = self._size + len(data) if self.scope is before else 0
            if self._size > HEAD_LIMIT:
                self._end(TOO_LARGE)
        if (self.cycle is None or self.cycle.response_complete) and self.timeout_keep_alive_task is None:
            self.heads.begin(self, self._late)  # nothing is being answered, and uvicorn does not watch it
        else:
            self.heads.end(self)

    def pause_writing(self) -> None:
        """The client takes no more bytes for now."""
        super().pause_writing()
        self.answers.begin(self, self._abort)

    def resume_writing(self) -> None:
        """It took some."""
        self.answers.end(self)
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """No further request came."""
        if self.transport.get_write_buffer_size():  # closing waits until the client has taken all of it
            self._abort()
        super().timeout_keep_alive_handler()

    def _late(self) -> None:
        self._end(TOO_SLOW if self.scope is not None and "method" not in self.scope else b"")

    def _end(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def _abort(self) -> None:
        self.transport.abort()
