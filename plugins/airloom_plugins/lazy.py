"""An app that is built when it is asked for the first time: plugins are loaded in every process of Airflow."""

import threading
from collections.abc import Awaitable, Callable, MutableMapping
from importlib import import_module
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class LazyApp:
    """Imports a module at its first request, and passes all requests to what its `build()` returns.

    Args:
        module: by its full name.
    """

    def __init__(self, module: str) -> None:
        self._module, self._lock = module, threading.Lock()
        self._app: App | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        with self._lock:
            if self._app is None:
                self._app = import_module(self._module).build()
        await self._app(scope, receive, send)
