"""`bentoml serve airloom_serving.service:ModelServer`"""

import os

import bentoml  # noqa: TID253 - this file is what BentoML itself loads, nothing else imports it

from airloom_serving.behind import OPTIONS, Behind, Predicting
from airloom_serving.server import Server

# The reconciler asks again two seconds later by itself; a long retry would only delay it.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@bentoml.service(name="airloom", service_class=Behind, **OPTIONS)
class ModelServer(Predicting):
    """Serves the champion of every registered model."""

    server = Server()
