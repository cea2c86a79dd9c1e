import numpy as np
import onnxruntime  # noqa: TID253 - a test of ONNX code
import pytest
from onnx import TensorProto, helper
from starlette.testclient import TestClient

from airloom.monitoring import prediction_id
from airloom_serving.api import MOST_INSTANCES, Server, build
from airloom_serving.model import LoadedModel


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A server of one model that answers with the largest of three numbers, without its threads."""
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("input", "output")]
    graph = helper.make_graph([helper.make_node("Identity", ["input"], ["output"])], "g", values[:1], values[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    server = Server()
    server.reconciler.models = {"small": LoadedModel("small", "7", session, (3,))}
    return TestClient(build(server), raise_server_exceptions=False)


def test_each_instance_gets_its_answer_and_an_id_of_the_version(client):
    rows = np.random.default_rng(0).normal(size=(50, 3))
    answer = client.post("/predict", json={"model": "small", "instances": rows.tolist()}).json()
    assert answer["predictions"] == rows.argmax(axis=1).tolist()
    assert (answer["model"], answer["version"]) == ("small", "7")
    assert len(set(answer["prediction_ids"])) == 50
    assert all(prediction_id.matches(one, "small", "7") for one in answer["prediction_ids"])
    status = client.get("/status").json()
    assert (status["models"]["small"]["version"], status["models"]["small"]["requests"]) == ("7", 1)
    assert (status["errors"], status["log_dropped"]) == ({}, 0)


BAD = {
    "nothing": (400, ""),
    "no JSON": (400, "{"),
    "no text": (400, b"\xff\xfe\x00"),
    "a list": (400, "[]"),
    "a number": (400, "1"),
    "no model": (400, '{"instances": [[1, 2, 3]]}'),
    "no instances": (400, '{"model": "small"}'),
    "an object for instances": (400, '{"model": "small", "instances": {}}'),
    "a number for a model": (400, '{"model": 7, "instances": [[1, 2, 3]]}'),
    "a nest for a model": (400, '{"instances": [], "model": ' + "[" * 1000 + "]" * 1000 + "}"),
    "another model": (404, '{"model": "other", "instances": [[1, 2, 3]]}'),
    "infinity": (400, '{"model": "small", "instances": [[1, 2, 1e999]]}'),
    "NaN": (400, '{"model": "small", "instances": [[1, 2, NaN]]}'),
    "endless nest": (400, '{"model": "small", "instances": ' + "[" * 100_000),
    "too many": (413, '{"model": "small", "instances": [' + ",".join(["0"] * (MOST_INSTANCES + 1)) + "]}"),
}
MISFITS = {
    "none": "[]",
    "numbers": "[1, 2, 3]",
    "too short": "[[1, 2]]",
    "ragged": "[[1, 2, 3], [1, 2]]",
    "too deep": "[[[1, 2, 3]]]",
    "deep nest": "[" * 1000 + "]" * 1000,
    "null": "[[1, 2, null]]",
    "text": '[["a", "b", "c"]]',
    "numbers as text": '[["1", "2", "3"]]',
    "truth": "[[true, false, true]]",
    "objects": "[[{}, {}, {}]]",
    "too large for float32": "[[1, 2, 1e300]]",
}
BAD |= {name: (422, f'{{"model": "small", "instances": {text}}}') for name, text in MISFITS.items()}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_told_what_is_wrong(client, name):
    status, body = BAD[name]
    answer = client.post("/predict", content=body)
    assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.text
    assert len(answer.text) < 1000
