import json
import logging
import sqlite3
import threading
import time
from concurrent.futures import wait

import numpy as np
import pytest

from airloom.deployment.record import deploy
from airloom.errors import MlflowAway
from airloom.files import file_sha256
from airloom.registry import keys, models, signatures
from airloom.spec.log import LogSection
from airloom.tracking import artifacts, runs
from airloom.tracking.tags import Tag
from airloom_serving import reconciler as module
from airloom_serving.reconciler import Reconciler
from airloom_serving.served import ServedModel


@pytest.fixture
def make(checkers):
    """A reconciler that shares the checkers of all tests."""
    return lambda world: Reconciler(world.settings, checkers)


def served(reconciler):
    return {name: model.version for name, model in reconciler.models.items()}


def damage(small, version):
    uri = models.uri_of(models.get_version(small.settings, "small", version))
    file = small.store_file(uri)
    file.write_bytes(file.read_bytes()[:-1] + b"\0")


def test_it_serves_the_champion_and_follows_an_alias_moved_by_hand(small, make):
    first = small.register("one").version
    second = small.register("two", wrong=(4,)).version
    reconciler = make(small)
    reconciler.once()
    assert served(reconciler) == {}
    deploy(small.settings, "small", first)
    reconciler.once()
    assert served(reconciler) == {"small": first}
    api = runs.client(small.settings)
    api.set_registered_model_alias("small", "champion", second)
    reconciler.once()
    assert served(reconciler) == {"small": second}
    image = np.eye(64, dtype=np.float32)[4].reshape(1, 1, 8, 8)
    assert (
        reconciler.models["small"].outputs({"input": image})["output"].argmax() == 5
    )  # the second model's own mistake
    api.delete_registered_model_alias("small", "champion")
    reconciler.once()
    assert served(reconciler) == {}


def test_what_the_log_keeps_of_inputs_is_what_the_pipeline_of_the_version_said(small, make):
    first = small.register("one").version
    small.pipeline = small.pipeline.model_copy(update={"log": LogSection(inputs="profile")})
    second = small.register("two", wrong=(4,)).version
    reconciler = make(small)
    for version, kept in ((first, None), (second, "profile")):
        deploy(small.settings, "small", version)
        reconciler.once()
        form = reconciler.models["small"].inputs
        assert (form.policy.inputs if form else None) == kept


def test_it_sees_more_models_than_mlflow_tells_at_once(small, monkeypatch, make):
    api = runs.client(small.settings)
    for name in ("another", "one more"):  # before it in the registry's order
        api.create_registered_model(name)
    deploy(small.settings, "small", small.register("one").version)
    monkeypatch.setattr(runs, "PAGE", 1)
    reconciler = make(small)
    reconciler.once()
    assert served(reconciler) == {"small": "1"}


@pytest.fixture
def asked(monkeypatch):
    """The requests that MLflow's client makes of the registry, by name."""
    from mlflow import MlflowClient

    requests = []

    def counted(name, method):
        def request(self, *args, **kwargs):
            requests.append(name)
            return method(self, *args, **kwargs)

        return request

    for name, method in vars(MlflowClient).items():
        if not name.startswith("_") and ("registered_model" in name or "model_version" in name):
            monkeypatch.setattr(MlflowClient, name, counted(name, method))
    return requests


def test_the_registry_is_asked_once_a_look_however_many_models_there_are(small, make_world, asked, make):
    worlds = [small, *(make_world(small.settings, name) for name in ("another", "third"))]
    for world in worlds:
        deploy(small.settings, world.pipeline.pipeline, world.register("one").version)
    runs.client(small.settings).create_registered_model("without a champion")
    reconciler = make(small)
    reconciler.once()
    assert served(reconciler) == dict.fromkeys(("small", "another", "third"), "1")
    asked.clear()
    reconciler.once()
    assert asked == ["search_registered_models"]
    second = small.register("two").version
    deploy(small.settings, "small", second)
    asked.clear()
    reconciler.once()
    assert asked == ["search_registered_models", "get_model_version_by_alias"]  # of the one that is to be loaded
    assert served(reconciler)["small"] == second


