"""A login before MLflow's server: `mlflow server --app-name airloom` takes this app, as its plugin `mlflow.app`.

MLflow's own `basic-auth` needs packages that it does not bring, and hashes a password for each request. Its users are
people who choose theirs; here is one name with a random one of 144 bits, which needs no hash.
"""

import base64
import binascii
import hmac
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airloom.errors import StackError
from airloom.settings import load
from airloom.tracking import runs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

NAME, USER = "airloom", "airloom"  # of the app; who logs in
OPEN = "/health"  # what a supervisor asks
DETAIL = "MLflow wants a login: `airloom up` prints it, `airloom env` has it for a shell"


class Login:
    """ASGI middleware: 401 without the name and password, or the password as a bearer token.

    Args:
        app: what is guarded.
        password: an empty one lets nobody in.
    """

    def __init__(self, app: App, password: str) -> None:
        self._app, self._password = app, password.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the app, or let it."""
        kind = scope["type"]
        if kind == "lifespan" or (kind == "http" and scope["path"] == OPEN) or self._knows(scope):
            await self._app(scope, receive, send)
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _refuse(send)

    def _knows(self, scope: Scope) -> bool:
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        how, _, secret = header.partition(b" ")
        if how.lower() == b"basic":
            try:
                user, _, secret = base64.b64decode(secret, validate=True).partition(b":")
            except binascii.Error:
                return False
            if user != USER.encode():
                return False
        elif how.lower() != b"bearer":
            return False
        return bool(self._password) and hmac.compare_digest(secret, self._password)


async def _refuse(send: Send) -> None:
    body = json.dumps({"error_code": "UNAUTHENTICATED", "message": DETAIL}).encode()  # as MLflow's clients read it
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"www-authenticate", b'Basic realm="MLflow of Airloom", charset="UTF-8"'),  # a browser asks for it
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def create() -> App:
    """MLflow's whole app behind the login of this home's `stack.json`, or of the environment where no stack is.

    Raises:
        StackError: neither has a password.
    """
    from mlflow.server.fastapi_app import app

    settings = load()
    password = str(settings.stack.get("mlflow_password", "")) or os.environ.get(runs.LOGIN[1], "")
    if not password:
        hint = f"`airloom up` makes one; without a stack set {runs.LOGIN[1]}, with which clients log in as {USER}"
        raise StackError(f"{settings.home / 'stack.json'} has no password for MLflow", hint)
    return Login(app, password)
