"""Who may write under a name in an MLflow: the first installation, and no other one of that name."""

import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from airloom import home
from airloom.cli.main import app
from airloom.errors import ConfigError
from airloom.settings import Settings
from airloom.tracking import claim as claims
from airloom.tracking import runs
from airloom.tracking.claim import claim, look, take_over


@pytest.fixture(autouse=True)
def _anew(monkeypatch):
    monkeypatch.setattr(claims, "_claimed", set())
    for name in ("AIRLOOM_NAMESPACE", "AIRLOOM_DATABASE", "AIRLOOM_TRACKING_URI"):
        monkeypatch.setenv(name, "")


@pytest.fixture
def mlflow(migrated, tmp_path):
    """The address of a store that all share."""
    shutil.copy(migrated, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def make(mlflow, tmp_path):
    def new(folder: str, namespace: str = "", **values) -> Settings:
        return Settings(home=tmp_path / folder, namespace=namespace, tracking_uri=mlflow, **values)

    return new


def claimed(settings):
    claim(settings, runs.client(settings))


def test_the_first_one_has_the_name_and_may_come_again(make):
    for name in ("", "production"):
        settings = make(f"home{name}", name)
        claimed(settings)
        claims._claimed.clear()
        claimed(replace(settings, namespace=""))
        found = look(settings, runs.client(settings), claims.known_id(settings))
        assert found.holder == found.id == home.installation(settings.home).id
    assert runs.client(settings).get_experiment_by_name("airloom-installation.production")
    assert runs.client(settings).get_experiment_by_name("airloom-installation")


@pytest.mark.parametrize("name", ["", "production"])
def test_a_second_one_of_the_name_is_refused_with_what_to_do(make, name):
    claimed(make("one", name))
    with pytest.raises(ConfigError, match=r"two may not write to MLflow at .* is another one there") as caught:
        claimed(make("two", name))
    assert "AIRLOOM_NAMESPACE=<a name of its own>" in caught.value.hint
    assert "--take-over" in caught.value.hint
    claimed(make("three", "other"))


def test_a_state_folder_of_before_keeps_its_runs_and_a_new_one_does_not_come_first(make):
    """Production has not been started with this release yet; development must not take its (empty) name away."""
    old = make("old")
    (old.home / "data").mkdir(parents=True)
    old.home.chmod(0o700)
    runs.client(old).create_experiment("airloom/digits")
    with pytest.raises(ConfigError, match="it holds the experiment airloom/digits of the installation without a name"):
        claimed(make("new"))
    claimed(make("named", "development"))
    claimed(old)
    assert home.installation(old.home).earlier
    assert (
        runs.ensure_parent(old, "digits", "digits/one", {})[0] == runs.ensure_parent(old, "digits", "digits/two", {})[0]
    )
    assert runs.experiment_name(old, "digits") == "airloom/digits"


def test_of_two_at_once_one_is_refused(make):
    both = [make("one"), make("two")]
    runs.client(both[0])

    def act(settings):
        try:
            claimed(settings)
        except ConfigError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(act, both)) == [False, True]


def test_state_folders_that_share_a_database_are_one_installation(make, tmp_path):
    shared = f"sqlite:///{tmp_path / 'shared.db'}"
    first, second = (make(folder, "production", database=shared) for folder in ("worker1", "worker2"))
    claimed(first)
    claimed(second)
    assert claims.known_id(first) == claims.known_id(second) == home.installation(first.home).id
    other = make("other", "development", database=shared)
    with pytest.raises(
        ConfigError, match=r"is of the installation production, the state folder .* development"
    ) as caught:
        claimed(other)
    assert "AIRLOOM_DATABASE" in caught.value.hint


def test_who_is_gone_for_ever_loses_the_name_to_a_command(make, mlflow, monkeypatch):
    claimed(make("lost", "production"))
    anew = make("anew", "production")
    anew.make_home()
    monkeypatch.setenv("AIRLOOM_HOME", str(anew.home))
    monkeypatch.setenv("AIRLOOM_TRACKING_URI", mlflow)
    shown = CliRunner().invoke(app, ["installation"])
    assert "is of the installation production\n" in shown.stdout
    assert "is another one there" in shown.stdout
    with pytest.raises(ConfigError):
        claimed(anew)
    said = CliRunner().invoke(app, ["installation", "--take-over", "--json"])
    assert json.loads(said.stdout)["problem"] == ""
    claimed(anew)


def test_a_claim_that_somebody_deleted_in_mlflow_still_holds(make):
    settings = make("one", "production")
    claimed(settings)
    client = runs.client(settings)
    client.delete_experiment(client.get_experiment_by_name("airloom-installation.production").experiment_id)
    claims._claimed.clear()
    claimed(settings)
    second = make("two", "production")
    with pytest.raises(ConfigError, match="another one there"):
        claimed(second)
    take_over(second, client)
    assert client.get_experiment_by_name("airloom-installation.production").lifecycle_stage == "active"


def test_a_wrong_variable_is_refused_at_every_door(make, monkeypatch, mlflow):
    settings = make("one", "production")
    settings.make_home()
    monkeypatch.setenv("AIRLOOM_HOME", str(settings.home))
    monkeypatch.setenv("AIRLOOM_NAMESPACE", "development")
    for command in (["jobs", "list"], ["model", "list"], ["dataset", "list"], ["doctor"], ["installation"]):
        said = CliRunner().invoke(app, command)
        assert isinstance(said.exception, ConfigError)
        assert "AIRLOOM_NAMESPACE=development, but the state folder" in said.exception.message


def test_the_embedded_database_needs_no_table_for_it(make):
    settings = make("one", "production")
    claimed(settings)
    file = settings.home / "airloom.db"
    assert not file.exists() or "installations" not in str(
        sqlite3.connect(file).execute("SELECT * FROM sqlite_master").fetchall()
    )
