import asyncio
import time

import httpx
import numpy as np
import onnxruntime  # noqa: TID253 - a test of ONNX code
import pytest
from onnx import TensorProto, helper, numpy_helper
from served.problems import problem_of
from starlette.testclient import TestClient

from airloom.monitoring import prediction_id
from airloom.processing import Pixels, Processing
from airloom_serving import served
from airloom_serving import server as process
from airloom_serving.api import build
from airloom_serving.limits import MOST_INSTANCES
from airloom_serving.metrics import Measured
from airloom_serving.served import ServedModel


@pytest.fixture
def client(server, make_session):
    """A server of one model that answers with the largest of three numbers, without its threads."""
    server.reconciler.models = {"small": ServedModel("small", "7", make_session(), (3,))}
    return TestClient(build(server), raise_server_exceptions=False)


def ask(client, model, instances, **more):
    return client.post("/predict", json={"model": model, "instances": instances, **more})


@pytest.fixture
def roots(server, client, make_session):
    """Models that take square roots: a classifier, and one that answers with numbers."""
    more = {
        "classes": ServedModel("classes", "1", make_session("Sqrt"), (3,), Processing(labels=["a", "b", "c"])),
        "numbers": ServedModel("numbers", "1", make_session("Sqrt", ()), ()),
        "logs": ServedModel("logs", "1", make_session("Log"), (3,)),
    }
    server.reconciler.models |= more
    return client


@pytest.mark.parametrize(
    ("model", "instances", "place", "value"),
    [
        ("classes", [[1, 2, 3], [1, -1, 3], [-1, -1, -1]], 1, "nan"),
        ("numbers", [4] * 1500 + [-4], 1500, "nan"),
        ("logs", [[1, 0, 0], [0, 0, 0]], 1, "-inf"),
    ],
)
def test_an_answer_that_is_not_finite_is_an_error(server, roots, caplog, model, instances, place, value):
    """It was class 0, or a 500 where the answer is a number."""
    answer = ask(roots, model, instances)
    assert answer.status_code == 422
    assert f"{model} version 1 to instance {place} is not finite but {value}" in answer.json()["error"]
    assert f"{model} version 1 to instance {place} is not finite" in caplog.text
    assert f'airloom_not_finite_total{{model="{model}",version="1"}} 1.0' in roots.get("/metrics").text
    assert "airloom_predictions_total{" not in roots.get("/metrics").text


def test_a_class_that_cannot_be_is_an_answer(roots):
    """The logarithm of the probability 0 is minus infinity."""
    assert ask(roots, "logs", [[0, 2, 0], [0.5, 0, 0.25]]).json()["predictions"] == [1, 0]


def test_probabilities_are_those_of_the_outputs(roots):
    answer = ask(roots, "classes", [[1, 4, 9]], scores=True, top=2).json()
    expected = np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum()
    assert answer["classes"] == ["a", "b", "c"]
    np.testing.assert_allclose(answer["scores"], [expected])
    assert [best["class"] for best in answer["top"][0]] == ["c", "b"]
    assert [best["score"] for best in answer["top"][0]] == answer["scores"][0][:0:-1]
    more = ask(roots, "classes", [[1, 4, 9]], top=1000).json()
    assert (len(more["top"][0]), "scores" in more) == (3, False)


def test_numbers_have_no_probabilities(roots):
    for extra in ({"scores": True}, {"top": 1}):
        answer = ask(roots, "numbers", [4], **extra)
        assert (answer.status_code, "it has no probabilities" in answer.json()["error"]) == (422, True)
    assert ask(roots, "numbers", [4], scores=False, top=None).json()["predictions"] == [2.0]


def test_a_threshold_changes_the_class_and_no_probability(server, client, make_session):
    declared = Processing(threshold=0.9, labels=["no", "yes"])
    server.reconciler.models["one"] = ServedModel("one", "1", make_session("Identity", (1,)), (1,), declared)
    answer = ask(client, "one", [[0.0], [3.0]], scores=True).json()
    assert answer["predictions"] == ["no", "yes"]
    assert answer["scores"][0] == [0.5, 0.5]
    assert answer["scores"][1][1] == pytest.approx(1 / (1 + np.exp(-3)))