def test_a_version_that_waits_for_its_next_try_costs_no_request(small, asked, make):
    version = small.register("one").version
    damage(small, version)
    deploy(small.settings, "small", version)
    reconciler = make(small)
    reconciler.once()
    assert "damaged" in reconciler.errors["small"]
    asked.clear()
    reconciler.once()
    assert asked == ["search_registered_models"]
    assert "damaged" in reconciler.errors["small"]


@pytest.mark.parametrize("harm", ["file", "golden"])
def test_a_bad_version_is_reported_and_the_old_one_keeps_serving(small, harm, make):
    first = small.register("one").version
    second = small.register("two", wrong=(4,), spoil_golden=harm == "golden").version
    reconciler = make(small)
    deploy(small.settings, "small", first)
    reconciler.once()
    if harm == "file":
        damage(small, second)
    deploy(small.settings, "small", second)
    reconciler.once()
    assert served(reconciler) == {"small": first}
    assert f"version {second}" in reconciler.errors["small"]
    deploy(small.settings, "small", first)
    reconciler.once()
    assert (served(reconciler), reconciler.errors) == ({"small": first}, {})


def sign_again(small, number, tag, value):
    version = models.get_version(small.settings, "small", number)
    tags = version.tags | {tag: value}
    tags |= signatures.sign(keys.signing_key(small.settings), "small", tags)
    for name in (tag, Tag.SIGNED):
        runs.client(small.settings).set_model_version_tag("small", number, name, tags[name])


@pytest.mark.parametrize("how", ["forged", "unsigned", "copied", "keys"])
def test_what_nobody_signed_is_not_loaded_and_the_old_version_keeps_serving(small, how, make):
    """The alias moved by hand, as everybody who reaches MLflow can; new digests fit the new files."""
    first, second = small.register("one").version, small.register("two", wrong=(4,)).version
    reconciler, api = make(small), runs.client(small.settings)
    deploy(small.settings, "small", first)
    reconciler.once()
    one, two = (models.get_version(small.settings, "small", number) for number in (first, second))
    says = "were changed"
    match how:
        case "forged":
            file = small.store_file(models.uri_of(two))
            file.write_bytes(small.store_file(models.uri_of(one)).read_bytes())
            digests = models.digests_of(two) | {"extra_files/model.onnx": file_sha256(file)}
            api.set_model_version_tag("small", second, Tag.DIGESTS, json.dumps(digests))
        case "unsigned":
            api.delete_model_version_tag("small", second, Tag.SIGNED)
            says = "is not signed"
        case "copied":
            api.set_model_version_tag("small", second, Tag.SIGNED, one.tags[Tag.SIGNED])
        case _:
            (small.settings.home / "keys" / "trusted.json").unlink()
            says = "which is not trusted here"
    api.set_registered_model_alias("small", "champion", second)
    reconciler.once()
    assert says in reconciler.errors["small"]
    assert served(reconciler) == {"small": first}
    cached = small.settings.home / "cache" / "served" / models.uri_of(two).rpartition("/")[2]
    assert not cached.exists()  # not even fetched


@pytest.mark.parametrize("uri", ["models:/..", "file:///etc", "models:/small/1"])
def test_a_tag_with_another_kind_of_address_is_refused_and_empties_nothing(small, uri, make):
    first, second = small.register("one").version, small.register("two", wrong=(4,)).version
    reconciler = make(small)
    deploy(small.settings, "small", first)
    reconciler.once()
    kept = sorted((small.settings.home / "cache").rglob("*"))
    deploy(small.settings, "small", second)
    sign_again(small, second, "airloom.model_uri", uri)  # else its signature were refused before
    reconciler.once()
    assert "no address of a model's files" in reconciler.errors["small"]
    assert served(reconciler) == {"small": first}
    assert sorted((small.settings.home / "cache").rglob("*")) == kept
    assert "no address" in models.show(small.settings, "small/2").signature["error"]


def test_the_error_of_a_model_without_a_champion_is_forgotten(small, make):
    version = small.register("one").version
    damage(small, version)
    deploy(small.settings, "small", version)
    reconciler = make(small)
    reconciler.once()
    assert "damaged" in reconciler.errors["small"]
    runs.client(small.settings).delete_registered_model_alias("small", "champion")
    reconciler.once()
    assert reconciler.errors == {}


