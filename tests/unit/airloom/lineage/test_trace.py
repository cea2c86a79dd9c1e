"""From an id, a model or a run alone to the data's commits, over a real dataset and a real registry."""

import json
import shutil
from dataclasses import replace

import pytest

from airloom.datasets import versions
from airloom.errors import RegistryError
from airloom.lineage.trace import render, trace
from airloom.lineage.trace_record import TracedDataset
from airloom.monitoring import prediction_id
from airloom.registry import models
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tracking.tags import Tag


def test_an_id_leads_to_the_commits_of_the_data(world) -> None:
    world.register("first")
    made = world.register("second", wrong=(1,))
    found = trace(world.settings, prediction_id.new(made.model, made.version))
    assert (found.model.name, found.model.version) == (made.model, "2")
    assert found.logged is None
    assert found.run.parent == made.mlflow_run
    assert found.run.pipeline_run == f"{made.model}/second"
    assert found.parameters == {"width": "8"}
    assert found.code == {"code.sha256": "c0de"}
    assert found.snapshot == world.snapshot.id
    newest = versions.latest(world.settings, "digits")
    assert found.dataset == TracedDataset("digits@v2", newest.id, newest.commit)
    first = versions.get(world.settings, "digits", 1)
    assert [entry.commit for entry in found.commits] == [newest.commit, first.commit]
    assert {entry.author for entry in found.commits} == {"Ada"}
    assert [entry.rows for entry in found.commits] == [400, 400]


def test_model_run_and_key_lead_to_the_same_chain(world) -> None:
    made = world.register("first")
    client = runs.client(world.settings)
    client.set_registered_model_alias(made.model, "champion", "1")
    training = client.get_model_version(made.model, "1").run_id
    chains = [
        trace(world.settings, target)
        for target in (made.model, f"{made.model}@champion", f"{made.model}/1", made.mlflow_run, training)
    ]
    chains.append(trace(world.settings, f"{made.model}/first"))
    chains.append(trace(world.settings, f"{made.model}/first/train/0"))
    assert [chain.models for chain in chains] == [None] * 3 + [[f"{made.model}/1"]] * 4
    assert len({str(replace(chain, target="", models=None)) for chain in chains}) == 1
    assert chains[0].model.aliases == ["champion"]


def test_a_run_without_a_version_is_traced_to_its_data(world) -> None:
    ctx = world.ctx("refused")
    tags = {"airloom.dataset": "digits@v2", "airloom.snapshot": world.snapshot.id}
    client = runs.client(world.settings)
    for name, value in tags.items():
        client.set_tag(ctx.mlflow_run, name, value)
    trial = runs.create_child(client, ctx, "trial", 3)
    runs.log_parameters(client, trial, {"width": 4})
    found = trace(world.settings, trial)
    assert found.model is None
    assert (found.run.kind, found.run.parent) == ("trial", ctx.mlflow_run)
    assert found.parameters == {"width": "4"}
    assert [entry.version for entry in found.commits] == ["digits@v2", "digits@v1"]
    assert trial in render(found)


def test_a_training_that_was_taken_from_an_earlier_run_is_the_runs_own(world) -> None:
    made = world.register("first")
    first = trace(world.settings, f"{made.model}/1")
    ctx = world.ctx("second")
    runs.client(world.settings).set_tag(ctx.mlflow_run, "airloom.reused.train", first.run.train)
    found = trace(world.settings, ctx.mlflow_run)
    assert found.run.train == first.run.train
    assert found.parameters == {"width": "8"}


def test_the_chain_is_readable(world) -> None:
    made = world.register("first")
    one = prediction_id.new(made.model, made.version)
    lines = render(trace(world.settings, one)).splitlines()
    assert lines[0] == f"prediction {one}: its log row is not kept; the id names the version"
    assert lines[1] == f"  └ model {made.model} version 1, 0 predictions"
    assert "digits@v2" in lines[5]
    assert "Ada: first batch; 400 rows" in lines[-1]
    indents = [len(line) - len(line.lstrip()) for line in lines]
    assert indents == sorted(indents)


