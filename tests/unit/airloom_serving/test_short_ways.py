"""The short ways of a request give what the long ones give, and leave each refusal to those."""

import asyncio
import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from airloom.errors import InstancesRefused
from airloom.monitoring import prediction_id
from airloom.processing import Pixels, Processing
from airloom_serving.api import build
from airloom_serving.served import ServedModel

numbers = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False))
cells = st.one_of(numbers, st.none(), st.text(max_size=2), st.lists(numbers, max_size=2))
lists = st.lists(st.lists(st.one_of(numbers, cells), min_size=2, max_size=4), max_size=3)


@pytest.fixture(scope="module")
def models(make_session):
    plain = ServedModel("plain", "1", make_session(), (3,))
    return [plain, ServedModel("pixels", "1", make_session(), (3,), Processing(pixels=Pixels.UNIT))]


def judged(model, instances, **more):
    try:
        found = model.parse(instances, **more)
    except InstancesRefused as error:
        return str(error), error.where
    return [part["input"].tobytes() for part in found]


@given(lists)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_packed_numbers_are_the_same_bits_and_the_same_refusals(models, instances):
    for model in models:
        assert judged(model, instances, no_booleans=True) == judged(model, instances)


@pytest.mark.parametrize("cell", ["true", "false"])
def test_a_boolean_is_no_number_at_any_door(server, models, cell):
    server.reconciler.models = {"plain": models[0]}
    client = TestClient(build(server), raise_server_exceptions=False)
    for path, more in (("/predict", '"model": "plain", '), ("/v1/models/plain/predict", "")):
        answer = client.post(path, content=f'{{{more}"instances": [[1, 2, {cell}]]}}')
        assert (answer.status_code, "holds true or false" in answer.json()["detail"]) == (422, True), answer.text


def test_of_a_batch_each_gets_its_own_answer_and_its_own_error(server, make_session):
    """The third takes the root of a negative number: it alone is refused, by the place in its own request."""
    model = ServedModel("roots", "1", make_session("Sqrt"), (3,), Processing(labels=["a", "b", "c"]), steady=True)
    model.apart = True
    server.reconciler.models = {"roots": model}
    app = build(server)

    async def ask(rows):
        body, told = json.dumps({"instances": rows}).encode(), []

        async def receive():
            return {"type": "http.request", "body": body}

        async def send(message):
            told.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v1/models/roots/predict", "headers": []}
        await app(scope, receive, send)
        return told[0]["status"], json.loads(told[1]["body"])

    async def several(requests):
        return await asyncio.gather(*map(ask, requests))

    good = [[[1, 0, 0]], [[0, 1, 0], [0, 0, 1]], [[0, 0, 1]]]
    for requests, bad in ((good, None), ([*good[:2], [[1, 1, 2], [0, -1, -1]], good[2]], 2)):
        found = asyncio.run(several(requests))
        for place, (rows, (status, answer)) in enumerate(zip(requests, found, strict=True)):
            if place == bad:
                assert (status, answer["type"], answer["row"]) == (422, "urn:airloom:not-finite", 1)
            else:
                assert (status, answer["predictions"]) == (200, ["abc"[int(np.argmax(row))] for row in rows])


def test_ids_are_not_given_twice_nor_by_a_forked_child():
    drawn = [prediction_id.drawn() for _ in range(2000)]
    assert len(set(drawn)) == len(drawn)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, b"%d" % prediction_id.drawn())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(read, 100)) not in {prediction_id.drawn() for _ in range(512)}
