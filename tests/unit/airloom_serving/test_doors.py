"""A picture or a tensor as the whole body, versions in the path, and the record of a model."""

from base64 import b64encode
from io import BytesIO

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image
from served.problems import problem_of
from starlette.testclient import TestClient

from airloom.golden import Golden
from airloom.inputs.declared import InputProcessing
from airloom.pictures import Picture
from airloom.processing import Pixels, Processing, Tokenise
from airloom_serving.api import build
from airloom_serving.examples import MOST_NUMBERS, example_of
from airloom_serving.served import ServedModel

TEXTS = Processing(tokenise=Tokenise(vocabulary=["a", "b"], length=4))


def picture(kind="PNG"):
    file = BytesIO()
    Image.fromarray(np.array([[0, 255], [51, 102]], np.uint8)).save(file, kind)
    return file.getvalue()


@pytest.fixture
def client(server, make_session):
    seen = Picture(height=2, width=2, mode="L")
    named = Processing(inputs={"input": InputProcessing(picture=seen, columns=["photo"])})
    tokens = make_session(shape=(4,), kind=TensorProto.INT64)
    server.reconciler.models = {
        "small": ServedModel("small", "7", make_session(), (3,), Processing(classes=["a", "b", "c"])),
        "photos": ServedModel("photos", "2", make_session("Flatten", (1, 2, 2)), (1, 2, 2), Processing(picture=seen)),
        "named": ServedModel("named", "3", make_session("Flatten", (1, 2, 2)), (1, 2, 2), named),
        "tokens": ServedModel("tokens", "1", tokens, (4,), whole=True),
        "texts": ServedModel("texts", "2", tokens, (4,), TEXTS, True),
    }
    return TestClient(build(server), raise_server_exceptions=False)


def send(client, path, body, media):
    return client.post(f"/v1/models/{path}", content=body, headers={"Content-Type": media})


@pytest.mark.parametrize("media", ["image/png", "image/jpeg", "IMAGE/PNG; q=1"])
def test_a_picture_is_a_whole_body(client, media):
    file = picture("JPEG" if "jpeg" in media else "PNG")
    wanted = client.post("/v1/models/photos/predict", json={"instances": [b64encode(file).decode()]}).json()
    found = send(client, "photos/predict?top=2&scores=true", file, media).raise_for_status().json()
    assert found["predictions"] == wanted["predictions"] == [1]
    assert (len(found["scores"][0]), len(found["top"][0]), found["version"]) == (4, 2, "2")
    assert send(client, "named/versions/3/predict", file, media).json()["predictions"] == [1]


def test_numbers_are_a_whole_body(client):
    rows = np.random.default_rng(0).normal(size=(70, 3)).astype("<f4")
    found = send(client, "small/predict", rows.tobytes(), "application/octet-stream").raise_for_status().json()
    wanted = client.post("/predict", json={"model": "small", "instances": rows.tolist()}).json()
    assert found["predictions"] == wanted["predictions"]
    tokens = np.array([[1, 2, 3, 9]], "<i8")
    answer = send(client, "tokens/predict?scores=false", tokens.tobytes(), "application/octet-stream")
    assert answer.json()["predictions"] == [3]


ROW = np.ones(3, "<f4").tobytes()


@pytest.mark.parametrize(
    ("path", "body", "media", "status", "told"),
    [
        ("small/predict", picture(), "image/png", 415, "not the file of a picture"),
        ("texts/predict", picture(), "image/png", 415, "takes a list of texts"),
        ("photos/predict", b"no picture", "image/png", 422, "the picture of instance 0"),
        ("photos/predict", b"", "image/png", 422, "the picture of instance 0"),
        ("photos/predict", ROW, "application/octet-stream", 415, "not the bytes of a tensor"),
        ("named/predict", ROW, "application/octet-stream", 415, "not the bytes of a tensor"),
        ("texts/predict", ROW, "application/octet-stream", 415, "not the bytes of a tensor"),
        ("small/predict", ROW[:-1], "application/octet-stream", 400, "has 12 bytes (3 of float32"),
        ("small/predict", b"", "application/octet-stream", 400, "these are 0 bytes"),
        ("small/predict", np.array([1, np.nan, 1], "<f4").tobytes(), "application/octet-stream", 422, "holds nan"),
        ("small/predict", ROW * 10_001, "application/octet-stream", 413, "at most 10000 instances"),
        ("small/predict?top=x", ROW, "application/octet-stream", 400, "not 'top'='x'"),
        ("small/predict?top=0", ROW, "application/octet-stream", 400, '"top" must be'),
        ("small/predict?to%00p=1", ROW, "application/octet-stream", 400, "not 'to"),
        ("small/versions/8/predict", ROW, "application/octet-stream", 404, "version 7 serves, not '8'"),
        ("other/predict", ROW, "application/octet-stream", 404, "no model 'other'"),
        ("small/predict", b"\x80\x04.", "application/vnd.bentoml+pickle", 400, "no JSON"),
    ],
)
def test_another_body_is_told_what_is_wrong(client, path, body, media, status, told):
    answer = send(client, path, body, media)
    assert (answer.status_code, told in problem_of(answer)["detail"]) == (status, True), answer.text


