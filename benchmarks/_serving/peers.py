"""What the others run: an empty app, FastAPI as its documentation shows it, and stock BentoML services."""

import os
from typing import Any

import numpy as np
import onnxruntime  # noqa: TID253 - it is what is measured

WIDTH = 784


def _session() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])


async def empty(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, and answer two bytes."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def fastapi() -> Any:
    """The routes of FastAPI: plain `def` for JSON and raw numbers, and one that is `async`."""
    from fastapi import FastAPI, Request
    from pydantic import BaseModel

    app, session = FastAPI(), _session()

    class Rows(BaseModel):
        instances: list[list[float]]

    def answer(values: Any) -> dict[str, Any]:
        (scores,) = session.run(None, {"input": values})
        return {"predictions": scores.argmax(axis=1).tolist()}

    @app.post("/json")
    def json_(rows: Rows) -> dict[str, Any]:
        return answer(np.asarray(rows.instances, np.float32))

    @app.post("/async")
    async def async_(rows: Rows) -> dict[str, Any]:
        return answer(np.asarray(rows.instances, np.float32))

    async def body(request: Request) -> bytes:
        return await request.body()

    from fastapi import Depends

    @app.post("/raw")
    def raw(data: bytes = Depends(body)) -> dict[str, Any]:
        return answer(np.frombuffer(data, np.float32).reshape(-1, WIDTH))

    return app


def bento() -> Any:
    """A stock service: one API as people write it, one that batches."""
    import bentoml

    @bentoml.service(name="stock", workers=1, traffic={"timeout": 30, "max_concurrency": 1024})
    class Stock:
        def __init__(self) -> None:
            self.session = _session()

        @bentoml.api
        def predict(self, instances: list[list[float]]) -> list[int]:
            (scores,) = self.session.run(None, {"input": np.asarray(instances, np.float32)})
            return [int(number) for number in scores.argmax(axis=1)]

        @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
        def batched(self, instances: list[list[float]]) -> list[int]:
            (scores,) = self.session.run(None, {"input": np.asarray(instances, np.float32)})
            return [int(number) for number in scores.argmax(axis=1)]

    return Stock
