"""Whole rollouts under load: the real registry, the real threads of a server, and clients that never stop asking."""

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

from airloom.deployment import rollouts
from airloom.deployment.judge import Verdict
from airloom.deployment.record import current, deploy
from airloom.deployment.rollout import CANARY, SHADOW, Counts, Limits, Rollout, Stage
from airloom.errors import MlflowAway
from airloom.registry import models
from airloom.spec.pipeline import Pipeline
from airloom.tracking import runs
from airloom_serving import reconciler as reconciling
from airloom_serving import rollouts as judging
from airloom_serving.reconciler import CANDIDATE, POLL_SECONDS, Reconciler
from airloom_serving.rollouts import Rollouts
from airloom_serving.server import Server
from airloom_serving.verdicts import Checkers

STAGES = [Stage(SHADOW, 1.0, 20, 60.0), Stage(CANARY, 0.3, 60, 60.0)]
WIDE = Limits(error_rate=0.1, slow=0.5, very_slow=0.5)  # few requests are enough to be sure
DIGITS = np.eye(64, dtype=np.float32)[:10].reshape(10, 1, 1, 8, 8)


class Load:
    """Two clients that ask for one digit after the other until it ends; what each answer was."""

    def __init__(self, client: TestClient) -> None:
        self.client, self.statuses, self.versions = client, Counter(), Counter()
        self.wrong, self._ending = 0, False
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(2)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        while not self._ending:
            number += 1
            digit = number % 10
            answer = self.client.post("/predict", json={"model": "small", "instances": DIGITS[digit].tolist()})
            self.statuses[answer.status_code] += 1
            if answer.status_code == 200:
                self.versions[answer.json()["version"]] += 1
                self.wrong += answer.json()["predictions"] != [digit]


@pytest.fixture(scope="module")
def checkers(tmp_path_factory) -> Iterator[Checkers]:
    """Of this module alone: those that others share may be closed already."""
    checkers = Checkers(tmp_path_factory.mktemp("verdicts"))
    yield checkers
    Checkers.close(checkers)


@pytest.fixture
def running(small, monkeypatch, checkers, one_loop) -> Iterator[tuple[Server, TestClient]]:
    """A server process's threads, over the registry of `small`."""
    monkeypatch.setenv("AIRLOOM_HOME", str(small.settings.home))
    monkeypatch.setattr(reconciling, "POLL_SECONDS", 0.3)
    monkeypatch.setattr(judging, "EVERY", 0.2)
    small.settings.server_url = "http://127.0.0.1:1"
    server = Server()
    server.reconciler = Reconciler(small.settings, checkers)
    server.rollouts = Rollouts(small.settings, server.reconciler)
    monkeypatch.setattr(checkers, "close", lambda: None)  # those of other tests too
    server.start()
    try:
        with one_loop(server) as client:
            yield server, client
    finally:
        server.stop()


