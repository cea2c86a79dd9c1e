"""A candidate beside its champion: whom it answers, whom it does not hurt, and what is counted."""

import time
from datetime import UTC, datetime

import numpy as np
import pytest

from airloom.deployment.rollout import CANARY, SHADOW, Counts, Limits, Rollout, Stage
from airloom_serving import beside as module
from airloom_serving.agreeing import share_that_agrees
from airloom_serving.beside import FEW, Beside
from airloom_serving.served import ServedModel


@pytest.fixture
def client(server, make_session, one_loop):
    """A server with the champion `small` 1, which answers with the largest of three numbers."""
    server.reconciler.models = {"small": ServedModel("small", "1", make_session(), (3,))}
    with one_loop(server) as client:
        yield client


@pytest.fixture
def stand(server, client, make_session):
    """Let a candidate of one operator stand beside the champion."""

    def make(operator="Identity", role=CANARY, share=1.0, shape=(3,), **limits) -> Beside:
        since = datetime.now(UTC).isoformat()
        rollout = Rollout("2", [Stage(role, share, 10, 60.0)], Limits(**limits), since=since)
        beside = Beside(ServedModel("small", "2", make_session(operator, shape), shape), rollout, 3)
        server.reconciler.besides = {"small": beside}
        server.reconciler.rollouts = {"small": (3, rollout)}
        return beside

    return make


def ask(client, *instances, key="", path="/predict", **more):
    headers = {"x-airloom-key": key} if key else {}
    return client.post(path, json={"model": "small", "instances": list(instances), **more}, headers=headers)


def counted(beside, **wanted) -> Counts:
    """What was counted, once all that is asked beside has been answered."""
    end = time.monotonic() + 10
    while beside._tasks or any(getattr(beside.counts, name) < least for name, least in wanted.items()):
        assert time.monotonic() < end, beside.counts
        time.sleep(0.01)
    return beside.counts


def test_a_canary_answers_its_share_and_the_same_key_always_gets_the_same_version(client, stand):
    beside = stand(share=0.3)
    first = {key: ask(client, [1, 2, 3], key=f"user {key}").json()["version"] for key in range(200)}
    assert 30 <= sum(version == "2" for version in first.values()) <= 90
    again = {key: ask(client, [3, 2, 1], key=f"user {key}").json()["version"] for key in range(200)}
    assert again == first
    counts = counted(beside, compared=100)
    assert counts.requests == 2 * sum(version == "2" for version in first.values())
    assert counts.requests + counts.champion_requests == 400
    assert (counts.errors, counts.disagreed) == (0, 0)
    wider = stand(share=0.6)
    assert all(wider.role_for(f"user {key}".encode()) for key, version in first.items() if version == "2")


def test_without_a_key_the_requests_id_decides(client, stand):
    stand(share=0.5)
    versions = {ask(client, [1, 2, 3]).json()["version"] for _ in range(60)}
    assert versions == {"1", "2"}
    same = {"x-request-id": "the-same"}
    body = {"model": "small", "instances": [[1, 2, 3]]}
    assert len({client.post("/predict", json=body, headers=same).json()["version"] for _ in range(20)}) == 1


def test_what_a_canary_cannot_answer_the_champion_answers(client, stand):
    """Its square root of a negative number is no number: 20 of 100 requests. Nobody sees it."""
    beside = stand("Sqrt")
    rows = [[-1, 2, 3]] * 20 + [[1, 2, 3]] * 80
    answers = [ask(client, row) for row in rows]
    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json()["version"] for answer in answers] == ["1"] * 20 + ["2"] * 80
    assert all(len(answer.json()["prediction_ids"]) == 1 for answer in answers)
    counts = counted(beside)
    assert (counts.requests, counts.errors, counts.champion_errors) == (100, 20, 0)


def test_a_canary_of_another_form_is_to_blame_where_the_champion_takes_the_request(client, stand):
    beside = stand(shape=(4,))
    assert ask(client, [1, 2, 3]).json()["version"] == "1"
    assert counted(beside) == Counts(requests=1, errors=1)
    assert ask(client, [1, 2]).status_code == 422  # the client's own mistake is nobody's
    assert ask(client, [1, 2, 3, 4]).json()["version"] == "2"
    v2 = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}
    answer = client.post("/v2/models/small/infer", json=v2)
    assert (answer.status_code, answer.json()["model_version"]) == (200, "1")
    assert counted(beside).errors == 2


