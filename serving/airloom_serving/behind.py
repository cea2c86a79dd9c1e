"""What each of our BentoML services is: our app in front of BentoML's, and the description of its one API."""

import gc
import logging
from typing import Any, ClassVar

import bentoml  # noqa: TID253 - only files that BentoML itself loads import this one
from _bentoml_sdk import Service

from airloom_serving import connections, supervisor
from airloom_serving.api import build
from airloom_serving.asgi import App
from airloom_serving.description import INSTANCES, SCORES, TOP, Prediction
from airloom_serving.front import Front
from airloom_serving.metrics import Measured
from airloom_serving.openapi import complete
from airloom_serving.security import Guard
from airloom_serving.server import Server

OPTIONS: dict[str, Any] = {
    "workers": 1,
    "traffic": {"timeout": 30, "max_concurrency": 256},
    "metrics": {"enabled": False},
    "logging": {"access": {"enabled": False}},  # ours has a line for each request that fails, and some of the others
}

supervisor.close()


class Behind(Service):  # type: ignore[misc] # BentoML ships no types for it
    """A BentoML service behind our own app: its layers cost some ten times what a small model does."""

    def to_asgi(self, is_main: bool = True) -> App:
        """BentoML's app, which gets what is left to it; the start and the end of the server are its own."""

        def documentation() -> dict[str, Any]:
            return complete(self.openapi_spec.asdict())

        connections.install()
        server: Server = self.inner.server
        front = Front(super().to_asgi(is_main), own=build(server, documentation))
        return Measured(Guard(front, server.access), server.metrics)


class Predicting:
    """The class of such a service."""

    server: ClassVar[Server]

    def __init__(self) -> None:
        logging.getLogger("airloom_serving").setLevel(logging.INFO)  # BentoML lets warnings of others through only
        gc.freeze()  # the collector need not look through what was imported because a request has many lists
        self.server.start()

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator] # BentoML ships no types for it
    async def predict(
        self, model: str, instances: list[Any] = INSTANCES, scores: bool | None = SCORES, top: int | None = TOP
    ) -> Prediction:
        """Ask the champion of a registered model for its answers, each with an id that is traced to its commits."""
        raise NotImplementedError("Front answers this route: pydantic would look at each number of the instances")

    @bentoml.on_shutdown  # type: ignore[untyped-decorator] # as above
    def shutdown(self) -> None:
        """Write what is queued."""
        self.server.stop()
