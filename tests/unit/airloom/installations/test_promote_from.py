"""A version of development becomes production's through production's gate, and through nothing else."""

import json
import time

import pytest
import yaml

from airloom.deployment.record import current, deploy
from airloom.errors import GateError, RegistryError, SignatureRefused
from airloom.lineage.impact import impact
from airloom.lineage.trace import render, trace
from airloom.pipeline.promote_from import Override, promote_from
from airloom.registry import models
from airloom.registry.keys import signing_key
from airloom.registry.signatures import sign
from airloom.registry.vouch import sign_one
from airloom.retention.collect import collect
from airloom.retention.items import Rules
from airloom.tracking import artifacts, runs
from airloom.tracking.tags import Tag

DAY = 86_400.0
pytestmark = pytest.mark.timeout(900)  # a server, jobs and Great Expectations, on a busy machine


@pytest.fixture(scope="module")
def lived(both, warm_jobs):
    """Production has a champion that is wrong for one digit; development has a better, a worse and a strange one."""
    production, development = both.production, both.development
    values = production.pipeline.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for name, override in (("digits", "refuse"), ("asked", "ask")):
        gate = values["gate"] | ({"override": override} if override == "ask" else {})
        file = production.settings.project / "configs" / "pipelines" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(values | {"pipeline": name, "gate": gate}))
    deploy(production.settings, "digits", both.register(production, "begun", (3,)).version)
    both.better = both.register(development, "better").version
    both.worse = both.register(development, "worse", (1, 2, 3, 4)).version
    both.strange = both.register(development, "strange", split={"train": 0.9, "validation": 0.05, "test": 0.05}).version
    # What has the short name in MLflow is of an installation without a name: that it is unsigned concerns nobody here.
    client = runs.client(production.settings)
    client.create_registered_model("digits")
    source = models.get_version(production.settings, "development.digits", both.better).tags[Tag.MODEL_URI]
    tags = {Tag.MODEL_URI: source}
    unsigned = client.create_model_version("digits", source, tags=tags, model_id=source.rpartition("/")[2])
    client.set_registered_model_alias("digits", "champion", unsigned.version)
    return both


def taken(lived, version, **options):
    lines: list[str] = []
    return promote_from(lived.production.settings, f"development.digits/{version}", lines.append, **options)


def test_what_a_strange_key_signed_is_not_even_fetched(lived, make_installation, monkeypatch):
    production = lived.production.settings
    stranger = make_installation("stranger", tracking_uri=production.tracking_uri)
    version = models.get_version(production, "development.digits", lived.better)
    client, signed = runs.client(production), dict(version.tags)
    client.set_model_version_tag(
        version.name, version.version, Tag.SIGNED, sign(signing_key(stranger), version.name, signed)[Tag.SIGNED]
    )
    monkeypatch.setattr(artifacts, "fetch_model", lambda *_: pytest.fail("something of it was fetched"))
    try:
        with pytest.raises(SignatureRefused, match=r"which is not trusted here\n.*airloom keys trust"):
            taken(lived, lived.better)
        with pytest.raises(RegistryError, match="is of another installation, which signs it itself"):
            sign_one(production, f"development.digits/{lived.better}")
    finally:
        client.set_model_version_tag(version.name, version.version, Tag.SIGNED, signed[Tag.SIGNED])


def test_a_better_one_passes_the_own_gate_and_is_promoted(lived):
    production, development = lived.production.settings, lived.development.settings
    before, theirs = (
        current(production, "digits"),
        runs.client(production).get_registered_model("development.digits").tags,
    )
    result = taken(lived, lived.better)
    assert result.passed, result.reasons
    assert result.source == f"development.digits/{lived.better}"
    assert any("a gain of +" in reason for reason in result.reasons)
    assert current(production, "digits").champion == result.version
    assert current(production, "digits").previous == before.champion
    assert runs.client(production).get_registered_model("development.digits").tags == theirs
    tags = models.get_version(production, "production.digits", result.version).tags
    assert tags[Tag.FROM] == result.source
    there = models.get_version(development, "development.digits", lived.better).tags
    assert (tags[Tag.FROM_RUN], tags[Tag.SNAPSHOT]) == (there[Tag.TRAIN_RUN], there[Tag.SNAPSHOT])
    assert json.loads(tags[Tag.DIGESTS]) == json.loads(there[Tag.DIGESTS])
    assert tags[Tag.MODEL_URI] != there[Tag.MODEL_URI]
    again = taken(lived, lived.better)
    assert (again.version, again.deployment["generation"]) == (result.version, result.deployment["generation"])