def until(true, seconds=30.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def rolled_out(small, running, version, **limits):
    """What came of the rollout of a version under load, and the load."""
    server, client = running
    until(lambda: "small" in server.reconciler.models)
    with Load(client) as load:
        limits = Limits(**{**WIDE.to_dict(), **limits})
        begun = rollouts.begin(small.settings, "small", Rollout(version, STAGES, limits))
        ended = rollouts.wait(small.settings, "small", begun, version, print)
        champion = ended.deployment["champion"]
        until(lambda: server.reconciler.models["small"].version == champion and not server.reconciler.besides)
    assert set(load.statuses) == {200}
    return ended, load


def failing(small, key, digits):
    """A version whose answer to some digits is the root of a negative number."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder = small.settings.home / "made" / uuid.uuid4().hex / "extra_files"
    folder.mkdir(parents=True)
    small_folder = folder / "model.onnx"
    weights = np.zeros((64, 10), np.float32)
    for digit in range(10):
        weights[digit, digit] = -8 if digit in digits else 8
    nodes = [("Flatten", ["input"], ["flat"]), ("MatMul", ["flat", "w"], ["raw"]), ("Sqrt", ["raw"], ["output"])]
    graph = helper.make_graph(
        [helper.make_node(*node) for node in nodes],
        "failing",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), small_folder)
    inputs = DIGITS[:3, 0]
    golden = {"inputs": inputs.tolist(), "outputs": np.sqrt(inputs.reshape(3, -1) @ weights).tolist()}
    (folder / "golden.json").write_text(json.dumps(golden))
    ctx = small.ctx(key)
    return small.register_trained(ctx, small.log(ctx, folder.parent)).version


def test_a_good_one_becomes_the_champion(small, running):
    deploy(small.settings, "small", small.register("one").version)
    second = small.register("two").version
    ended, load = rolled_out(small, running, second)
    assert (ended.outcome, ended.deployment["champion"]) == ("promoted", second), ended
    assert load.wrong == 0
    assert set(load.versions) == {"1", "2"}
    (told,) = rollouts.endings_of(small.settings, "small", second)
    assert told["counts"]["requests"] >= 60
    assert "errors" not in told["counts"]


def test_one_that_fails_at_a_fifth_is_taken_back_and_no_client_sees_it(small, running):
    deploy(small.settings, "small", small.register("one").version)
    bad = failing(small, "bad", (8, 9))
    ended, load = rolled_out(small, running, bad)
    assert ended.outcome == "rolled back", ended
    assert ended.reason.startswith("errors: ")
    assert load.wrong == 0
    assert current(small.settings, "small").champion == "1"


def test_one_that_answers_otherwise_is_taken_back(small, running):
    deploy(small.settings, "small", small.register("one").version)
    other = small.register("other", wrong=(0, 1, 2, 3, 4, 5, 6)).version
    ended, load = rolled_out(small, running, other)
    assert ended.outcome == "rolled back", ended
    assert ended.reason.startswith("other answers: ")
    assert load.wrong == 0  # it was a shadow only


def test_one_that_is_slow_is_taken_back(small, running, monkeypatch):
    deploy(small.settings, "small", small.register("one").version)
    second = small.register("two").version
    server, _ = running
    look = server.rollouts.look

    def slowed(name, generation, rollout):
        beside = server.reconciler.besides.get(name)
        if beside is not None and "outputs" not in vars(beside.model):
            outputs = beside.model.outputs
            beside.model.outputs = lambda *given: time.sleep(0.05) or outputs(*given)
        look(name, generation, rollout)

    monkeypatch.setattr(server.rollouts, "look", slowed)
    ended, load = rolled_out(small, running, second, slow=0.2, very_slow=0.2)
    assert ended.outcome == "rolled back", ended
    assert ended.reason.startswith("slower than the champion's p9")
    assert load.wrong == 0


def test_without_traffic_the_champion_stays(small, running):
    deploy(small.settings, "small", small.register("one").version)
    second = small.register("two").version
    server, _ = running
    until(lambda: "small" in server.reconciler.models)
    begun = rollouts.begin(small.settings, "small", Rollout(second, [Stage(CANARY, 0.5, 1, 1.0)]))
    ended = rollouts.wait(small.settings, "small", begun, second, print)
    assert (ended.outcome, ended.reason) == ("inconclusive", "not sure within 1 s: 0 of 1 requests")


def test_a_damaged_one_is_taken_back_without_an_answer(small, running):
    deploy(small.settings, "small", small.register("one").version)
    second = small.register("two").version
    file = small.store_file(models.uri_of(models.get_version(small.settings, "small", second)))
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    server, _ = running
    begun = rollouts.begin(small.settings, "small", Rollout(second, STAGES))
    ended = rollouts.wait(small.settings, "small", begun, second, print)
    assert ended.outcome == "rolled back"
    assert ended.reason.startswith("it is not served: ")
    until(lambda: "small" + CANDIDATE not in server.reconciler.errors)


def test_a_champion_moved_by_hand_ends_it_and_serves(small, running):
    deploy(small.settings, "small", small.register("one").version)
    second, third = (small.register(key).version for key in ("two", "three"))
    server, _ = running
    begun = rollouts.begin(small.settings, "small", Rollout(second, STAGES))
    until(lambda: server.reconciler.besides)
    runs.client(small.settings).set_registered_model_alias("small", "champion", third)
    until(lambda: server.reconciler.models["small"].version == third)
    until(lambda: current(small.settings, "small").by == "by hand")
    assert rollouts.ended(small.settings, "small", second, begun.generation).outcome == "another champion, by hand"
    assert not server.reconciler.besides


def test_where_evidence_is_asked_one_that_has_none_never_serves(small, running):
    values = small.pipeline.model_dump(mode="json", by_alias=True, exclude_unset=True)
    small.pipeline = Pipeline.model_validate(values | {"deploy": {"by_hand": "evidence"}})
    first = deploy(small.settings, "small", small.register("one").version).champion
    server, client = running
    until(lambda: "small" in server.reconciler.models)
    api = runs.client(small.settings)
    plain = api.create_model_version("small", models.uri_of(models.get_version(small.settings, "small", first))).version
    with Load(client) as load:
        api.set_registered_model_alias("small", "champion", plain)
        until(lambda: "put_back" in client.get("/v1/models/small").json())
    assert set(load.versions) == {first}
    assert set(load.statuses) == {200}
    assert not server.reconciler.errors  # not even fetched
    told = client.get("/v1/models/small").json()["put_back"]
    assert told.startswith(f"version {plain} was made the champion by hand")


def test_rollback_serves_the_previous_champion_within_two_seconds(small, running, monkeypatch):
    monkeypatch.setattr(reconciling, "POLL_SECONDS", POLL_SECONDS)  # that of a started server
    first, second = (small.register(key).version for key in ("one", "two"))
    server, _ = running
    for version in (first, second):
        deploy(small.settings, "small", version)
        until(lambda wanted=version: server.reconciler.models.get("small") and served_version(server) == wanted)
    began = time.monotonic()
    rollouts.roll_back(small.settings, "small")
    until(lambda: served_version(server) == first)
    assert time.monotonic() - began < 2


def served_version(server):
    return server.reconciler.models["small"].version


def test_a_promoted_candidate_is_not_loaded_again(small, checkers, monkeypatch):
    small.settings.server_url = "http://127.0.0.1:1"
    deploy(small.settings, "small", small.register("one").version)
    second = small.register("two").version
    reconciler = Reconciler(small.settings, checkers)
    begun = rollouts.begin(small.settings, "small", Rollout(second, STAGES[:1]))
    reconciler.once()
    candidate = reconciler.besides["small"].model
    assert (reconciler.models["small"].version, candidate.version) == ("1", second)
    reconciler.once()
    assert reconciler.besides["small"].model is candidate
    verdict = Verdict("go on", "good", [])
    rollouts.go_on(small.settings, "small", begun.generation, verdict, Counts())
    reconciler.once()
    assert reconciler.models["small"] is candidate
    assert (reconciler.besides, reconciler.rollouts) == ({}, {})


def test_the_registry_and_the_database_may_be_away(small, running, monkeypatch):
    """A bad one is cut off here at once; what the registry is to know is written when it answers again."""
    deploy(small.settings, "small", small.register("one").version)
    bad = failing(small, "bad", (8, 9))
    server, client = running
    until(lambda: "small" in server.reconciler.models)
    rollout = Rollout(bad, [Stage(CANARY, 0.5, 20, 60.0)], WIDE)
    begun = rollouts.begin(small.settings, "small", rollout)
    until(lambda: "small" in server.reconciler.besides)

    def away(*_: object) -> None:
        raise MlflowAway("MLflow does not answer")

    with monkeypatch.context() as without:
        without.setattr(judging.tallies, "write", away)
        without.setattr(judging.tallies, "total", away)
        without.setattr(judging.rollouts, "go_on", away)
        without.setattr(reconciling, "desired", away)
        with Load(client) as load:
            until(lambda: server.reconciler.besides["small"].cut.startswith("errors: "))
            until(lambda: load.versions["1"] > 50)
        assert server.rollouts.problem
    assert set(load.statuses) == {200}
    ended = rollouts.wait(small.settings, "small", begun, bad, print)
    assert ended.outcome == "rolled back"


def test_its_state_is_told(small, running):
    deploy(small.settings, "small", small.register("one").version)
    second = small.register("two").version
    server, client = running
    begun = rollouts.begin(small.settings, "small", Rollout(second, STAGES))
    until(lambda: server.reconciler.besides)
    told: httpx.Response = client.get("/status")
    stands = told.json()["rollouts"]["small"]
    assert (stands["version"], stands["stage"], stands["answers"]) == (second, "shadow 100%", True)
    assert stands["generation"] == begun.generation
    assert told.json()["rolling"] == "ok"