@pytest.fixture
def pictures(server, client, make_session):
    """Models that give back the four pixels of a picture, for both ways to declare their range."""
    for pixels in Pixels:
        graph = make_session("Flatten", (1, 2, 2))
        declared = Processing(pixels=pixels)
        server.reconciler.models[pixels.value] = ServedModel(pixels.value, "1", graph, (1, 2, 2), declared)
    return client


@pytest.mark.parametrize("wrong", [-0.1, 1.5, 255])
def test_pixels_beyond_their_range_are_refused(pictures, wrong):
    """They were answered silently, a seventh of them with another class."""
    answer = ask(pictures, "unit", [[[[0, 0], [1, 0.5]]], [[[0, 0], [wrong, 0]]]])
    assert answer.status_code == 422
    assert f"instance 1 holds {wrong:g}; its pixels lie in 0..1 (divide bytes by 255)" in answer.json()["error"]


def test_bytes_are_scaled_where_they_are_declared(server, pictures):
    values = np.arange(256, dtype=np.uint8).reshape(64, 1, 2, 2)
    (judged,) = server.reconciler.models["bytes"].parse(values.tolist())
    assert (judged["input"] == Processing().single(values)).all()  # the same bits as in training
    assert ask(pictures, "bytes", [[[[0, 256], [0, 0]]]]).status_code == 422


def test_what_lies_outside_of_the_observed_range_is_answered_and_counted(server, client, make_session):
    declared = Processing(columns=["a", "b", "c"], observed={"a": (0, 1), "c": (-1, 5)})
    server.reconciler.models["table"] = ServedModel("table", "1", make_session(), (3,), declared)
    assert ask(client, "table", [[2, 0, 0], [0, 99, 0], [1, 0, 5.5], [0, 0, -1]]).status_code == 200
    assert 'airloom_outside_total{model="table",version="1"} 2.0' in client.get("/metrics").text


def endless():
    """A graph that gives its input back, and never ends where the sum of the input is positive."""
    value = helper.make_tensor_value_info("value", TensorProto.FLOAT, None)
    truths = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("going", "still")]
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["still"]), helper.make_node("Identity", ["value"], ["next"])],
        "body",
        [helper.make_tensor_value_info("number", TensorProto.INT64, []), truths[0], value],
        [truths[1], helper.make_tensor_value_info("next", TensorProto.FLOAT, None)],
    )
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("input", "output")]
    nodes = [
        helper.make_node("ReduceSum", ["input"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["goes"]),
        helper.make_node("Loop", ["", "goes", "input"], ["output"], body=body),
    ]
    zero = numpy_helper.from_array(np.array(0, np.float32), "zero")
    graph = helper.make_graph(nodes, "g", sides[:1], sides[1:], [zero])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])


def test_a_graph_that_does_not_end_is_ended_and_stops_no_other(server, client, monkeypatch):
    server.reconciler.models["loop"] = ServedModel("loop", "1", endless(), (3,))
    assert ask(client, "loop", [[-1, 0, 0]]).json()["predictions"] == [1]
    monkeypatch.setattr(process, "RUN_SECONDS", 1.0)
    monkeypatch.setattr(served, "MOST_ASKED", 40)

    async def all_of_them():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(client.app), base_url="http://server") as asked:
            bodies = [{"model": "loop", "instances": [[1, 0, 0]]}] * 41
            slow = [asyncio.ensure_future(asked.post("/predict", json=body)) for body in bodies]
            quick = await asked.post("/predict", json={"model": "small", "instances": [[1, 2, 3]]})
            first = [task.done() for task in slow[:4]]
            return quick, first, await asyncio.gather(*slow)

    quick, first, slow = asyncio.run(all_of_them())
    assert quick.json()["predictions"] == [2]
    assert not any(first)
    assert sorted({answer.status_code for answer in slow}) == [503, 504]
    assert "did not answer within" in slow[0].json()["error"]
    assert ask(client, "loop", [[-1, 0, 0]]).status_code == 200