def test_it_keeps_serving_while_the_store_is_away(small, monkeypatch, caplog, make):
    monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
    version = small.register("one").version
    deploy(small.settings, "small", version)
    reconciler = make(small)
    reconciler.once()
    with sqlite3.connect(small.settings.home / "mlflow" / "mlflow.db") as store:
        store.execute("ALTER TABLE registered_models RENAME TO away")
    with caplog.at_level(logging.CRITICAL):
        reconciler.start()
        until(lambda: "registry" in reconciler.errors)
    assert served(reconciler) == {"small": version}
    with sqlite3.connect(small.settings.home / "mlflow" / "mlflow.db") as store:
        store.execute("ALTER TABLE away RENAME TO registered_models")
    until(lambda: not reconciler.errors)
    reconciler.stop()
    assert served(reconciler) == {"small": version}


def until(holds):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_it_is_not_ready_before_what_should_serve_is_loaded(small, make, monkeypatch):
    deploy(small.settings, "small", small.register("one").version)
    reconciler, may_load = make(small), threading.Event()
    assert "first look" in reconciler.unready
    load = ServedModel.load
    monkeypatch.setattr(ServedModel, "load", lambda *_, **__: may_load.wait(60) and load(*_, **__))
    loads = reconciler.look()
    assert reconciler.unready == "not loaded yet: small"
    assert reconciler.loading["small"].version == "1"
    may_load.set()
    wait(loads)
    assert (reconciler.unready, reconciler.loading, served(reconciler)) == ("", {}, {"small": "1"})


def test_an_empty_registry_is_ready_once_it_was_looked_at(small, make):
    reconciler = make(small)
    reconciler.once()
    assert reconciler.unready == ""


def test_a_champion_that_is_refused_keeps_no_server_from_being_ready(small, make):
    version = small.register("one").version
    damage(small, version)
    deploy(small.settings, "small", version)
    reconciler = make(small)
    reconciler.once()
    assert (reconciler.unready, served(reconciler)) == ("", {})


def test_one_that_mlflow_does_not_hand_out_yet_does(small, make, monkeypatch):
    deploy(small.settings, "small", small.register("one").version)
    reconciler, fetch = make(small), artifacts.fetch_model

    def away(*_):
        raise MlflowAway("MLflow does not answer")

    monkeypatch.setattr(artifacts, "fetch_model", away)
    reconciler.once()
    assert reconciler.unready == "not loaded yet: small"
    monkeypatch.setattr(artifacts, "fetch_model", fetch)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.0)
    reconciler._retries.clear()
    reconciler.once()
    assert (reconciler.unready, served(reconciler)) == ("", {"small": "1"})


def test_the_trouble_of_one_model_stops_no_other(small, make_world, make, monkeypatch):
    """An endless loop in one model kept all others from following their aliases."""
    other = make_world(small.settings, "other")
    for world in (small, other):
        deploy(world.settings, world.pipeline.pipeline, world.register("one").version)
    reconciler, may_end = make(small), threading.Event()
    judge = reconciler._checkers.judge

    def stuck(name, *more):
        return may_end.wait(60) if name == "small" else judge(name, *more)

    monkeypatch.setattr(reconciler._checkers, "judge", stuck)
    loads = reconciler.look()
    until(lambda: served(reconciler) == {"other": "1"})
    deploy(other.settings, "other", other.register("two", wrong=(4,)).version)
    loads += reconciler.look()
    until(lambda: served(reconciler) == {"other": "2"})
    assert (reconciler.errors, list(reconciler.loading)) == ({}, ["small"])
    may_end.set()
    wait(loads)
    assert served(reconciler) == {"small": "1", "other": "2"}


def test_a_version_that_comes_too_late_is_not_served(small, make, monkeypatch):
    first, second = small.register("one").version, small.register("two", wrong=(4,)).version
    deploy(small.settings, "small", first)
    reconciler, may_load = make(small), threading.Event()
    load = ServedModel.load
    monkeypatch.setattr(ServedModel, "load", lambda *_, **__: may_load.wait(60) and load(*_, **__))
    loads = reconciler.look()
    deploy(small.settings, "small", second)
    reconciler.look()
    may_load.set()
    wait(loads)
    assert served(reconciler) == {}
    reconciler.once()
    assert served(reconciler) == {"small": second}
