import uuid

import pytest

from airloom.contracts import Decision, Evaluation
from airloom.deployment.record import deploy
from airloom.errors import RegistryError, SignatureRefused
from airloom.lineage.trace import trace
from airloom.monitoring import prediction_id
from airloom.registry import models, signatures
from airloom.registry import register as registry
from airloom.spec.log import LogSection
from airloom.tracking import runs
from airloom.tracking.tags import Tag

EVALUATION = Evaluation({"accuracy": 1.0}, "", {}, "p", 10)


def register(small, trained, passed=True):
    decision = Decision(passed, ["accuracy too low"], "e", None)
    return registry.register(small.settings, small.ctx(), trained, EVALUATION, decision)


def test_a_version_names_the_study_and_the_job_of_the_run_whose_training_it_took(small):
    """Of a candidate, and of an earlier run that the cache found: never of a key that nothing has."""
    client = runs.client(small.settings)
    trained = small.train(small.ctx("earlier").of_candidate("cnn"))
    tags = client.get_model_version("small", register(small, trained).version).tags
    assert (tags[Tag.STUDY], tags[Tag.JOB]) == ("small/earlier/cnn", "small/earlier/cnn/train")
    noted = small.train(small.ctx("noted"))
    client.set_tag(noted.mlflow_run, Tag.STUDY, "small/before")
    client.set_tag(noted.mlflow_run, Tag.JOB, "small/noted/train")
    tags = client.get_model_version("small", register(small, noted).version).tags
    assert (tags[Tag.STUDY], tags[Tag.JOB]) == ("small/before", "small/noted/train")


def test_the_same_candidate_is_always_the_same_version(small):
    trained = small.train(small.ctx())
    first = register(small, trained)
    assert register(small, trained) == first
    api = runs.client(small.settings)
    assert len(api.search_model_versions("name = 'small'")) == 1
    found = models.get_version(small.settings, "small", first.version)
    assert models.digests_of(found) == trained.digests
    assert found.tags["airloom.snapshot"] == small.snapshot.id


def test_what_the_log_keeps_of_inputs_goes_with_the_version_signed(small):
    first = register(small, small.train(small.ctx("first"))).version
    assert Tag.LOG not in models.get_version(small.settings, "small", first).tags
    small.pipeline = small.pipeline.model_copy(update={"log": LogSection(inputs="full", hash=["who"])})
    second = models.get_version(small.settings, "small", register(small, small.train(small.ctx("second"))).version)
    assert LogSection.model_validate_json(second.tags[Tag.LOG]).hash == ["who"]
    signatures.check(small.settings, second)
    runs.client(small.settings).set_model_version_tag("small", second.version, Tag.LOG, '{"inputs": "full"}')
    with pytest.raises(SignatureRefused, match="its tags in MLflow were changed"):
        signatures.check(small.settings, models.get_version(small.settings, "small", second.version))


def test_a_refused_candidate_becomes_no_version(small):
    with pytest.raises(RegistryError, match=r"refused(.|\n)*accuracy too low"):
        register(small, small.train(small.ctx()), passed=False)
    assert runs.client(small.settings).search_registered_models() == []


def test_a_half_registered_version_is_not_deployed_until_register_completes_it(small):
    trained = small.train(small.ctx())
    version = register(small, trained).version
    api = runs.client(small.settings)
    api.delete_model_version_tag("small", version, Tag.STATE)
    with pytest.raises(RegistryError, match="not registered completely"):
        deploy(small.settings, "small", version)
    assert models.champion(api, "small") is None
    assert register(small, trained).version == version
    assert deploy(small.settings, "small", version).champion == version


@pytest.mark.parametrize(("model", "version"), [("small", "99"), ("small", "newest"), ("other", "1")])
def test_an_unknown_version_is_a_registry_error(small, model, version):
    register(small, small.train(small.ctx()))
    with pytest.raises(RegistryError, match="no version"):
        deploy(small.settings, model, version)


def test_malformed_and_foreign_ids_cannot_be_traced(small):
    register(small, small.train(small.ctx()))
    for wrong in ("", "no id", str(uuid.uuid4())):
        with pytest.raises(RegistryError, match="no prediction id"):
            trace(small.settings, wrong)
    with pytest.raises(RegistryError, match="no registered model version gave"):
        trace(small.settings, prediction_id.new("small", "99"))