def test_what_the_graph_itself_refuses_is_told(server, client):
    """A token number beyond the embedding was a 500."""
    sides = [helper.make_tensor_value_info("input", TensorProto.INT64, ["batch", 1])]
    sides += [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 1])]
    table = numpy_helper.from_array(np.zeros(5, np.float32), "table")
    graph = helper.make_graph([helper.make_node("Gather", ["table", "input"], ["output"])], "g", *[[s] for s in sides])
    graph.initializer.append(table)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    server.reconciler.models["tokens"] = ServedModel("tokens", "1", session, (1,), whole=True)
    for wrong, told in ([[9]], "cannot answer these instances"), ([[2**63]], "64 bits"), ([[1.0]], "a number with"):
        answer = ask(client, "tokens", wrong)
        assert (answer.status_code, told in answer.json()["error"]) == (422, True), answer.text


def test_the_latency_of_a_prediction_is_its_share(server, client):
    began = time.perf_counter()
    ask(client, "small", [[1, 2, 3]] * 1000)
    took = 1000 * (time.perf_counter() - began)
    (answered,) = server.log._waiting
    assert 0 < answered.latency_ms <= took / 1000


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


@pytest.mark.parametrize("rows", [1, 70])
@pytest.mark.parametrize("path", ["/predict", "/v1/models/small/predict", "/v2/models/small/infer"])
def test_headers_say_which_version_answered(client, path, rows):
    """At every door, also where a client of another tool drops what it does not know of the body."""
    values = [[1, 2, 3]] * rows
    if path.startswith("/v2"):
        body = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [rows, 3], "data": values}]}
    else:
        body = {"instances": values} | ({"model": "small"} if path == "/predict" else {})
    answer = client.post(path, json=body)
    found = answer.json()
    ids = found["parameters"]["prediction_ids"] if path.startswith("/v2") else found["prediction_ids"]
    assert answer.headers["x-airloom-model-version"] == "7"
    assert (answer.headers["x-airloom-prediction-id"], answer.headers["x-airloom-rows"]) == (ids[0], str(rows))
    refused = client.post(path, json={})
    assert refused.status_code == 400
    assert "x-airloom-prediction-id" not in refused.headers


def test_an_error_names_its_place_for_programs(roots):
    """Beside the text: what is wrong in a word, and which row, input and value."""
    found = problem_of(ask(roots, "small", [[1, 2, 3], [1, "2", 3]]))
    assert (found["type"], found["title"]) == ("urn:airloom:instances-refused", "Instances refused")
    assert (found["row"], found["input"]) == (1, "input")
    found = problem_of(ask(roots, "classes", [[4, 4, 4], [-1, 4, 4]]))
    assert (found["type"], found["row"], found["value"]) == ("urn:airloom:not-finite", 1, "nan")
    found = problem_of(ask(roots, "small", [[1, 2, 1e300]]))
    assert (found["row"], found["value"]) == (0, "1e+300")
    found = problem_of(ask(roots, "other", [[1, 2, 3]]))
    assert (found["type"], found["model"]) == ("urn:airloom:not-served", "other")
    assert problem_of(ask(roots, "small", [0] * (MOST_INSTANCES + 1)))["type"] == "urn:airloom:too-many"
    assert problem_of(roots.get("/nothing"))["type"] == "about:blank"


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
    "an unknown key": (400, '{"model": "small", "instances": [[1, 2, 3]], "score": true}'),
    "scores as a number": (400, '{"model": "small", "instances": [[1, 2, 3]], "scores": 1}'),
    "scores as text": (400, '{"model": "small", "instances": [[1, 2, 3]], "scores": "true"}'),
    "none of the top": (400, '{"model": "small", "instances": [[1, 2, 3]], "top": 0}'),
    "truth of the top": (400, '{"model": "small", "instances": [[1, 2, 3]], "top": true}'),
    "a part of the top": (400, '{"model": "small", "instances": [[1, 2, 3]], "top": 1.5}'),
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
    assert answer.status_code == status, answer.text
    assert len(problem_of(answer)["detail"]) < 1000


