"""What development does on production's MLflow and data never moves what production serves."""

import json
import time
from typing import Any

import pytest
from typer.testing import CliRunner

from airloom.cli.main import app
from airloom.deployment.record import current, deploy
from airloom.deployment.rollouts import roll_back
from airloom.errors import ConfigError, RegistryError, SignatureRefused
from airloom.lineage.impact import impact
from airloom.lineage.impact import render as render_impact
from airloom.lineage.trace import trace
from airloom.lineage.why import why
from airloom.monitoring import counts, prediction_id
from airloom.registry import models
from airloom.retention.collect import collect, plan
from airloom.retention.items import Rules
from airloom.settings import Settings
from airloom.tracking import experiments, runs
from airloom.tracking.tags import Tag
from airloom_serving.reconciler import Reconciler
from airloom_serving.verdicts import Checkers

DAY = 86_400.0
pytestmark = pytest.mark.timeout(900)  # a server, jobs and Great Expectations, on a busy machine


def in_sixty_days() -> Rules:
    return Rules(time.time() + 60 * DAY, 30 * DAY, DAY)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What decides what an installation serves, and what it has."""
    checkers = Checkers(tmp_path_factory.mktemp("verdicts"))
    yield lambda settings: _seen(settings, checkers)
    checkers.close()


def _seen(settings: Settings, checkers: Checkers) -> dict[str, Any]:
    client = runs.client(settings)
    registered = client.get_registered_model(settings.registered("digits"))
    versions = client.search_model_versions(f"name = '{registered.name}'")
    reconciler = Reconciler(settings, checkers)
    reconciler.once()
    served = {name: (model.name, model.version) for name, model in reconciler.models.items()}
    return {
        "deployment": registered.tags.get(Tag.DEPLOYMENT),
        "aliases": {alias: str(number) for alias, number in registered.aliases.items()},
        "versions": {str(v.version): (dict(v.tags), v.last_updated_timestamp) for v in versions},
        "served": served,
        "errors": reconciler.errors,
        "tries": trace(settings, "digits").to_dict(),
    }


def answered(settings: Settings, version: str, count: int) -> str:
    """Count answers as the server does; the id of one."""
    model, total = settings.registered("digits"), counts.Total(time.time())
    total.total = count
    counts.write(settings.database_address, f"{model}-{version}", {(model, version): total.values()}, 5)
    return prediction_id.new(model, version)


@pytest.fixture(scope="module")
def lived(both):
    """Both registered a `digits`; production serves its second version."""
    for key in ("one", "two"):
        deploy(both.production.settings, "digits", both.register(both.production, key).version)
    first = both.register(both.development, "one", (3,))
    assert (first.model, first.version) == ("development.digits", "1")
    return both


def test_development_does_everything_and_production_stays_as_it_is(lived, seen):
    production, development = lived.production.settings, lived.development.settings
    before = seen(production)
    assert before["served"] == {"digits": ("production.digits", "2")}
    deploy(development, "digits", "1")
    deploy(development, "digits", lived.register(lived.development, "two", (4,)).version)
    roll_back(development, "digits")
    assert current(development, "digits").champion == "1"
    answered(development, "1", 500)
    lived.development.train(lived.development.ctx("three"))
    gone = [item for item in collect(development, in_sixty_days(), print) if item.goes and item.kind == "model"]
    assert len(gone) == 1, "the candidate that nobody registered, and nothing of production"
    after = seen(production)
    assert after == before
    assert seen(development)["served"] == {"digits": ("development.digits", "1")}
    assert {item.why for item in plan(production, in_sixty_days()) if item.kind == "model"} == {
        "production.digits version 2 is the champion",
        "production.digits version 1 is the previous",
    }


def test_what_it_may_not_change_is_refused_by_name(lived, seen):
    development = lived.development.settings
    before = seen(lived.production.settings)
    for act in (
        lambda: deploy(development, "production.digits", "1"),
        lambda: roll_back(development, "production.digits"),
    ):
        with pytest.raises(
            RegistryError, match=r"production\.digits is of the installation production, and .*develop"
        ) as e:
            act()
        assert "promote-from production.digits" in e.value.hint
    assert seen(lived.production.settings) == before


def test_short_names_mean_the_own_installation(lived, monkeypatch):
    for world in (lived.production, lived.development):
        settings, own = world.settings, world.settings.installation
        assert models.find(settings, "digits/1").name == f"{own}.digits"
        assert [model.name for model in models.list_models(settings)] == ["digits"]
        assert models.show(settings, "digits/1").tags[Tag.PIPELINE_RUN] == f"{own}:digits/one"
        assert trace(settings, "digits/one").run.pipeline_run == f"{own}:digits/one"
        assert why(settings, "digits/one", "digits/two").data.same
        assert {run.key for run in experiments.show(settings, "digits").runs} >= {
            f"{own}:digits/one",
            f"{own}:digits/two",
        }
        assert experiments.show(settings, "digits/one").key == f"{own}:digits/one"
    assert models.find(lived.development.settings, "production.digits/1").name == "production.digits"
    assert experiments.show(lived.development.settings, "production:digits/two").key == "production:digits/two"
    everybodys = models.list_models(lived.development.settings, everybodys=True)
    assert {model.name for model in everybodys} >= {"digits", "production.digits"}
    monkeypatch.setenv("AIRLOOM_HOME", str(lived.development.settings.home))
    monkeypatch.setenv("AIRLOOM_TRACKING_URI", lived.development.settings.tracking_uri)
    said = CliRunner().invoke(app, ["model", "show", "digits/1", "--json"])
    assert json.loads(said.stdout)["name"] == "digits"
    assert "development:digits/one" in said.stdout
    said = CliRunner().invoke(app, ["experiment", "show", "production.digits", "--json"])
    assert {run["key"] for run in json.loads(said.stdout)["runs"]} >= {"production:digits/one", "production:digits/two"}


def test_a_prediction_is_traced_to_the_installation_that_gave_it(lived):
    production, development = lived.production.settings, lived.development.settings
    identity = answered(production, "2", 7)
    assert trace(production, identity).model.name == "digits"
    assert trace(production, identity).model.predictions == 7
    assert trace(development, identity).model.name == "production.digits"


def test_what_another_one_answered_is_not_counted_as_ours(lived):
    production, development = lived.production.settings, lived.development.settings
    answered(production, "1", 11)
    here, there = impact(production, "digits@v1"), impact(development, "digits@v1")
    by_name = {(model.name, model.version): model.predictions for model in here.models}
    assert by_name["digits", "1"] == 11
    assert by_name["development.digits", "1"] is None
    assert "development.digits/1 predictions unknown here" in render_impact(here)
    assert {model.name for model in there.models} == {"digits", "production.digits"}
    assert here.unattributed == there.unattributed == 0


def test_files_that_a_copy_by_mlflows_own_client_serves_are_not_collected(lived):
    """Somebody copied a version of development into a model of production; then development lets go of it."""
    development = lived.development
    client, made = runs.client(development.settings), development.register("copied", wrong=(5,))
    client.create_registered_model("production.copied")
    copied = client.copy_model_version(f"models:/{made.model}/{made.version}", "production.copied")
    uri = client.get_model_version(made.model, made.version).tags[Tag.MODEL_URI]
    (item,) = [item for item in plan(development.settings, in_sixty_days()) if item.name == uri]
    assert item.goes
    client.set_registered_model_alias("production.copied", "champion", copied.version)
    assert item.take() == "production.copied version 1 is the champion"
    client.delete_registered_model("production.copied")


def test_a_third_one_of_the_same_name_is_refused(lived, make_installation):
    mlflow = lived.production.settings.tracking_uri
    for name in ("production", "development"):
        clash = make_installation(name, tracking_uri=mlflow)
        with pytest.raises(ConfigError, match=f"the installation {name} is another one there") as caught:
            runs.ensure_parent(clash, "digits", f"{name}:digits/clash", {})
        assert "AIRLOOM_NAMESPACE" in caught.value.hint
        with pytest.raises((ConfigError, SignatureRefused), match=r"is another one there|which is not trusted here"):
            deploy(clash, "digits", "1")
        with pytest.raises(ConfigError, match="is another one there"):
            plan(clash, in_sixty_days())
