import math
from collections.abc import Callable, Iterator
from typing import Any

import onnxruntime  # noqa: TID253 - a test of ONNX code
import pytest
from onnx import TensorProto, helper
from starlette.testclient import TestClient

from airloom_serving.api import build
from airloom_serving.metrics import Measured
from airloom_serving.server import Server
from airloom_serving.verdicts import Checkers


@pytest.fixture
def small(make_home, make_world, tmp_path):
    """A pipeline `small` with a registry of its own."""
    return make_world(make_home(tmp_path), "small")


@pytest.fixture(scope="session")
def make_session() -> Callable[..., Any]:
    """A graph of one operator from `input` to `output`, both with any number of rows."""

    def make(operator: str = "Identity", shape: tuple[int | str, ...] = (3,), kind: int = TensorProto.FLOAT) -> Any:
        answers = (math.prod(shape),) if operator == "Flatten" else shape
        sides = [
            helper.make_tensor_value_info(name, kind, ["batch", *sizes])
            for name, sizes in (("input", shape), ("output", answers))
        ]
        graph = helper.make_graph([helper.make_node(operator, ["input"], ["output"])], "g", sides[:1], sides[1:])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        return onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])

    return make


@pytest.fixture(scope="session")
def checkers(tmp_path_factory) -> Iterator[Checkers]:
    """One warm process for all tests that load good models; verdicts are kept by digest anyway."""
    checkers = Checkers(tmp_path_factory.mktemp("verdicts"))
    yield checkers
    checkers.close()


@pytest.fixture(scope="session")
def one_loop() -> Callable[[Server], TestClient]:
    """A client whose requests all run on one event loop, which outlives them; use it as a context manager."""

    def make(server: Server) -> TestClient:
        app = Measured(build(server), server.metrics)

        async def whole(scope, receive, send):
            if scope["type"] != "lifespan":
                await app(scope, receive, send)
                return
            for step in ("startup", "shutdown"):
                assert (await receive())["type"] == f"lifespan.{step}"
                await send({"type": f"lifespan.{step}.complete"})

        return TestClient(whole, raise_server_exceptions=False)

    return make


@pytest.fixture
def server(tmp_path, monkeypatch) -> Server:
    """One without its threads, and without models."""
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path))
    return Server()