def test_paths_that_are_no_route_are_counted_together(server):
    """Each made series of its own, before any token was looked at."""
    asked = TestClient(Measured(build(server), server.metrics))
    for number in range(3):
        assert asked.get(f"/unknown/{number}").status_code == 404
    text = asked.get("/metrics").text
    assert 'airloom_requests_total{route="other",status="404"} 3.0' in text
    assert "unknown" not in text


def test_each_request_has_an_id_and_some_have_a_line(server, client, caplog):
    caplog.set_level("INFO", "airloom_serving.access_log")

    def lines():
        return [record.getMessage() for record in caplog.records if record.name == "airloom_serving.access_log"]

    asked = TestClient(Measured(client.app, server.metrics), raise_server_exceptions=False)
    trace = "0af7651916cd43dd8448eb211c80319c"
    for given, kept in (("mine-7", True), ("no id\n", False), ("x" * 129, False), (None, False)):
        headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"} | ({"X-Request-Id": given} if given else {})
        answer = asked.get("/status", headers=headers)
        assert (answer.headers["x-request-id"] == given) is kept
        assert "GET /status 200" in lines()[-1]
        assert f"request={answer.headers['x-request-id']} trace={trace}" in lines()[-1]
    for _ in range(50):
        asked.get("/status")
    assert len(lines()) < 40
    server.reconciler = None
    assert asked.get("/status").status_code == 500
    assert "GET /status 500" in lines()[-1]


def test_many_requests_at_once_get_each_its_own_answer(server, client, make_session):
    """Whatever is run together, no answer goes to another's rows."""
    steady = ServedModel("steady", "1", make_session(), (3,), steady=True, apart=True)
    server.reconciler.models = {**server.reconciler.models, "steady": steady}

    async def all_of_them():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(client.app), base_url="http://server") as asked:
            rows = [np.eye(3)[[place % 3] * (1 + place % 5)].tolist() for place in range(200)]
            models = ["small", "steady"]
            bodies = [{"model": models[place % 2], "instances": part} for place, part in enumerate(rows)]
            return rows, await asyncio.gather(*(asked.post("/predict", json=body) for body in bodies))

    rows, answers = asyncio.run(all_of_them())
    ids = set()
    for part, answer in zip(rows, answers, strict=True):
        assert answer.json()["predictions"] == np.asarray(part).argmax(axis=1).tolist()
        ids.update(answer.json()["prediction_ids"])
    assert len(ids) == sum(map(len, rows))


def test_metrics_by_model_version_and_role_end_with_what_serves(server, client, make_session):
    """Else each deployment would leave its series for good."""
    assert ask(client, "small", [[1, 2, 3]]).status_code == 200
    assert ask(client, "small", [["a", 2, 3]]).status_code == 422
    told = client.get("/metrics").text
    for series in (
        'airloom_model_requests_total{model="small",role="champion",version="7"} 2.0',
        'airloom_model_errors_total{kind="refused",model="small",role="champion",version="7"} 1.0',
        'airloom_model_seconds_count{model="small",role="champion",version="7"} 1.0',
        'airloom_predictions_total{model="small",version="7"} 1.0',
    ):
        assert series in told, told
    for version in ("8", "9"):
        server.reconciler.models = {"small": ServedModel("small", version, make_session(), (3,))}
        assert ask(client, "small", [[1, 2, 3]]).status_code == 200
    told = client.get("/metrics").text
    assert 'version="9"' in told
    assert 'version="7"' not in told
    assert 'version="8"' not in told
    server.reconciler.models = {}
    assert 'model="small"' not in client.get("/metrics").text
