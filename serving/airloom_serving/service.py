"""`bentoml serve airloom_serving.service:ModelServer`"""

import os

import bentoml  # noqa: TID253 - this file is what BentoML itself loads, nothing else imports it

from airloom.settings import load
from airloom_serving.api import Server, build
from airloom_serving.security import Guard

# The reconciler asks again two seconds later by itself; a long retry would only delay it.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
server = Server()


@bentoml.service(name="airloom", workers=1, traffic={"timeout": 30, "max_concurrency": 256})
@bentoml.asgi_app(build(server), path="/")
class ModelServer:
    """Serves the champion of every registered model."""

    def __init__(self) -> None:
        server.start()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator] # BentoML ships no types for it
    def shutdown(self) -> None:
        """Write what is queued."""
        server.stop()


ModelServer.add_asgi_middleware(Guard, token=load().model_token)  # type: ignore[attr-defined] # a bentoml.Service now
