"""Two trainings side by side: each kind of difference alone, its size, and what cannot be told."""

import json
from dataclasses import replace
from functools import partial

import pytest

from airloom.datasets import versions
from airloom.datasets.snapshots import snapshot
from airloom.errors import RegistryError
from airloom.lineage.why import render, why
from airloom.lineage.why_record import ORDER
from airloom.settings import Settings
from airloom.tracking import runs as mlflow_runs

CODE = {"model.py": "import helper\n\n\ndef train(run):\n    return 1\n", "helper.py": "WIDTH = 1\n"}
PACKAGES = {"numpy": "2.3.1", "torch": "2.13.0"}
HARDWARE = {"processor": "a CPU", "threads": "1"}


@pytest.fixture
def make_trained():
    """Write a training as `airloom.training.train` does; returns its run's id."""

    def make(world, key: str, **changes) -> str:
        ctx, client = world.ctx(key), mlflow_runs.client(world.settings)
        read = changes.get("snapshot", world.snapshot)
        tags = {"airloom.snapshot.record": json.dumps(read.to_dict()), "airloom.snapshot": read.id}
        tags |= {"airloom.code.function": "model.py:train", "airloom.seed": changes.get("seed", "0")}
        tags |= {"airloom.hardware": json.dumps(changes.get("hardware", HARDWARE))}
        tags |= {"airloom.torch": changes["torch"]} if "torch" in changes else {}
        run = mlflow_runs.ensure_child(client, ctx, "train", tags=tags)
        mlflow_runs.log_parameters(client, run, changes.get("parameters", {"lr": 0.1, "width": 8}))
        for name, text in changes.get("code", CODE).items():
            client.log_text(run, text, f"source/modules/{name}")
        client.log_text(run, changes.get("code", CODE).get("model.py", ""), "source/model.py")
        lines = [f"{name}=={version}" for name, version in changes.get("packages", PACKAGES).items()]
        client.log_text(run, "\n".join(["# Python 3.11.7 on Linux", *lines]), "environment/requirements.txt")
        return run

    return make


@pytest.fixture
def trained(world, make_trained):
    return partial(make_trained, world)


def sizes(found) -> dict[str, int]:
    return {name: part.size.number for name, part in found.parts.items() if not part.same}


def test_a_training_that_was_repeated_is_the_same_in_everything(world, trained) -> None:
    found = why(world.settings, trained("first"), trained("second"))
    assert [name for name in found.to_dict() if name in ORDER] == list(ORDER)
    assert all(part.same for part in found.parts.values())
    assert [line.split() for line in render(found).splitlines()[1:]] == [[name, "same"] for name in ORDER]


CHANGES = {
    "code": ({"code": CODE | {"helper.py": "WIDTH = 2\nDEPTH = 3\n"}}, 3, ["-WIDTH = 1", "+WIDTH = 2", "+DEPTH = 3"]),
    "parameters": ({"parameters": {"lr": 0.2, "width": 8, "depth": 2}}, 2, ["depth: - -> 2", "lr: 0.1 -> 0.2"]),
    "environment": ({"packages": PACKAGES | {"numpy": "2.3.2"}}, 1, ["numpy: 2.3.1 -> 2.3.2"]),
    "seed": ({"seed": "7"}, 1, ["seed: 0 -> 7"]),
    "hardware": ({"hardware": HARDWARE | {"threads": "2"}}, 1, ["threads: 1 -> 2"]),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_one_change_alone_is_named_with_its_size(world, trained, kind: str) -> None:
    changes, size, says = CHANGES[kind]
    found = why(world.settings, trained("first"), trained("second", **changes))
    assert sizes(found) == {kind: size}
    assert all(line in render(found) for line in says)


@pytest.mark.parametrize("packages", [PACKAGES, PACKAGES | {"torch": "2.12.0"}], ids=["same", "other"])
def test_another_torch_is_named_by_its_build(world, trained, packages: dict[str, str]) -> None:
    first, second = trained("first", torch="2.13.0+cpu"), trained("second", torch="2.13.0+cu128", packages=packages)
    found = why(world.settings, first, second)
    assert sizes(found) == {"environment": 1}
    assert "  torch: 2.13.0+cpu -> 2.13.0+cu128" in render(found).splitlines()
    assert why(world.settings, first, trained("third", torch="2.13.0+cpu")).environment.same
    assert why(world.settings, first, trained("before the tag")).environment.same


def test_other_data_are_told_by_rows(world, trained) -> None:
    before = snapshot.prepare(world.settings, versions.get(world.settings, "digits", 1), world.snapshot.split)
    found = why(world.settings, trained("first", snapshot=before), trained("second"))
    assert sizes(found) == {"data": 400}
    assert found.data.changes.rows == {"added": 400, "removed": 0, "kept": 400, "changed": 0}
    assert "digits@v1 -> digits@v2" in render(found)
    assert "rows: 400 added, 0 removed, 0 changed, 400 kept" in render(found)


def test_another_split_of_the_same_version_is_other_data(world, trained) -> None:
    halves = {"train": 0.5, "validation": 0.25, "test": 0.25}
    read = snapshot.prepare(world.settings, versions.get(world.settings, "digits", 2), halves)
    found = why(world.settings, trained("first"), trained("second", snapshot=read))
    assert sizes(found) == {"data": 1}
    assert found.data.settings["split"] == [world.snapshot.split, halves]


def test_what_was_not_recorded_is_never_the_same(world, trained) -> None:
    found = why(world.settings, trained("first", packages={}, hardware={}), trained("second"))
    assert found.hardware.unknown == "one of the two recorded it"
    assert not found.hardware.same
    gone = replace(world.snapshot, version=9, version_id="0" * 64)
    lost = why(world.settings, trained("third", snapshot=gone), trained("fourth"))
    assert "digits@v9" in lost.data.unknown


def test_the_sources_are_found_after_the_home_moved(small, make_trained) -> None:
    runs = make_trained(small, "first"), make_trained(small, "second", code=CODE | {"helper.py": "WIDTH = 5\n"})
    before = why(small.settings, *runs)
    assert sizes(before) == {"code": 2}
    place = small.settings.home.rename(small.settings.home.with_name("moved"))
    assert why(Settings(home=place, project=place, tracking_uri=""), *runs) == before


def test_keys_and_models_name_a_training_too(world, trained) -> None:
    run = trained("first")
    found = why(world.settings, f"{world.pipeline.pipeline}/first", run)
    assert found.first == found.second == run


@pytest.mark.parametrize("target", ["nonsense", "", "../x", "0" * 32])
def test_what_names_no_training_is_said(world, trained, target: str) -> None:
    with pytest.raises(RegistryError) as error:
        why(world.settings, trained("first"), target)
    assert target in error.value.message
    assert "an MLflow run's id" in error.value.hint


def test_a_run_that_trained_nothing_is_said(world, trained) -> None:
    ctx = world.ctx("empty")
    with pytest.raises(RegistryError, match="trained nothing that MLflow still has"):
        why(world.settings, trained("first"), ctx.mlflow_run)
