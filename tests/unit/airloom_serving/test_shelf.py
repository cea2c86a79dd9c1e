"""More models than there is room for: each is loaded when it is asked, once for all who wait, and others go."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.deployment import rollouts
from airloom.deployment.record import deploy
from airloom.deployment.rollout import SHADOW, Rollout, Stage
from airloom.registry import models
from airloom_serving.reconciler import Reconciler
from airloom_serving.server import Server
from airloom_serving.shelf import Shelf, give_back

NAMES = ("small", "second", "third", "fourth")


class Sized:
    def __init__(self, size: int) -> None:
        self.size = size


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=8),
    asked=st.lists(st.integers(0, 7), max_size=30),
    pinned=st.sets(st.integers(0, 7), max_size=3),
    room=st.integers(1, 120),
)
def test_those_that_were_asked_longest_ago_go_until_the_rest_has_room(sizes, asked, pinned, room):
    models = {f"m{at}": Sized(size) for at, size in enumerate(sizes)}
    shelf = Shelf(room, {f"m{at}" for at in pinned})
    order = []
    for at in asked:
        if (name := f"m{at}") in models:
            shelf.used(name)
            time.sleep(0)
            order = [*(one for one in order if one != name), name]
    newest = f"m{len(sizes) - 1}"
    gone = shelf.too_many(models, {newest})
    left = {name: model for name, model in models.items() if name not in gone}
    assert newest in left
    assert not {f"m{at}" for at in pinned} & set(gone)
    taken = sum(model.size for model in left.values())
    free = [name for name in left if name != newest and name not in shelf.pinned]
    assert taken <= room or not free
    ages = {name: order.index(name) if name in order else -1 for name in models}
    assert all(ages[one] <= ages[other] for one in gone for other in free)
    if gone:  # none too many went
        assert taken + models[gone[-1]].size > room


def test_without_a_limit_nothing_goes():
    assert Shelf(0).too_many({"a": Sized(10**12), "b": Sized(1)}, {"b"}) == []
    assert Shelf(0).stays("a")
    give_back()


@pytest.fixture
def many(small, make_world, checkers, monkeypatch, one_loop):
    """A server with room for two of four models, and what it loaded."""
    for name in NAMES:
        world = small if name == "small" else make_world(small.settings, name)
        deploy(small.settings, name, world.register("one").version)
    monkeypatch.setenv("AIRLOOM_HOME", str(small.settings.home))
    loaded: Counter[str] = Counter()
    server = Server()
    server.reconciler = Reconciler(small.settings, checkers)
    load = server.reconciler._loaded

    def counted(name, number):
        loaded[name] += 1
        time.sleep(0.05)
        return load(name, number)

    monkeypatch.setattr(server.reconciler, "_loaded", counted)
    server.reconciler.once()
    size = server.reconciler.models["small"].size
    assert set(server.reconciler.models) == set(NAMES)
    server.reconciler.models = {}
    server.reconciler.shelf = Shelf(int(2.5 * size))
    server.reconciler.once()
    loaded.clear()
    with one_loop(server) as client:
        yield server, loaded, client


def ask(client, name, **more):
    instances = np.zeros((1, 1, 8, 8)).tolist()
    return client.post("/predict", json={"model": name, "instances": instances}, **more)


def test_a_model_is_loaded_when_it_is_asked_and_the_oldest_goes(many):
    server, loaded, client = many
    assert server.reconciler.models == {}
    assert server.reconciler.unready == ""  # nobody need wait for what is loaded on demand
    assert client.get("/status").json()["asleep"] == sorted(NAMES)
    assert client.get("/v1/models").json() == {"models": {}, "asleep": sorted(NAMES)}
    for name in ("small", "second", "small", "third"):
        assert ask(client, name).json()["model"] == name
    assert set(server.reconciler.models) == {"small", "third"}
    assert loaded == {"small": 1, "second": 1, "third": 1}
    assert client.get("/v2/models/fourth").json()["versions"] == ["1"]
    assert client.get("/v1/models/second").json()["version"] == "1"
    assert ask(client, "nowhere").status_code == 404


def test_all_who_wait_for_a_model_wait_for_one_load(many):
    _, loaded, client = many
    together = threading.Barrier(8)

    def one(_):
        together.wait()
        return ask(client, "third").status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(8))) == {200}
    assert loaded == {"third": 1}


def test_one_that_cannot_be_loaded_is_told_and_the_others_answer(many, small):
    _, loaded, client = many
    version = models.get_version(small.settings, "second", "1")
    file = small.store_file(models.uri_of(version))
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    for folder in (small.settings.home / "cache" / "served").rglob("model.onnx"):
        folder.unlink()
    answer = ask(client, "second")
    assert answer.status_code == 503
    assert "second cannot be asked now: version 1: " in answer.json()["error"]
    assert ask(client, "second").status_code == 503
    assert loaded["second"] == 1  # it is not tried again at each request
    assert ask(client, "small").status_code == 200


def test_those_that_are_pinned_are_there_from_the_start_and_stay(many):
    server, loaded, client = many
    server.reconciler.shelf = Shelf(1, {"third"})
    server.reconciler._first = None
    server.reconciler.once()
    assert set(server.reconciler.models) == {"third"}
    for name in ("small", "second"):
        assert ask(client, name).status_code == 200
    assert set(server.reconciler.models) == {"third", "second"}
    assert loaded["third"] == 1


def test_a_champion_stays_while_a_candidate_stands_beside_it(many, small):
    """Its counts would be lost, and begin anew below those that the table has."""
    server, _, client = many
    second = small.register("two").version
    small.settings.server_url = "http://127.0.0.1:1"
    rollouts.begin(small.settings, "small", Rollout(second, [Stage(SHADOW, 1.0, 500, 60.0)]))
    assert ask(client, "small").status_code == 200
    server.reconciler.once()
    beside = server.reconciler.besides["small"]
    for name in ("second", "third", "fourth", "second"):
        assert ask(client, name).status_code == 200
    assert "small" in server.reconciler.models
    assert server.reconciler.besides["small"] is beside
