"""The supervisor of `bentoml serve`, closed to others.

BentoML 1.4 has circus listen on two more TCP ports of loopback. Whoever reaches them, as any user of the machine does,
may start a program as the server's user, or end it: circus asks for no secret. Sockets in a private folder do as well.
"""

import shutil
import tempfile
from importlib import import_module
from typing import Any

_SOCKETS = ("endpoint", "pubsub_endpoint")


def close() -> None:
    """Have the supervisor that this process may start use sockets that its own user may open only.

    A service's module may call this: BentoML imports it before it makes the supervisor, and again in each worker, where
    there is none to be made.
    """
    if import_module("bentoml._internal.context").server_context.worker_index is not None:
        return
    arbiter = import_module("bentoml._internal.utils.circus").Arbiter
    if hasattr(arbiter, "airloom_closed"):
        return
    begin = arbiter.__init__

    def private(self: Any, *arguments: Any, **named: Any) -> None:
        folder = tempfile.mkdtemp(prefix="airloom-")  # for its owner only
        begin(self, *arguments, **named | {name: f"ipc://{folder}/{name}" for name in _SOCKETS})
        self.exit_stack.callback(shutil.rmtree, folder, ignore_errors=True)

    arbiter.__init__, arbiter.airloom_closed = private, True
