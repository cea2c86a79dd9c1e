"""`bentoml serve airloom_serving.service:ModelServer`"""

import bentoml  # noqa: TID253 - this file is what BentoML itself loads, nothing else imports it

from airloom.settings import load
from airloom_serving.api import Server, build
from airloom_serving.security import Guard

server = Server()


@bentoml.service(name="airloom", workers=1, traffic={"timeout": 30, "max_concurrency": 256})
@bentoml.asgi_app(build(server), path="/")
class ModelServer:
    """Serves the champion of every registered model."""

    def __init__(self) -> None:
        server.start()

    @bentoml.on_shutdown
    def shutdown(self) -> None:
        """Write what is queued."""
        server.stop()


ModelServer.add_asgi_middleware(Guard, token=load().model_token)
