"""`airloom model`: what there is, what a version carries, promotions and their losers, over a real registry."""

import json
import threading

import pytest
from typer.testing import CliRunner

from airloom.cli.models import app
from airloom.contracts import Decision, Evaluation
from airloom.deployment.record import current, deploy
from airloom.deployment.rollouts import roll_back
from airloom.errors import MlflowAway, RegistryError
from airloom.registry import models, register
from airloom.tracking import runs
from airloom.tracking.tags import READY, Tag

REFUSED = Decision(False, ["REFUSED: accuracy 0.1, at least 0.5"], "e", None)


@pytest.fixture
def two(small):
    """Versions 1 and 2, deployed one after the other."""
    for key in ("one", "two"):
        deploy(small.settings, "small", small.register(key).version)
    return small


def run(small, monkeypatch, *arguments):
    monkeypatch.setenv("AIRLOOM_HOME", str(small.settings.home))
    return CliRunner().invoke(app, list(arguments))


def test_a_version_is_found_by_number_by_alias_and_as_champion(two):
    found = {name: models.find(two.settings, name).version for name in ("small/1", "small@previous", "small")}
    assert {name: str(version) for name, version in found.items()} == {
        "small/1": "1",
        "small@previous": "1",
        "small": "2",
    }


def test_all_models_and_versions_are_listed_however_few_mlflow_tells_at_once(two, monkeypatch):
    runs.client(two.settings).create_registered_model("another")
    monkeypatch.setattr(runs, "PAGE", 1)
    listed = {model.name: [v.version for v in model.versions] for model in models.list_models(two.settings)}
    assert listed == {"another": [], "small": ["2", "1"]}


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("small/9", "no version 9"),
        ("small@canary", "no alias 'canary'\n  -> it has"),
        ("other", "no registered model other"),
        ("../../etc/passwd", "names no model version"),
        ("small/../1", "names no model version"),
        ("small/1 or 1=1", "names no model version"),
        ("small'--", "names no model version"),
        ("", "names no model version"),
        ("a" * 500, "names no model version"),
        ("small/" + "9" * 30, "names no model version"),
    ],
)
def test_what_names_no_version_is_said(two, reference, says):
    with pytest.raises(RegistryError) as refusal:
        models.find(two.settings, reference)
    assert says in str(refusal.value)


def test_list_and_show_say_where_a_version_comes_from(two, monkeypatch):
    listed = run(two, monkeypatch, "list").output
    assert "small/2" in listed
    assert "@champion" in listed
    assert "@previous" in listed
    shown = models.show(two.settings, "small")
    assert shown.aliases == ["champion"]
    assert shown.metrics == {"accuracy": 1.0}
    assert shown.parameters == {"width": 8}
    assert shown.tags[Tag.DATASET] == "digits@v1"
    assert "extra_files/model.onnx" in shown.digests
    assert shown.tags[Tag.STUDY] == "small/two"
    assert json.loads(run(two, monkeypatch, "show", "small", "--json").output)["digests"] == shown.digests
    assert "extra_files/model.onnx" in run(two, monkeypatch, "show", "small/1").output


def test_rollback_serves_the_previous_version_and_again_goes_forth(two, monkeypatch):
    assert (
        "small version 1 is the champion, version 2 is the previous one"
        in run(two, monkeypatch, "rollback", "small").output
    )
    assert roll_back(two.settings, "small").champion == "2"
    assert "small version 1 is the champion" in run(two, monkeypatch, "promote", "small/1").output
    assert current(two.settings, "small").generation == 5


def test_without_a_previous_one_nothing_is_rolled_back(small):
    deploy(small.settings, "small", small.register("one").version)
    with pytest.raises(RegistryError, match="no previous champion"):
        roll_back(small.settings, "small")


def test_diff_names_what_differs_and_nothing_else(two, monkeypatch):
    found = models.diff(two.settings, "small/1", "small/2").values
    assert found["version"] == ("1", "2")
    assert found["pipeline_run"] == ("small/one", "small/two")
    assert not [name for name in found if name.startswith(("metrics", "parameters", "dataset", "code"))]
    assert "nothing differs" in run(two, monkeypatch, "diff", "small/1", "small/1").output


def test_a_version_is_complete_from_its_first_moment(small, monkeypatch):
    """MLflow goes away at each of the calls that registration makes; nothing half-registered is ever visible."""
    from mlflow import MlflowClient
    from requests.exceptions import ConnectionError as Refused

    trained = small.train(small.ctx())
    arguments = (small.settings, small.ctx(), trained, Evaluation({"accuracy": 1.0}, "", {}, "p", 10))
    decision = Decision(True, ["passed"], "e", None)
    for call in ("create_registered_model", "create_model_version", "search_model_versions"):
        for after in (False, True):
            with monkeypatch.context() as patch:
                real = getattr(MlflowClient, call)

                def away(self, *args, _real=real, _after=after, **kwargs):
                    if _after:
                        _real(self, *args, **kwargs)
                    raise Refused("gone")

                patch.setattr(MlflowClient, call, away)
                with pytest.raises(MlflowAway):
                    register.register(*arguments, decision)
            seen = runs.client(small.settings).search_model_versions("name = 'small'")
            assert all(version.tags.get(Tag.STATE) == READY for version in seen)
            assert len(seen) <= 1
    first = register.register(*arguments, decision)
    assert register.register(*arguments, decision) == first
    assert len(runs.client(small.settings).search_model_versions("name = 'small'")) == 1


def test_the_same_candidate_registered_by_several_at_once_is_one_version(small):
    trained = small.train(small.ctx())
    evaluation, decision = Evaluation({"accuracy": 1.0}, "", {}, "p", 10), Decision(True, ["passed"], "e", None)
    context, results, barrier = small.ctx(), [], threading.Barrier(4)

    def one():
        barrier.wait()
        results.append(register.register(small.settings, context, trained, evaluation, decision))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert len({result.version for result in results}) == 1
    assert len(models.list_versions(small.settings, "small")) == 1


def test_an_overridden_candidate_says_who_let_it_through(small, monkeypatch):
    trained = small.train(small.ctx())
    approval = {"by": "Ada", "reason": "the champion leaks labels", "at": "2026-01-01"}
    arguments = (small.settings, small.ctx(), trained, Evaluation({"accuracy": 0.1}, "", {}, "p", 10))
    for lacking in ({}, {"by": "Ada"}, {"by": "", "reason": "because"}):
        with pytest.raises(RegistryError, match="the gate refused"):
            register.register(*arguments, REFUSED.with_(override=lacking))
    made = register.register(*arguments, REFUSED.with_(override=approval))
    assert models.show(small.settings, f"small/{made.version}").override == approval
    version = models.get_version(small.settings, "small", made.version)
    assert "Let through by Ada" in version.description
    assert "overridden" in run(small, monkeypatch, "list").output
