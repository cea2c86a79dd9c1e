"""The little of ASGI that the server needs: answers, the body of a request, and the types of both ends."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = b"application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    body: bytes
    status: int = 200
    media: bytes = JSON
    headers: tuple[Header, ...] = ()

    async def send(self, send: Send) -> None:
        """Send it whole."""
        headers = [(b"content-type", self.media), (b"content-length", str(len(self.body)).encode()), *self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def refusal(status: int, text: str, *headers: Header) -> Answer:
    """An error as all of ours look: `{"error": text}`."""
    return Answer(json.dumps({"error": text}).encode(), status, headers=headers)


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        text: what is wrong, with which value, and what to do.
        headers: of the answer.
    """

    def __init__(self, status: int, text: str, *headers: Header) -> None:
        super().__init__(text)
        self.answer = refusal(status, text, *headers)


class HungUp(Exception):
    """The client is gone before its body was whole; nobody waits for an answer."""


async def body_of(receive: Receive) -> bytes:
    """The body of a request.

    Raises:
        HungUp: the client closed the connection.
    """
    message = await receive()
    if not message.get("more_body") and message["type"] == "http.request":  # nearly always: no list, no copy
        return bytes(message.get("body", b""))
    parts = []
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    raise HungUp