def test_programs_find_what_they_read_in_the_json(world) -> None:
    made = world.register("first")
    chain = ["model", "run", "parameters", "code", "snapshot", "read", "dataset", "commits", "missing"]
    identity = prediction_id.new(made.model, made.version)
    assert list(trace(world.settings, identity).to_dict()) == ["target", "prediction", "logged", *chain]
    found = trace(world.settings, made.mlflow_run).to_dict()
    assert list(found) == ["target", *chain, "models"]
    assert list(found["run"]) == ["pipeline_run", "parent", "train", "name", "kind", "study"]
    trial = runs.create_child(runs.client(world.settings), world.ctx("first"), "trial", 3)
    found = json.loads(json.dumps(trace(world.settings, trial).to_dict()))
    assert (found["model"], found["run"]["id"], found["run"]["status"]) == (None, trial, "RUNNING")


def test_a_half_registered_version_gave_no_prediction(world) -> None:
    made = world.register("first")
    runs.client(world.settings).delete_model_version_tag(made.model, made.version, Tag.STATE)
    with pytest.raises(RegistryError, match="no registered model version gave"):
        trace(world.settings, prediction_id.new(made.model, made.version))
    assert models.list_versions(world.settings, made.model) == []


def test_renamed_runs_and_a_moved_home_change_nothing(world, tmp_path) -> None:
    made = world.register("first")
    one = prediction_id.new(made.model, made.version)
    before = trace(world.settings, one)
    client = runs.client(world.settings)
    for run in (made.mlflow_run, before.run.train):
        client.update_run(run, name="somebody's own name")
    moved = tmp_path / "somewhere else"
    # Not the databases in WAL mode: who closes such a file drops the locks that this process holds on it.
    left = ("cache", "artifacts", "made", "airloom.db*", "optuna.db*")
    shutil.copytree(world.settings.home, moved, ignore=shutil.ignore_patterns(*left))
    after = trace(Settings(home=moved, project=tmp_path, tracking_uri=""), one)
    assert after.run.name == "somebody's own name"
    assert after == replace(before, run=before.run.with_(name=after.run.name))


NO_TARGET = ["", "x y", "../../etc/passwd", "a" * 500, "' or 1=1 --", "digits/", "@champion", "digits@v1@v2"]


@pytest.mark.parametrize("text", NO_TARGET)
def test_what_names_nothing_is_said_with_what_may_be_given(world, text: str) -> None:
    with pytest.raises(RegistryError) as error:
        trace(world.settings, text)
    assert repr(text)[:100] in error.value.message
    assert "prediction_ids" in error.value.hint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("00000000-0000-4000-8000-000000000000", "is no prediction id: .* version 4"),
        ("nothing", "there is no registered model nothing"),
        ("0" * 32, "MLflow has no run 0000"),
        ("nothing/manual__1", "is no pipeline run's key"),
    ],
)
def test_what_is_not_there_is_said(world, text: str, says: str) -> None:
    world.register("first")
    with pytest.raises(RegistryError, match=says) as error:
        trace(world.settings, text)
    assert "prediction_ids" in error.value.hint


def test_an_alias_and_a_number_that_are_not_there_are_said_with_those_that_are(world) -> None:
    made = world.register("first")
    runs.client(world.settings).set_registered_model_alias(made.model, "shadow", "1")
    with pytest.raises(RegistryError, match="has no alias 'champion'") as error:
        trace(world.settings, made.model)
    assert "shadow@1" in error.value.hint
    with pytest.raises(RegistryError, match="no version 7") as error:
        trace(world.settings, f"{made.model}/7")
    assert "its newest is 1" in error.value.hint


def test_complete_versions_are_listed_newest_first(world) -> None:
    for key in ("first", "second", "third"):
        world.register(key)
    assert [str(v.version) for v in models.list_versions(world.settings, world.pipeline.pipeline)] == ["3", "2", "1"]
    assert models.list_versions(world.settings, "unknown") == []
