"""The Open Inference Protocol, version 2, over REST: for clients of Triton, KServe and others."""

from typing import Any

import numpy as np
import orjson

from airloom.errors import InstancesRefused
from airloom.inference.columns import ColumnSignature
from airloom.inference.instances import Instances
from airloom.version import __version__
from airloom_serving.asgi import Answer, Receive, Scope, body_of
from airloom_serving.bodies import Judging
from airloom_serving.description import described
from airloom_serving.questions import Question, Told
from airloom_serving.routes import PARAMETERS, key_of
from airloom_serving.served import ServedModel
from airloom_serving.server import Server
from airloom_serving.tensors import LENGTH, NAMES, Asked, answer, read


class OpenInference:
    """What answers its routes.

    A tensor has the name of an input of the model's, and the values that the other doors take: those of a row as they
    are before the processing that goes with the model. What is answered are the graph's own outputs; the ids of the
    predictions, and the predictions themselves, are parameters of the answer.

    Args:
        server: whose models answer.
        judging: of large bodies, one at a time at all doors.
    """

    def __init__(self, server: Server, judging: Judging) -> None:
        self._server, self._judging = server, judging

    async def server(self, *_: Any) -> Answer:
        """GET /v2"""
        return Answer(orjson.dumps({"name": "airloom", "version": __version__, "extensions": ["binary_tensor_data"]}))

    async def live(self, *_: Any) -> Answer:
        """GET /v2/health/live"""
        return Answer(b'{"live":true}')

    async def model(self, scope: Scope, _: Receive) -> Answer:
        """GET /v2/models/{model}: its tensors; -1 stands for a dimension of any size."""
        model = await self._model(scope)
        told = described(model)
        sides = {side: [_tensor(one) for one in told[side]] for side in ("inputs", "outputs")}
        name = self._server.short(model.name)
        return Answer(
            orjson.dumps({"name": name, "versions": [model.version], "platform": "onnxruntime_onnx", **sides})
        )

    async def ready(self, scope: Scope, _: Receive) -> Answer:
        """GET /v2/models/{model}/ready"""
        model = await self._model(scope)
        return Answer(orjson.dumps({"name": self._server.short(model.name), "ready": True}))

    async def infer(self, scope: Scope, receive: Receive) -> Answer:
        """POST /v2/models/{model}/infer"""
        length = next((value for name, value in scope["headers"] if name == LENGTH), None)
        body = await body_of(receive)
        asked = read(body, length) if length is not None else await self._judging.of(read, body, None)
        at = scope[PARAMETERS]

        async def question() -> Question:
            return self._server.question(
                at["model"],
                key_of(scope),
                lambda model: model.limited(_instances(model, asked)),
                version=at.get("version", ""),
                raw=True,
            )

        def form(told: Told) -> Answer:
            name = self._server.short(told.model.name)
            more = {"prediction_ids": told.ids, "predictions": told.answers.predictions}
            return answer(asked, name, told.model.version, told.outputs, more)

        return await self._server.answer(await self._server.awake(question), form)

    async def _model(self, scope: Scope) -> ServedModel:
        return await self._server.model(scope[PARAMETERS]["model"], scope[PARAMETERS].get("version", ""))


def _tensor(told: dict[str, Any]) -> dict[str, Any]:
    kind = NAMES.get(told["type"], "FP32" if told["type"] == "number" else "BYTES")
    return {
        "name": told["name"],
        "datatype": kind,
        "shape": [-1, *(s if type(s) is int else -1 for s in told["shape"])],
    }


def _instances(model: ServedModel, asked: Asked) -> Instances:
    """The rows of a request.

    Raises:
        InstancesRefused: the model takes other inputs.
    """
    signature, inputs = model.signature, asked.inputs
    rows = {len(values) for values in inputs.values()}
    if len(rows) != 1 or 0 in rows:
        raise InstancesRefused(f"{model.name} takes inputs of as many rows each; these are {sorted(rows)}")
    if isinstance(signature, ColumnSignature):
        if extra := [name for name in inputs if name not in signature.columns]:
            text = f"{model.name} takes {signature.wanted}; it takes no input {extra[0][:80]!a}"
            raise InstancesRefused(text, input=extra[0][:80])
        files = signature.pictures
        return signature.judge_columns({n: v if n in files else _column(v, n) for n, v in inputs.items()})
    name = signature.port.name
    if list(inputs) != [name]:
        raise InstancesRefused(f"{model.name} takes one input, {name}; these are {', '.join(inputs)[:200]}")
    values = inputs[name]
    if isinstance(values, np.ndarray):
        return signature.judge_array(values)
    return signature.judge(values if signature.processing.picture is not None else _column(values, name))


def _column(values: Any, name: str) -> Any:
    """Texts of bytes."""
    if isinstance(values, np.ndarray):
        return values
    try:
        return [cell.decode() for cell in values]
    except UnicodeDecodeError as error:
        text = f"the input {name[:80]!a} holds a text that is no UTF-8: {error.reason}"
        raise InstancesRefused(text, input=name[:80]) from None
