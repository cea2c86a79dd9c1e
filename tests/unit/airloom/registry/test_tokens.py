import contextlib
import json
import stat

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from typer.testing import CliRunner

from airloom.cli.main import app
from airloom.errors import ConfigError, CorruptFile
from airloom.registry import tokens
from airloom.settings import Settings


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path / "home", project=tmp_path)


def test_a_token_is_made_once_and_only_its_digest_is_kept(settings):
    made, text = tokens.create(settings, "web-shop", ["predict:digits", "admin"], "2090-01-31", 2.5)
    file = tokens.file_of(settings)
    assert text.startswith("airloom_")
    assert len(text) > 50
    assert text not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert tokens.read(file) == [made]
    assert made.digest == tokens.digest_of(text.encode()).hex()
    assert (made.ends, made.rate, made.burst, made.state) == ("2090-01-31T00:00:00+00:00", 2.5, 3, "good")
    assert "digest" not in made.shown()


def test_a_token_is_taken_back_by_id_or_by_a_name_that_one_has(settings):
    first, _ = tokens.create(settings, "shop")
    second, _ = tokens.create(settings, "shop")
    with pytest.raises(ConfigError, match="2 tokens are called 'shop'"):
        tokens.revoke(settings, "shop")
    assert tokens.revoke(settings, first.id[:9]).state == "revoked"
    assert tokens.revoke(settings, "shop").id == second.id
    assert [token.state for token in tokens.read(tokens.file_of(settings))] == ["revoked", "revoked"]
    for wrong in ("shop", "", first.id):
        with pytest.raises(ConfigError, match="there is no token"):
            tokens.revoke(settings, wrong)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"name": " "}, "is no name of a token"),
        ({"name": "a\nb"}, "is no name of a token"),
        ({"scopes": []}, "without a scope"),
        ({"scopes": ["predict", "root"]}, "no scope 'root'"),
        ({"scopes": ["predict:"]}, "no scope 'predict:'"),
        ({"scopes": ["predict:digits/3"]}, "no scope"),
        ({"scopes": ["admin:digits"]}, "no scope"),
        ({"ends": "soon"}, "--ends 'soon' is no date"),
        ({"ends": "2001-01-01"}, "is past"),
        ({"ends": "9999-12-31T23:59:59-12:00"}, "is no date"),
        ({"rate": 0.0}, "--rate 0.0"),
        ({"rate": float("nan")}, "--rate nan"),
        ({"rate": 1.0, "burst": 0}, "--burst 0"),
        ({"burst": 3}, "has no --rate"),
    ],
)
def test_what_a_token_cannot_be_is_refused(settings, arguments, wanted):
    with pytest.raises(ConfigError, match=wanted):
        tokens.create(settings, **{"name": "shop", **arguments})
    assert not tokens.file_of(settings).exists()


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"scopes": ["root"]}, "no scope 'root'"),
        ({"scopes": "predict"}, "another type"),
        ({"digest": "00"}, "another digest"),
        ({"id": "0" * 16}, "another digest"),
        ({"rate": -1}, "the rate"),
        ({"rate": 1e999}, "the rate"),
        ({"rate": 5, "burst": 0}, "the burst"),
        ({"ends": "2030-01-01"}, "no time zone"),
        ({"more": 1}, "more"),
    ],
)
def test_a_damaged_file_is_refused_as_a_whole(settings, change, wanted):
    made, _ = tokens.create(settings, "shop")
    file = tokens.file_of(settings)
    whole = {"tokens": [made.to_dict(), made.to_dict() | change]}
    file.write_text(json.dumps(whole))
    with pytest.raises(CorruptFile, match=wanted):
        tokens.read(file)
    with pytest.raises(CorruptFile):
        tokens.create(settings, "other")
    assert json.loads(file.read_text()) == json.loads(json.dumps(whole))


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda one: st.lists(one), max_leaves=5)


@examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["id", "name", "digest", "scopes", "since", "ends", "rate", "burst"]), JSON))
def test_whatever_stands_there_is_read_or_refused(tmp_path_factory, values):
    file = tmp_path_factory.mktemp("tokens") / tokens.FILE
    for text in (json.dumps({"tokens": [values]}), json.dumps(list(values.values())), json.dumps({"tokens": values})):
        file.write_text(text)
        with contextlib.suppress(CorruptFile):
            assert tokens.read(file) == []


def test_the_commands(settings, monkeypatch):
    monkeypatch.setenv("AIRLOOM_HOME", str(settings.home))

    def run(*arguments):
        done = CliRunner().invoke(app, ["token", *arguments], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    assert run("list") == "no tokens but the stack's own\n"
    made = json.loads(run("create", "shop", "--scope", "predict:digits", "--rate", "5", "--burst", "9", "--json"))
    assert made["token"].startswith("airloom_")
    assert run("create", "other").startswith("airloom_")
    first, second = run("list").splitlines()
    assert first.split()[:3] == [made["id"], "shop", "predict:digits"]
    assert "5/s, 9 at once" in first
    assert second.split()[1:3] == ["other", "predict"]
    assert run("revoke", made["id"]) == f"{made['id']} (shop) is revoked\n"
    assert [one["state"] for one in json.loads(run("list", "--json"))] == ["revoked", "good"]
