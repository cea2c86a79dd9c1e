"""A live model server of one small model, in a thread of the test."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnxruntime  # noqa: TID253 - a test of ONNX code
import uvicorn
from onnx import TensorProto, helper

from airloom_serving.api import build
from airloom_serving.metrics import Measured
from airloom_serving.security import Guard
from airloom_serving.served import ServedModel
from airloom_serving.server import Server


def small(name: str = "small", version: str = "1") -> ServedModel:
    """A model that answers with the place of the largest of three numbers."""
    sides = [helper.make_tensor_value_info(one, TensorProto.FLOAT, ["batch", 3]) for one in ("input", "output")]
    graph = helper.make_graph([helper.make_node("Identity", ["input"], ["output"])], "g", sides[:1], sides[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return ServedModel(name, version, session, (3,))


@contextmanager
def served(model: ServedModel) -> Iterator[str]:
    """The address of a server of it, which takes the token of AIRLOOM_SERVER_TOKEN."""
    server = Server()
    server.reconciler.models = {model.name: model}
    with listening(Measured(Guard(build(server), server.access), server.metrics)) as address:
        yield address


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """The address of an ASGI app on a free port."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < until
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