def test_a_worse_one_is_refused_and_nothing_changes(lived):
    production = lived.production.settings
    before = current(production, "digits"), len(models.list_versions(production, "production.digits"))
    result = taken(lived, lived.worse)
    assert (result.passed, result.version, result.deployment) == (False, "", {})
    assert any(reason.startswith("REFUSED: accuracy: a gain of -") for reason in result.reasons)
    assert (current(production, "digits"), len(models.list_versions(production, "production.digits"))) == before
    assert runs.client(production).get_run(result.run).data.tags[Tag.GATE] == "refused"
    with pytest.raises(GateError, match="the gate of digits knows no override"):
        taken(lived, lived.worse, override=Override("Ada", "the demo"))
    assert current(production, "digits") == before[0]


@pytest.mark.long
def test_without_evidence_only_a_person_lets_it_through_and_is_recorded(lived):
    production = lived.production.settings
    refused = taken(lived, lived.strange, pipeline="asked")
    assert not refused.version
    assert "it may have learned test rows" in refused.reasons[0]
    with pytest.raises(GateError, match="an override needs a name and a reason"):
        taken(lived, lived.strange, pipeline="asked", override=Override("", "because"))
    result = taken(lived, lived.strange, pipeline="asked", override=Override("Ada", "measured by hand"), deploy=False)
    assert (result.passed, result.version, result.deployment) == (False, "1", {})
    tags = models.get_version(production, "production.asked", "1").tags
    assert json.loads(tags[Tag.OVERRIDE])["by"] == "Ada"
    assert "it may have learned test rows" in tags[Tag.GATE]
    assert current(production, "asked").champion == ""


def test_a_file_that_is_not_what_was_registered_is_refused_before_anything_reads_it(lived):
    development, production = lived.development.settings, lived.production.settings
    made = lived.register(lived.development, "damaged")
    digests = json.loads(models.get_version(development, made.model, made.version).tags[Tag.DIGESTS])
    digests[artifacts.ONNX] = "0" * 64
    client = runs.client(development)
    client.set_model_version_tag(made.model, made.version, Tag.DIGESTS, json.dumps(digests))
    before = len(models.list_versions(production, "production.digits"))
    with pytest.raises(SignatureRefused, match="its tags in MLflow were changed"):
        taken(lived, made.version)
    assert len(models.list_versions(production, "production.digits")) == before


@pytest.mark.long
def test_a_model_that_contradicts_its_golden_answers_is_refused_by_the_checker(lived):
    from airloom.registry import take_over

    world = lived.development
    made = world.register("contradicts", spoil_golden=True)
    version = models.get_version(world.settings, made.model, made.version)
    folder = world.settings.home / "contradicts"
    digests = take_over.checked_files(world.settings, version, folder)
    assert "differs from its golden answers" in take_over.tried(version, folder, digests)
    with pytest.raises(RegistryError, match=r"is not taken over: .*golden answers"):
        taken(lived, made.version)


def test_the_own_one_is_promoted_by_its_own_command(lived):
    with pytest.raises(RegistryError, match="digits/1 is of this installation itself"):
        promote_from(lived.production.settings, "digits/1", print)


def test_what_development_does_with_its_own_afterwards_is_not_productions_affair(lived):
    production, development = lived.production.settings, lived.development.settings
    source = f"development.digits/{lived.better}"
    there = models.get_version(development, "development.digits", lived.better).tags
    version = current(production, "digits").champion
    tags = models.get_version(production, "production.digits", version).tags
    client = runs.client(development)
    lineage = trace(production, "digits")
    assert lineage.model.taken_from == source
    assert f"taken over from {source}" in render(lineage)
    assert lineage.commits
    assert ("digits", version) in {(m.name, m.version) for m in impact(production, "digits@v1").models}
    collect(development, Rules(time.time() + 60 * DAY, 30 * DAY, DAY), print)
    client.delete_run(there[Tag.TRAIN_RUN])
    assert trace(production, "digits").to_dict() | {"target": ""} == lineage.to_dict() | {"target": ""}
    uri, folder = tags[Tag.MODEL_URI], production.home / "again"
    assert artifacts.fetch_model(production, uri, json.loads(tags[Tag.DIGESTS]), folder)
    run = client.get_run(tags[Tag.TRAIN_RUN])
    assert run.data.tags[Tag.SEED] == "7"
    assert run.data.metrics["loss"] == 0.5
    assert "environment" in {file.path for file in client.list_artifacts(run.info.run_id)}
