"""Stands before BentoML's own routes: ours are answered here, and every error of theirs takes the form of ours."""

import json
from http import HTTPStatus
from typing import Any

from airloom_serving.asgi import App, Receive, Scope, Send, refusal
from airloom_serving.routes import BENTOMLS, OTHER, route_of


class Front:
    """ASGI middleware: a request for one of our routes goes to our app.

    Args:
        app: BentoML's.
        own: ours.
    """

    def __init__(self, app: App, own: App) -> None:
        self.app, self._own = app, own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have one of the two answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif (route := route_of(scope)) == OTHER or route in BENTOMLS:
            await self.app(scope, receive, _OneForm(send))
        else:
            await self._own(scope, receive, send)


class _OneForm:
    """Turns an error of BentoML or Starlette, text or JSON, into problem details."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Any = None  # the start of an error, which waits for its body
        self._body = b""

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._end()

    async def _end(self) -> None:
        replaced = (b"content-type", b"content-length")
        headers = [pair for pair in self._start.get("headers", []) if pair[0].lower() not in replaced]
        await refusal(self._start["status"], self._text(), *headers).send(self._send)

    def _text(self) -> str:
        text = self._body.decode("utf-8", "replace").strip()
        try:
            value = json.loads(text)
        except ValueError:
            return text or HTTPStatus(self._start["status"]).phrase
        return str(value.get("error", text)) if isinstance(value, dict) else text
