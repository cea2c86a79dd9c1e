"""Every door answers nonsense with a reason and 4xx, never 5xx; and every door is described."""

import json
import re
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served.problems import problem_of
from starlette.testclient import TestClient

from airloom.pictures import Picture
from airloom.processing import Processing, Tokenise
from airloom.registry import tokens
from airloom.settings import Settings
from airloom_serving.access import Access
from airloom_serving.api import build
from airloom_serving.frames import FORMS
from airloom_serving.openapi import ROUTES, complete
from airloom_serving.raw_bodies import RAW
from airloom_serving.routes import FIXED, OF_A_MODEL
from airloom_serving.security import Guard
from airloom_serving.served import ServedModel

DOORS = ["/predict", *(path for path, route in ROUTES.items() if route.body)]
MEDIA = ["", "application/json", "text/csv", "text/csv; charset=x", "multipart/form-data", ";", *sorted(RAW)]
KEYS = ["model", "instances", "scores", "top", "params", *FORMS, "columns", "data", "index", "input", "a", "outputs"]
KEYS += ["name", "shape", "datatype", "parameters", "binary_data_size", "binary_data_output", "id"]
WORDS = ["small", "texts", "photos", "input", "output", "FP32", "BYTES", "INT64", "AAAA", "a b", ""]

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),  # NaN and infinity, too, as Python writes them
    st.sampled_from(WORDS),
    st.text(max_size=8),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
# What nearly is a request: the right keys with anything in them.
requests = st.one_of(
    st.fixed_dictionaries({"instances": values}, optional={"model": leaves, "scores": leaves, "top": leaves}),
    st.sampled_from(FORMS).flatmap(lambda form: st.fixed_dictionaries({form: values}, optional={"params": values})),
    st.fixed_dictionaries({"dataframe_split": st.fixed_dictionaries({"columns": values, "data": values})}),
    st.fixed_dictionaries(
        {
            "inputs": st.lists(
                st.fixed_dictionaries(
                    {"name": leaves, "datatype": leaves, "shape": st.lists(st.integers(-1, 4), max_size=3)},
                    optional={"data": values, "parameters": values},
                ),
                max_size=3,
            )
        },
        optional={"outputs": values, "parameters": values, "id": leaves},
    ),
    values,
)
bodies = st.one_of(st.binary(max_size=200), requests.map(lambda value: json.dumps(value).encode()))


@pytest.fixture
def client(server, make_session):
    texts = Processing(tokenise=Tokenise(vocabulary=["a", "b"], length=3))
    pictures = Processing(picture=Picture(height=1, width=3, mode="L"))
    server.reconciler.models = {
        "small": ServedModel("small", "7", make_session(), (3,)),
        "texts": ServedModel("texts", "7", make_session(), (3,), texts),
        "photos": ServedModel("photos", "7", make_session("Flatten", (1, 1, 3)), (1, 1, 3), pictures),
    }
    return TestClient(build(server), raise_server_exceptions=False)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(DOORS),
    st.sampled_from(["small", "texts", "photos", "other"]),
    st.sampled_from(MEDIA),
    st.sampled_from(["", "0", "7", "40", "x"]),
    bodies,
)
def test_no_body_is_a_fault_of_the_server(client, door, model, media, length, body):
    headers = {"Content-Type": media} | ({"Inference-Header-Content-Length": length} if length else {})
    path = door.replace("{model}", model).replace("{version}", "7")
    answer = client.post(path, content=body, headers=headers)
    assert answer.status_code < 500, (path, media, body, answer.text)
    if answer.status_code >= 400:
        assert len(problem_of(answer)["detail"]) < 2000
    else:
        assert answer.headers["x-airloom-model-version"] == "7"


@given(st.text(max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_name_in_a_path_is_a_fault_of_the_server(client, name):
    for path in ("/v1/models/{}", "/v1/models/{}/predict", "/v2/models/{}/versions/{}/infer", "/v1/models/small/{}"):
        where = path.replace("{}", quote(name))
        for method in ("GET", "POST"):
            assert client.request(method, where).status_code in (200, 307, 400, 404, 405, 422)


def specification():
    """As much as BentoML makes of the service."""
    responses = {200: {"description": "", "content": {}}}
    predict = {"post": {"tags": ["Service APIs"], "responses": responses, "operationId": "airloom__predict"}}
    probes = {path: {"get": {}} for path in ("/livez", "/readyz", "/healthz", "/metrics")}
    return {"paths": {"/predict": predict, **probes}, "components": {"schemas": {}}}


def test_every_route_is_described():
    document = complete(specification())
    hidden = {"/docs", "/docs.json"}  # which show it
    assert (FIXED | OF_A_MODEL) - hidden <= set(document["paths"])
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations if "operationId" in operation]
    assert len(names) == len(set(names))
    schemas = document["components"]["schemas"]
    for reference in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert reference in schemas
    predict = document["paths"]["/v1/models/{model}/predict"]["post"]
    assert set(predict["requestBody"]["content"]) == {"application/json", *RAW}
    assert "model" not in schemas["Asked"]["properties"]
    assert "x-airloom-prediction-id" in predict["responses"]["200"]["headers"]
    assert list(predict["responses"]["422"]["content"]) == ["application/problem+json"]
    assert document["paths"]["/ping"]["get"]["security"] == []


def test_what_is_described_is_what_answers(client):
    """A route that is described as a POST takes one, and no GET."""
    for path, route in ROUTES.items():
        where = path.replace("{model}", "small").replace("{version}", "7")
        assert client.get(where).status_code == (405 if route.body else 503 if _waits(path) else 200), path


def test_each_status_of_a_get_is_described(server, tmp_path):
    """Whoever generates a client from the document knows of the 403 too."""
    document = complete(specification())["paths"]
    installation = Settings(home=tmp_path, project=tmp_path)
    _, other = tokens.create(installation, "other", ["predict:other"])
    guard = Guard(build(server), Access("own", tokens.file_of(installation)))
    app = TestClient(guard, raise_server_exceptions=False)
    askers = {"nobody": {}, "own": {"Authorization": "Bearer own"}, "other": {"Authorization": f"Bearer {other}"}}
    askers["many headers"] = {f"x-{number}": "1" for number in range(101)}
    askers["pickle"] = askers["own"] | {"Content-Type": "application/x-pickle"}
    askers["large"] = askers["own"] | {"Content-Length": str(10**9)}
    seen = set()
    for path, route in ROUTES.items():
        if not route.body:
            for asker, headers in askers.items():
                where = path.replace("{model}", "small").replace("{version}", "7")
                status = str(app.get(where, headers=headers, follow_redirects=False).status_code)
                assert status in document[path]["get"]["responses"], (path, asker, status)
                seen.add(status)
    assert seen >= {"200", "401", "403", "404", "413", "415", "431", "503"}


def _waits(path):
    return path in ("/ping", "/health", "/readyz", "/v2/health/ready")