def test_the_door_without_a_name_takes_json_only(client):
    answer = client.post("/predict", content=ROW, headers={"Content-Type": "application/octet-stream"})
    assert (answer.status_code, "/v1/models/{model}/predict" in problem_of(answer)["detail"]) == (415, True)


def test_a_version_in_the_path_answers_where_it_serves(client):
    body = {"instances": [[1, 2, 3]]}
    assert client.post("/v1/models/small/versions/7/predict", json=body).json()["predictions"] == ["c"]
    assert client.get("/v1/models/small/versions/7").json()["version"] == "7"
    for path in ("/v1/models/small/versions/8/predict", "/v1/models/small/versions/07/predict"):
        found = problem_of(client.post(path, json=body))
        assert (found["status"], found["type"], found["model"]) == (404, "urn:airloom:not-served", "small")
    assert problem_of(client.get("/v1/models/small/versions/8"))["version"] == "8"


def test_the_record_of_a_model_says_what_serves_and_how_to_ask_it(server, client):
    model = server.reconciler.models["small"]
    model.example = example_of(model, Golden({"input": np.array([[0.1, 2, 3]], np.float32)}, {}))
    found = client.get("/v1/models/small").json()
    assert (found["model"], found["version"], found["task"]) == ("small", "7", "classification")
    assert found["classes"] == ["a", "b", "c"]
    assert found["inputs"] == [{"name": "input", "type": "float32", "shape": [3]}]
    (role,) = found["roles"]
    assert (role["role"], role["version"], role["share"], role["since"]) == ("champion", "7", 1.0, model.loaded_at)
    assert found["example"] == {"instances": [[0.1, 2, 3]]}
    assert client.post("/v1/models/small/predict", json=found["example"]).json()["predictions"] == ["c"]
    assert client.get("/v1/models/photos").json()["example"] is None  # a model that was made without golden answers
    assert set(client.get("/v1/models").json()["models"]) == set(server.reconciler.models)


@pytest.mark.parametrize("name", ["small", "photos", "named", "tokens", "texts"])
def test_an_example_is_answered(server, client, name):
    model = server.reconciler.models[name]
    port = model.graph.inputs[0]
    golden = Golden({"input": np.ones((2, *port.row), port.dtype)}, {})
    model.example = example_of(model, golden)
    example = client.get(f"/v1/models/{name}").json()["example"]
    assert client.post(f"/v1/models/{name}/predict", json=example).raise_for_status().json()["version"]


def test_pixels_of_an_example_are_in_the_range_that_is_asked(make_session):
    values = np.array([[[[0, 1], [128 / 255, 0.2]]]], np.float32)
    for pixels, wanted in ((Pixels.BYTES, [[[0, 255], [128, 51]]]), (Pixels.UNIT, None)):
        graph = make_session("Flatten", (1, 2, 2))
        model = ServedModel("pixels", "1", graph, (1, 2, 2), Processing(pixels=pixels))
        example = example_of(model, Golden({"input": values}, {}))
        assert wanted is None or example == wanted
        (part,) = model.parse([example])
        assert part["input"].tobytes() == values.tobytes()


def test_a_model_without_an_example_is_served(make_session):
    model = ServedModel("small", "1", make_session(), (3,))
    for inputs in ({}, {"other": np.ones((2, 3), np.float32)}, {"input": np.full((2, 3), np.nan, np.float32)}):
        assert example_of(model, Golden(inputs, {})) is None


def test_a_large_example_is_left_out(make_session):
    model = ServedModel("large", "1", make_session(shape=(MOST_NUMBERS + 1,)), (MOST_NUMBERS + 1,))
    assert example_of(model, Golden({"input": np.ones((2, MOST_NUMBERS + 1), np.float32)}, {})) is None
