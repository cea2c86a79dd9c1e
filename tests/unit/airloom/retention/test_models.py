"""Which models lose their files, over a real registry and artifact store."""

from dataclasses import replace

import pytest

from airloom.deployment.record import current, deploy
from airloom.errors import MlflowAway, RegistryError
from airloom.registry import models as registered_models
from airloom.registry import models as shown
from airloom.retention.in_use import find_in_use
from airloom.retention.models import models
from airloom.tracking import runs
from airloom.tracking.tags import Tag


@pytest.fixture
def small(home, make_world):
    return make_world(home.settings, "small")


def files(home) -> int:
    return len(list((home.settings.home / "mlflow").glob("**/model.onnx")))


def test_files_of_old_models_go_but_not_those_with_an_alias(home, small):
    for key in ("one", "two", "three"):
        deploy(home.settings, "small", small.register(key).version)
    refused = small.train(small.ctx("four"))
    assert not any(item.goes for item in home.plan("model", days=1).values())
    planned = home.plan("model")
    whys = {item.why for item in planned.values() if not item.goes}
    assert whys == {"small version 3 is the champion", "small version 2 is the previous"}
    assert planned[refused.model_uri].goes
    home.collect()
    assert files(home) == 2
    assert shown.show(home.settings, "small/1").tags[Tag.COLLECTED]  # what is known of it stays
    assert [str(version.version) for version in registered_models.list_versions(home.settings, "small")] == [
        "3",
        "2",
        "1",
    ]
    with pytest.raises(RegistryError, match="the files of version 1 of small were collected on"):
        deploy(home.settings, "small", "1")
    assert current(home.settings, "small").champion == "3"
    assert home.plan("model").keys() == {item for item in planned if not planned[item].goes}


def test_a_promotion_after_the_plan_keeps_the_model(home, small):
    version = small.register("one").version
    (item,) = home.plan("model").values()
    assert item.goes
    deploy(home.settings, "small", version)
    assert item.take() == "small version 1 is the champion"
    assert files(home) == 1


def test_killed_between_mark_and_files_the_next_one_goes_on(home, small):
    made = small.register("one")
    client = runs.client(home.settings)
    client.set_model_version_tag("small", made.version, Tag.COLLECTED, "2026-01-01")
    with pytest.raises(RegistryError, match="collected on 2026-01-01"):
        deploy(home.settings, "small", made.version)
    home.collect()
    assert files(home) == 0


def test_a_run_that_reuses_an_old_model_keeps_it(home, small):
    trained, later = small.train(small.ctx("one")), small.ctx("two")
    client = runs.client(home.settings)
    (item,) = home.plan("model").values()
    client.set_tag(later.mlflow_run, "airloom.reused.train", trained.mlflow_run)
    rules = home.rules(29.9)
    reused = {one.name: one.why for one in models(home.settings, rules, find_in_use(home.settings, rules))}
    assert "younger than the retention" in reused[trained.model_uri]
    assert item.goes  # in sixty days nobody reuses it


def test_without_mlflow_nothing_is_planned(home, small, monkeypatch):
    small.register("one")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = replace(home.settings, tracking_uri="http://127.0.0.1:9")
    with pytest.raises(MlflowAway):
        find_in_use(away, home.rules(60))
