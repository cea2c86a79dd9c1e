"""`bentoml serve airloom_serving.service:ModelServer`"""

import gc
import os
from typing import Any

import bentoml  # noqa: TID253 - this file is what BentoML itself loads, nothing else imports it

from airloom.settings import load
from airloom_serving.api import Server, build
from airloom_serving.description import INSTANCES, SCORES, TOP, Prediction, complete
from airloom_serving.front import Front
from airloom_serving.metrics import Measured
from airloom_serving.security import Guard

# The reconciler asks again two seconds later by itself; a long retry would only delay it.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
server = Server()


@bentoml.service(name="airloom", workers=1, traffic={"timeout": 30, "max_concurrency": 256}, metrics={"enabled": False})
class ModelServer:
    """Serves the champion of every registered model."""

    def __init__(self) -> None:
        gc.freeze()  # the collector need not look through what was imported because a request has many lists
        server.start()

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator] # BentoML ships no types for it
    async def predict(
        self, model: str, instances: list[Any] = INSTANCES, scores: bool | None = SCORES, top: int | None = TOP
    ) -> Prediction:
        """Ask the champion of a registered model for its answers, each with an id that is traced to its commits."""
        raise NotImplementedError("Front answers this route: pydantic would look at each number of the instances")

    @bentoml.on_shutdown  # type: ignore[untyped-decorator] # as above
    def shutdown(self) -> None:
        """Write what is queued."""
        server.stop()


def _documentation() -> dict[str, Any]:
    return complete(ModelServer.openapi_spec.asdict())  # type: ignore[attr-defined] # a bentoml.Service now


own = build(server, _documentation)
for middleware, options in (
    (Measured, {"metrics": server.metrics}),
    (Guard, {"token": load().model_token}),
    (Front, {"own": own}),
):
    ModelServer.add_asgi_middleware(middleware, **options)  # type: ignore[attr-defined] # as above
