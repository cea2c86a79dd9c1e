"""The Open Inference Protocol: what Triton's and KServe's clients send, and what hostile ones do."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from onnx import TensorProto
from served.problems import problem_of
from starlette.testclient import TestClient

from airloom.monitoring import prediction_id
from airloom.processing import Processing, Tokenise
from airloom_serving import tensors
from airloom_serving.api import build
from airloom_serving.asgi import Refused
from airloom_serving.served import ServedModel
from airloom_serving.tensors import KINDS, LENGTH, NAMES, Asked, answer, read


def framed(head, *parts):
    """A body with its JSON first, and the header that says how long that is."""
    text = json.dumps(head).encode()
    return text + b"".join(parts), str(len(text)).encode()


def tensor(name, values, **more):
    return {"name": name, "datatype": NAMES[str(values.dtype)], "shape": list(values.shape), **more}


arrays = st.sampled_from(sorted(KINDS.values())).flatmap(
    lambda kind: npst.arrays(kind, npst.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
)


@given(st.lists(arrays, min_size=1, max_size=3), st.booleans())
def test_what_is_sent_is_what_arrives_to_the_bit(values, flat):
    named = {f"t{number}": array for number, array in enumerate(values)}
    parts = [array.astype(array.dtype.newbyteorder("<")).tobytes() for array in values]
    sizes = [{"parameters": {"binary_data_size": len(part)}} for part in parts]
    head = [tensor(name, array, **size) for (name, array), size in zip(named.items(), sizes, strict=True)]
    asked = read(*framed({"inputs": head}, *parts))
    for name, array in named.items():
        assert asked.inputs[name].tobytes() == array.tobytes()
        assert (asked.inputs[name].dtype, asked.inputs[name].shape) == (array.dtype, array.shape)
    finite = {n: a for n, a in named.items() if a.dtype.kind != "f" or np.isfinite(a).all()}
    head = [tensor(n, a, data=a.reshape(-1).tolist() if flat else a.tolist()) for n, a in finite.items()]
    for name, array in read(json.dumps({"inputs": head}).encode(), None).inputs.items():
        assert (array.tobytes(), array.dtype) == (finite[name].tobytes(), finite[name].dtype)


@given(st.lists(arrays, min_size=1, max_size=3), st.booleans())
def test_what_is_answered_is_read_back(values, binary):
    named = {f"t{number}": array for number, array in enumerate(values)}
    told = answer(Asked("7", {}, None, binary), "m", "1", named, {})
    length = dict(told.headers).get(LENGTH)
    head = json.loads(told.body[: int(length)] if length else told.body)
    assert (head["id"], head["model_name"], head["model_version"]) == ("7", "m", "1")
    rest = told.body[int(length) :] if length else b""
    for one in head["outputs"]:
        array, kind = named[one["name"]], KINDS[one["datatype"]]
        if binary:
            size = one["parameters"]["binary_data_size"]
            found, rest = np.frombuffer(rest[:size], kind), rest[size:]
            assert found.reshape(one["shape"]).tobytes() == array.tobytes()
        elif array.dtype.kind != "f" or np.isfinite(array).all():
            assert np.asarray(one["data"], kind).reshape(one["shape"]).tobytes() == array.tobytes()
    assert rest == b""


def test_texts_come_behind_their_lengths():
    cells = [b"", b"one", "zwölf".encode()]
    own = b"".join(struct.pack("<I", len(cell)) + cell for cell in cells)
    one = {"name": "text", "datatype": "BYTES", "shape": [3, 1], "parameters": {"binary_data_size": len(own)}}
    assert read(*framed({"inputs": [one]}, own)).inputs == {"text": cells}
    for wrong in (own[:-1], own + b"\0", own[:2], struct.pack("<I", 2**32 - 1) + b"x"):
        bad = one | {"parameters": {"binary_data_size": len(wrong)}}
        with pytest.raises(Refused, match="behind its length of four bytes"):
            read(*framed({"inputs": [bad]}, wrong))


GOOD = {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
BAD = {
    "no inputs": ({}, "inputs"),
    "a list": ([], "inputs"),
    "a number as input": ({"inputs": [1]}, "inputs"),
    "no name": ({"inputs": [{**GOOD, "name": None}]}, 'has no "name"'),
    "twice": ({"inputs": [GOOD, GOOD]}, "'a' stands twice"),
    "another type": ({"inputs": [{**GOOD, "datatype": "COMPLEX64"}]}, "datatype 'COMPLEX64'; there are BOOL"),
    "no shape": ({"inputs": [{**GOOD, "shape": None}]}, "'a' has no shape"),
    "a negative shape": ({"inputs": [{**GOOD, "shape": [-1, 2]}]}, "'a' has no shape"),
    "a true shape": ({"inputs": [{**GOOD, "shape": [True, 2]}]}, "'a' has no shape"),
    "another shape": ({"inputs": [{**GOOD, "shape": [2, 2]}]}, "has 4 values, these are 2"),
    "a huge shape": ({"inputs": [{**GOOD, "shape": [2**60, 2**60]}]}, "values, these are 2"),
    "no data": ({"inputs": [{**GOOD, "data": None}]}, 'has no "data"'),
    "text as number": ({"inputs": [{**GOOD, "data": ["1", 2]}]}, "one of its values is str"),
    "truth as number": ({"inputs": [{**GOOD, "data": [True, 2]}]}, "one of its values is bool"),
    "fraction as whole": ({"inputs": [{**GOOD, "datatype": "INT8", "data": [1.5, 2]}]}, "one of its values is float"),
    "too large": ({"inputs": [{**GOOD, "datatype": "INT8", "data": [1, 300]}]}, "too large for INT8"),
    "ragged": ({"inputs": [{**GOOD, "data": [[1], 2]}]}, "'a' is ragged"),
    "bytes that are not there": ({"inputs": [{**GOOD, "parameters": {"binary_data_size": 8}}]}, "and 0 are left"),
    "size below zero": ({"inputs": [{**GOOD, "parameters": {"binary_data_size": -8}}]}, "-8 bytes of its own"),
    "an output without name": ({"inputs": [GOOD], "outputs": [{}]}, "an output has no"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_names_input_and_value(name):
    values, told = BAD[name]
    with pytest.raises(Refused) as refused:
        read(json.dumps(values).encode(), None)
    assert told in str(refused.value)
    assert refused.value.answer.status == 400


@pytest.mark.parametrize("length", [b"", b"-1", b"1e3", b"9" * 30, b"100000"])
def test_a_length_that_is_none_is_refused(length):
    with pytest.raises(Refused, match="inference-header-content-length is"):
        read(b"{}", length)


@given(st.binary(max_size=400), st.one_of(st.none(), st.integers(0, 400)))
def test_no_bytes_are_more_than_refused(body, length):
    try:
        read(body, None if length is None else str(length).encode())
    except Refused as error:
        assert error.answer.status == 400


def test_a_head_that_comes_again_is_not_parsed_again_and_its_bytes_are_judged(monkeypatch):
    rows = np.arange(12, dtype=np.float32).reshape(2, 6)
    one = tensor("input", rows, parameters={"binary_data_size": rows.nbytes})
    body, length = framed({"inputs": [one]}, rows.tobytes())
    first = read(body, length)
    monkeypatch.setattr(tensors.orjson, "loads", lambda _: pytest.fail("it is known"))
    again = read(body[: -rows.nbytes] + (rows + 1).tobytes(), length)
    monkeypatch.undo()
    assert (first.inputs["input"] == rows).all()
    assert (again.inputs["input"] == rows + 1).all()
    assert (again.id, again.outputs, again.binary) == (first.id, first.outputs, first.binary)
    for wrong in (body[:-4], body + b"0000"):
        with pytest.raises(Refused, match="bytes"):
            read(wrong, length)


def test_bytes_without_an_owner_are_refused():
    with pytest.raises(Refused, match="3 bytes stand behind the tensors"):
        read(*framed({"inputs": [GOOD]}, b"abc"))


@pytest.fixture
def client(server, make_session):
    tokenise = Tokenise(vocabulary=["a", "b"], length=4)
    texts = Processing(tokenise=tokenise)
    server.reconciler.models = {
        "small": ServedModel("small", "7", make_session(), (3,)),
        "texts": ServedModel("texts", "2", make_session(shape=(4,), kind=TensorProto.INT64), (4,), texts, True),
    }
    return TestClient(build(server), raise_server_exceptions=False)


def test_a_model_is_described_and_answers_in_both_forms(server, client):
    about = client.get("/v2/models/small").json()
    assert about == {
        "name": "small",
        "versions": ["7"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [-1, 3]}],
    }
    rows = np.random.default_rng(0).normal(size=(70, 3)).astype(np.float32)  # more than are run together with others
    for path in ("/v2/models/small/infer", "/v2/models/small/versions/7/infer"):
        for values in (rows, rows[:2]):
            found = client.post(path, json={"inputs": [tensor("input", values, data=values.tolist())]}).json()
            (output,) = found["outputs"]
            assert np.asarray(output["data"], np.float32).reshape(output["shape"]).tolist() == values.tolist()
            ids = found["parameters"]["prediction_ids"]
            assert len(set(ids)) == len(values)
            assert all(prediction_id.matches(one, "small", "7") for one in ids)
            assert found["parameters"]["predictions"] == values.argmax(axis=1).tolist()
    own = rows[:2].tobytes()
    head = tensor("input", rows[:2], parameters={"binary_data_size": len(own)})
    body, length = framed({"inputs": [head], "outputs": [{"name": "output", "parameters": {"binary_data": True}}]}, own)
    told = client.post("/v2/models/small/infer", content=body, headers={LENGTH.decode(): length.decode()})
    assert told.content[int(told.headers[LENGTH.decode()]) :] == own
    assert server.requests["small"] == 5


def test_texts_are_tokenised_as_at_the_other_door(client):
    for one in (
        {"name": "input", "datatype": "BYTES", "shape": [2], "data": ["a b", "b"]},
        {"name": "input", "datatype": "BYTES", "shape": [2, 1], "data": [["a b"], ["b"]]},
    ):
        found = client.post("/v2/models/texts/infer", json={"inputs": [one]}).json()
        predicted = client.post("/v1/models/texts/predict", json={"instances": ["a b", "b"]}).json()["predictions"]
        assert found["parameters"]["predictions"] == predicted


@pytest.mark.parametrize(
    ("path", "values", "status", "told"),
    [
        ("small/versions/8", GOOD, 404, "of small version 7 serves, not '8'"),
        ("other", GOOD, 404, "no model 'other' is served"),
        ("small", GOOD, 422, "takes one input, input; these are a"),
        ("small", GOOD | {"name": "input"}, 422, "instance 0 has shape (2,)"),
        ("small", GOOD | {"name": "input", "shape": [0, 3], "data": []}, 422, "as many rows each; these are [0]"),
        ("small", {"name": "input", "datatype": "BYTES", "shape": [1], "data": ["a"]}, 422, "instance 0"),
        ("texts", GOOD | {"name": "input"}, 422, "takes a list of texts"),
    ],
)
def test_what_does_not_fit_is_told(client, path, values, status, told):
    answered = client.post(f"/v2/models/{path}/infer", json={"inputs": [values]})
    assert answered.status_code == status
    assert told in problem_of(answered)["detail"]


def test_an_output_that_is_none_is_refused(client):
    rows = np.ones((1, 3), np.float32)
    body = {"inputs": [tensor("input", rows, data=rows.tolist())], "outputs": [{"name": "scores"}]}
    answered = client.post("/v2/models/small/infer", json=body)
    assert (answered.status_code, answered.json()["error"]) == (400, "small has no output 'scores'; it has output")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2", 200),
        ("GET", "/v2/health/live", 200),
        ("GET", "/v2/models/small/ready", 200),
        ("GET", "/v2/models/small/versions/7/ready", 200),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", "/v2/models/small/infer", 405),
        ("POST", "/v2/models/small", 405),
        ("GET", "/v2/models//ready", 404),
        ("GET", "/v2/models/small/versions", 404),
        ("GET", "/v2/models/small/versions/7/ready/more", 404),
        ("GET", "/v2/models/..%2F..%2Fetc/ready", 404),
        ("GET", "/v1/models", 200),
        ("GET", "/v1/models/small", 200),
        ("GET", "/v1/models/other", 404),
    ],
)
def test_paths(client, method, path, status):
    assert client.request(method, path).status_code == status
