"""The little of ASGI that the server needs: answers, the body of a request, and the types of both ends."""

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, NamedTuple

from airloom.problem_details import MEDIA, problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = b"application/json"
PROBLEM = MEDIA.encode()
VERSION, FIRST, ROWS = b"x-airloom-model-version", b"x-airloom-prediction-id", b"x-airloom-rows"


class Answer(NamedTuple):
    """What is sent back."""

    body: bytes
    status: int = 200
    media: bytes = JSON
    headers: tuple[Header, ...] = ()

    def of(self, version: str, ids: Sequence[str]) -> "Answer":
        """The same with headers that say which version answered: a client of any door need not read the body for it.

        Args:
            version: of the model.
            ids: of the predictions; a header has the first of them, and how many there are.
        """
        headers = *self.headers, (VERSION, version.encode()), (FIRST, ids[0].encode()), (ROWS, b"%d" % len(ids))
        return Answer(self.body, self.status, self.media, headers)

    async def send(self, send: Send) -> None:
        """Send it whole."""
        headers = [(b"content-type", self.media), (b"content-length", str(len(self.body)).encode()), *self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def refusal(status: int, text: str, *headers: Header, kind: str = "", **known: Any) -> Answer:
    """An error as all of ours look: problem details (RFC 9457), which clients of the Open Inference Protocol read too.

    Args:
        status: of HTTP.
        text: what is wrong, with which value, and what to do: `detail`, and `error` for those clients.
        headers: of the answer.
        kind: what is wrong, in a word that programs compare; "": the status says all that there is.
        known: of the place: `row`, `input`, `value`, `model`, `version`.
    """
    return Answer(json.dumps(problem(status, text, kind, **known)).encode(), status, PROBLEM, headers)


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        text: what is wrong, with which value, and what to do.
        headers: of the answer.
        kind: see `refusal`.
        known: likewise; whoever knows more may add to it.
    """

    def __init__(self, status: int, text: str, *headers: Header, kind: str = "", **known: Any) -> None:
        super().__init__(text)
        self.status, self.headers, self.kind, self.known = status, headers, kind, known

    @property
    def answer(self) -> Answer:
        """What is sent."""
        return refusal(self.status, str(self), *self.headers, kind=self.kind, **self.known)


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