def test_where_both_fail_neither_is_worse(server, client, stand, make_session):
    beside = stand("Sqrt")
    server.reconciler.models = {"small": ServedModel("small", "1", make_session("Sqrt"), (3,))}
    assert ask(client, [-1, 2, 3]).status_code == 422
    assert counted(beside) == Counts()


def test_a_client_of_one_version_gets_that_one_and_counts_for_nothing(client, stand):
    beside = stand(share=0.01)
    v2 = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}
    for version in ("1", "2"):
        answer = client.post(f"/v2/models/small/versions/{version}/infer", json=v2)
        assert answer.json()["model_version"] == version
    assert client.post("/v2/models/small/versions/3/infer", json=v2).status_code == 404
    assert beside.counts == Counts()


def test_a_shadow_answers_after_the_champion_and_nobody_gets_it(server, client, stand):
    beside = stand("Neg", SHADOW)  # the smallest of the three is its class
    for _ in range(20):
        answer = ask(client, [1, 2, 3]).json()
        assert (answer["version"], answer["predictions"]) == ("1", [2])
    counts = counted(beside, compared=20)
    assert (counts.requests, counts.compared, counts.disagreed, counts.champion_requests) == (20, 20, 20, 20)
    assert set(server.counter._totals) == {("small", "1")}  # what nobody got is no prediction
    assert 'airloom_predictions_total{model="small",version="2"' not in client.get("/metrics").text


def test_a_shadow_that_fails_is_counted_and_one_that_is_slow_is_not_waited_for(client, stand, monkeypatch):
    beside = stand("Sqrt", SHADOW)
    assert ask(client, [-1, 2, 3]).json()["version"] == "1"
    assert counted(beside, requests=1).errors == 1
    monkeypatch.setattr(module, "MOST_BESIDE", 0)
    assert ask(client, [1, 2, 3]).status_code == 200
    assert counted(beside).dropped == 1


def test_one_that_is_cut_off_gets_nothing(client, stand):
    beside = stand()
    assert ask(client, [1, 2, 3]).json()["version"] == "2"
    beside.cut = "errors"
    assert ask(client, [1, 2, 3]).json()["version"] == "1"
    gauge = 'airloom_rollout{counted="requests",model="small",role="canary",version="2"} 1.0'
    assert gauge in client.get("/metrics").text
    told = client.get("/status").json()["rollouts"]["small"]
    assert (told["version"], told["stage"], told["answers"], told["cut_off"]) == ("2", "canary 100%", False, "errors")


def test_times_are_compared_with_the_champions_own(server, stand, client):
    beside = stand(share=0.5, p99_ms=10.0)
    tally = beside._tally
    for _ in range(FEW):
        tally.candidate(9.0)
        tally.champion(0.001)
    assert (tally.p95, tally.p99, beside.counts.timed) == (0.001, 0.001, 0)  # before that nobody knew what is slow
    for seconds in (0.0005, 0.002, 0.02):
        tally.candidate(seconds)
        tally.champion(seconds)
    counts = beside.counts
    assert (counts.timed, counts.slow, counts.very_slow, counts.too_slow) == (3, 2, 2, 1)
    assert (counts.champion_timed, counts.champion_slow, counts.champion_very_slow) == (3, 2, 2)


def test_a_hanging_canary_does_not_keep_its_client(server, client, stand, monkeypatch):
    beside = stand()

    def hangs(inputs, options=None):
        while options is None or not options.terminate:
            time.sleep(0.01)
        raise RuntimeError

    monkeypatch.setattr(beside.model, "outputs", hangs)
    monkeypatch.setattr(module, "RUN_SECONDS", 2.0)
    began = time.monotonic()
    assert ask(client, [1, 2, 3]).json()["version"] == "1"
    assert time.monotonic() - began < 15  # a request may take 20
    assert counted(beside).errors == 1


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [
        (["a", "b"], ["a", "b"], 1.0),
        (["a", "b"], ["a", "c"], 0.5),
        ([1.0, 100.0], [1.04, 110.0], 0.5),
        ([[0, 1, 1, 1]], [[0, 1, 1, 2]], 0.75),
        ([{"x": 1, "y": [1.0]}], [{"x": 1, "y": [2.0]}], 0.5),
        ([[1, 2]], [[1, 2, 3]], 0.0),
        ([{"x": 1}], [{"y": 1}], 0.0),
        ([True], [True], 1.0),
        ([], [], 1.0),
    ],
)
def test_answers_agree_value_by_value(first, second, share):
    assert share_that_agrees(first, second) == pytest.approx(share)
    np.testing.assert_allclose(share_that_agrees(second, first), share)
