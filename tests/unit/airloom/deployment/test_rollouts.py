"""A rollout's way through the record, the aliases and the tag of its version."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from airloom.deployment import rollouts, tallies
from airloom.deployment.desired import desired
from airloom.deployment.judge import GO_ON, HOLD, KEEP, ROLL_BACK, Verdict
from airloom.deployment.record import BY_HAND, INTERRUPTED, Deployment, adopt, current, deploy
from airloom.deployment.rollout import CANARY, SHADOW, Counts, Limits, Rollout, Stage
from airloom.errors import ConfigError, RegistryError
from airloom.registry import models
from airloom.spec.pipeline import Pipeline
from airloom.tracking import runs
from airloom.tracking.tags import Tag

STAGES = [Stage(SHADOW, 1.0, 10, 60.0), Stage(CANARY, 0.1, 10, 60.0)]


@pytest.fixture
def two(small):
    """A champion, version 1, a second version, and a server that may be asked."""
    small.settings.server_url = "http://127.0.0.1:1"
    first, second = (small.register(key).version for key in ("one", "two"))
    deploy(small.settings, "small", first)
    return small, first, second


def begin(small, version) -> Deployment:
    return rollouts.begin(small.settings, "small", Rollout(version, STAGES, by="Ada"))


def move(small, record, action, counts=None):
    return rollouts.go_on(
        small.settings, "small", record.generation, Verdict(action, "so it is", []), counts or Counts()
    )


def aliases(small):
    return {name: str(v) for name, v in runs.client(small.settings).get_registered_model("small").aliases.items()}


def endings(small, version):
    return rollouts.endings_of(small.settings, "small", version)


def test_it_goes_from_stage_to_stage_and_becomes_the_champion(two):
    small, first, second = two
    begun = begin(small, second)
    assert (begun.champion, begun.rollout.version, begun.rollout.stage.role, begun.by) == (first, second, SHADOW, "Ada")
    assert aliases(small) == {"champion": first, "shadow": second}
    assert begin(small, second) == begun  # asked again, it is the same
    assert move(small, begun, HOLD) is None
    canary = move(small, begun, GO_ON)
    assert canary.rollout.stage.role == CANARY
    assert aliases(small) == {"champion": first, "canary": second}
    assert rollouts.ended(small.settings, "small", second, begun.generation) is None
    assert move(small, begun, ROLL_BACK) is None  # judged by another server, before the record moved
    done = move(small, canary, GO_ON, Counts(requests=12))
    assert (done.champion, done.previous, done.rollout) == (second, first, None)
    assert aliases(small) == {"champion": second, "previous": first}
    ended = rollouts.ended(small.settings, "small", second, begun.generation)
    assert (ended.outcome, ended.promoted) == (rollouts.PROMOTED, True)
    (told,) = endings(small, second)
    assert (told["ended"], told["stage"], told["counts"]) == ("promoted: so it is", "canary 10%", {"requests": 12})


@pytest.mark.parametrize(("action", "outcome"), [(ROLL_BACK, rollouts.ROLLED_BACK), (KEEP, rollouts.INCONCLUSIVE)])
def test_who_is_taken_back_leaves_the_champion(two, action, outcome):
    small, first, second = two
    begun = begin(small, second)
    after = move(small, begun, action)
    assert (after.champion, after.rollout, after.generation) == (first, None, begun.generation + 1)
    assert aliases(small) == {"champion": first}
    ended = rollouts.ended(small.settings, "small", second, begun.generation)
    assert (ended.outcome, ended.reason, ended.promoted) == (outcome, "so it is", False)
    again = begin(small, second)  # a person may try it once more
    assert rollouts.ended(small.settings, "small", second, again.generation) is None


def test_a_second_deployment_is_refused_and_the_first_can_be_stopped(two):
    small, first, second = two
    third = small.register("three").version
    begin(small, second)
    for refused in (lambda: begin(small, third), lambda: deploy(small.settings, "small", third)):
        with pytest.raises(
            RegistryError, match=f"version {second} as shadow 100%, stage 1 of 2 is on its way"
        ) as error:
            refused()
        assert "airloom deploy stop small" in error.value.hint
    assert rollouts.roll_back(small.settings, "small").champion == first  # it takes back what is on its way
    assert [end["ended"] for end in endings(small, second)] == ["stopped"]
    with pytest.raises(RegistryError, match="no version is on its way"):
        rollouts.stop(small.settings, "small")
    begin(small, third)


@pytest.fixture
def asked(small):
    """A champion whose pipeline asks for evidence, and a version that nobody judged: made with MLflow alone."""
    values = small.pipeline.model_dump(mode="json", by_alias=True, exclude_unset=True)
    small.pipeline = Pipeline.model_validate(values | {"deploy": {"by_hand": "evidence"}})
    first = small.register("one").version
    assert deploy(small.settings, "small", first).evidence
    files = models.uri_of(models.get_version(small.settings, "small", first))
    return small, first, str(runs.client(small.settings).create_model_version("small", files).version)


def test_where_evidence_is_asked_a_version_without_it_is_put_back(asked):
    small, first, plain = asked
    client = runs.client(small.settings)
    client.set_registered_model_alias("small", "champion", plain)
    wanted = desired(client, "")["small"]
    assert (wanted.champion, wanted.alias, wanted.is_moved) == (first, plain, True)  # it never serves
    after = adopt(small.settings, "small")
    assert (after.champion, after.by, after.generation) == (first, BY_HAND, 2)
    assert after.put_back.startswith(f"version {plain} was made the champion by hand and is put back: ")
    assert aliases(small) == {"champion": first}
    (told,) = json.loads(client.get_model_version("small", plain).tags[Tag.ROLLOUT])
    assert (told["ended"].partition(": ")[0], told["stage"], told["generation"]) == ("put back", "by hand", 2)
    assert adopt(small.settings, "small") is None
    assert Deployment.from_dict(after.to_dict()) == after


def test_where_evidence_is_asked_a_version_with_it_is_adopted(asked):
    small, first, plain = asked
    client, second = runs.client(small.settings), small.register("two").version
    client.set_registered_model_alias("small", "champion", plain)
    assert adopt(small.settings, "small").put_back
    client.set_registered_model_alias("small", "champion", second)
    after = adopt(small.settings, "small")
    assert (after.champion, after.previous, after.by) == (second, first, BY_HAND)
    assert (after.put_back, after.evidence) == ("", True)


def test_a_rollout_goes_on_where_another_version_is_put_back(asked):
    small, _, plain = asked
    small.settings.server_url = "http://127.0.0.1:1"
    begun = begin(small, small.register("two").version)
    runs.client(small.settings).set_registered_model_alias("small", "champion", plain)
    assert adopt(small.settings, "small").rollout == begun.rollout


def test_without_a_champion_it_serves_at_once_and_without_a_server_not_at_all(small):
    first, second = (small.register(key).version for key in ("one", "two"))
    assert begin(small, first).champion == first
    with pytest.raises(ConfigError, match="no model server was started here"):
        begin(small, second)
    assert rollouts.begin(small.settings, "small", Rollout(second, [])).champion == second


def test_an_alias_moved_by_hand_is_a_generation_and_ends_a_rollout(two):
    small, first, second = two
    third = small.register("three").version
    begun = begin(small, second)
    assert adopt(small.settings, "small") is None
    client = runs.client(small.settings)
    client.set_registered_model_alias("small", "champion", third)
    wanted = desired(client, "")["small"]
    assert (wanted.champion, wanted.rollout, wanted.is_moved) == (third, None, True)
    assert move(small, begun, GO_ON) is None  # nobody judged it beside that champion
    after = adopt(small.settings, "small")
    assert (after.champion, after.previous, after.by, after.rollout) == (third, first, BY_HAND, None)
    assert after.generation == begun.generation + 1
    assert [end["ended"] for end in endings(small, second)] == ["another champion, by hand"]
    ended = rollouts.ended(small.settings, "small", second, begun.generation)
    assert ended.outcome == "another champion, by hand"
    assert aliases(small) == {"champion": third, "previous": first}
    client.delete_registered_model_alias("small", "champion")
    assert adopt(small.settings, "small").champion == ""
    assert deploy(small.settings, "small", second).champion == second


def test_a_deployment_that_was_killed_before_its_alias_is_taken_back_by_that_name(two):
    small, first, second = two
    record = current(small.settings, "small")
    half = record.with_(generation=record.generation + 1, champion=second, previous=first)
    runs.client(small.settings).set_registered_model_tag("small", Tag.DEPLOYMENT, json.dumps(half.to_dict()))
    after = adopt(small.settings, "small")
    assert (after.champion, after.by, after.generation) == (first, INTERRUPTED, half.generation + 1)


def test_a_rollout_that_no_server_ends_is_ended_by_whoever_looks(two):
    small, _, second = two
    begun = begin(small, second)
    old = begun.rollout.with_(since=(datetime.now(UTC) - timedelta(hours=1)).isoformat())
    tag = json.dumps(begun.with_(rollout=old).to_dict())
    runs.client(small.settings).set_registered_model_tag("small", Tag.DEPLOYMENT, tag)
    ended = rollouts.ended(small.settings, "small", second, begun.generation)
    assert (ended.outcome, ended.reason) == (rollouts.INCONCLUSIVE, "no model server judged it in time; 0 requests")


def test_counts_of_servers_are_added_and_those_of_earlier_generations_go(two):
    small, _, second = two
    begun, address = begin(small, second), small.settings.database_address
    tallies.write(address, "a", "small", begun.generation, Counts(requests=3, errors=1))
    tallies.write(address, "b", "small", begun.generation, Counts(requests=4))
    tallies.write(address, "a", "small", begun.generation, Counts(requests=5, errors=1))
    assert tallies.total(address, "small", begun.generation) == Counts(requests=9, errors=1)
    stands = rollouts.standing(small.settings, "small")
    assert (stands.counts.requests, stands.verdict.action) == (9, HOLD)
    tallies.write(address, "a", "small", begun.generation + 1, Counts(requests=1))
    assert tallies.total(address, "small", begun.generation) == Counts()


def test_a_tag_that_is_no_record_is_told_and_its_alias_serves_on(two):
    small, first, _ = two
    client = runs.client(small.settings)
    for text in ("{", "[]", '{"rollout": {"version": "2"}}', '{"color": 1}'):
        client.set_registered_model_tag("small", Tag.DEPLOYMENT, text)
        with pytest.raises(RegistryError, match=r"airloom\.deployment is no deployment record"):
            current(small.settings, "small")
        wanted = desired(client, "")["small"]
        assert (wanted.champion, wanted.is_moved, "no deployment record" in wanted.problem) == (first, False, True)


def test_a_record_reads_what_it_writes():
    rollout = Rollout("3", STAGES, Limits(p99_ms=5.0), 1, "2026-11-30T00:00:00+00:00", "Ada")
    record = Deployment(4, "2", "1", "2026-11-30T00:00:00+00:00", "Ada", rollout)
    assert Deployment.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    assert set(Deployment(1, "2").to_dict()) == {"generation", "champion", "previous", "at"}  # as earlier releases read
