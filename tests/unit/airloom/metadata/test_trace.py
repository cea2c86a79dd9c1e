"""From an id alone to the data's commits, over a real dataset and a real registry."""

import pytest

from airloom.datasets import versions
from airloom.errors import RegistryError
from airloom.metadata import prediction_id, registry, tracking
from airloom.metadata.trace import render, trace


def test_an_id_leads_to_the_commits_of_the_data(world) -> None:
    world.register("first")
    made = world.register("second", wrong=(1,))
    found = trace(world.settings, prediction_id.new(made.model, made.version))
    assert (found["model"]["name"], found["model"]["version"]) == (made.model, "2")
    assert found["run"]["parent"] == made.mlflow_run
    assert found["run"]["pipeline_run"] == f"{made.model}/second"
    assert found["parameters"] == {"width": "8"}
    assert found["code"] == {"code.sha256": "c0de"}
    assert found["snapshot"] == world.snapshot.id
    newest = versions.latest(world.settings, "digits")
    assert found["dataset"] == {"version": "digits@v2", "id": newest.id, "commit": newest.commit}
    first = versions.get(world.settings, "digits", 1)
    assert [entry["commit"] for entry in found["commits"]] == [newest.commit, first.commit]
    assert {entry["author"] for entry in found["commits"]} == {"Ada"}


def test_the_chain_is_readable(world) -> None:
    made = world.register("first")
    one = prediction_id.new(made.model, made.version)
    lines = render(trace(world.settings, one)).splitlines()
    assert lines[0] == f"prediction {one}"
    assert lines[1] == f"  └ model {made.model} version 1"
    assert "digits@v2" in lines[5]
    assert "Ada" in lines[-1]
    indents = [len(line) - len(line.lstrip()) for line in lines]
    assert indents == sorted(indents)


def test_a_half_registered_version_gave_no_prediction(world) -> None:
    made = world.register("first")
    tracking.client(world.settings).delete_model_version_tag(made.model, made.version, registry.STATE)
    with pytest.raises(RegistryError, match="no registered model version gave"):
        trace(world.settings, prediction_id.new(made.model, made.version))
    assert registry.list_versions(world.settings, made.model) == []


@pytest.mark.parametrize("text", ["", "x", "12", "00000000-0000-4000-8000-000000000000", "a" * 500, "' or 1=1 --"])
def test_what_is_no_id_is_said(world, text: str) -> None:
    with pytest.raises(RegistryError, match="is no prediction id") as error:
        trace(world.settings, text)
    assert "prediction_ids" in error.value.hint


def test_complete_versions_are_listed_newest_first(world) -> None:
    for key in ("first", "second", "third"):
        world.register(key)
    assert [str(v.version) for v in registry.list_versions(world.settings, world.pipeline.pipeline)] == ["3", "2", "1"]
    assert registry.list_versions(world.settings, "unknown") == []
