"""Where a setting comes from, and what is said of one that cannot be."""

from pathlib import Path

import pytest

from airloom.errors import ConfigError
from airloom.setting_sources import Given
from airloom.settings import Settings, load


def test_the_environment_names_what_is_not_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "there"))
    monkeypatch.setenv("AIRLOOM_DEVICES", "4")
    monkeypatch.setenv("AIRLOOM_CONFINE_JOBS", "false")
    monkeypatch.setenv("AIRLOOM_NO_SUCH_SETTING", "x")  # stacks put marks of their own beside them
    monkeypatch.setenv("AIRLOOM_PROJECT", "")  # as if it were not set
    assert load() == Settings(home=tmp_path / "there", devices=4, confine_jobs=False)
    assert Settings(home=tmp_path).home == tmp_path.resolve()
    assert Settings(home=tmp_path, devices=1).devices == 1


def test_folders_are_absolute_and_know_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found = Settings(home=Path("~/state"), project=Path("project"))
    assert (found.home, found.project) == (tmp_path.resolve() / "state", tmp_path.resolve() / "project")


def test_another_process_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = Settings(home=tmp_path, project=tmp_path, data_remote="x", tracking_uri="http://127.0.0.1:9")
    for name, value in first.as_environment().items():
        monkeypatch.setenv(name, value)
    assert load().as_environment() == first.as_environment()


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("AIRLOOM_DEVICES", "many", "a whole number"),
        ("AIRLOOM_PREDICTION_LOG_SHARE", "1.5", "from 0 to 1"),
        ("AIRLOOM_DEVICES", "-1", "0 or more"),
        ("AIRLOOM_PREDICTION_LOG_SHARE", "nan", "from 0 to 1"),
        ("AIRLOOM_PREDICTION_LOG_SHARE", "half", "from 0 to 1"),
        ("AIRLOOM_PREDICTION_LOG_SHARE", "-0.1", "from 0 to 1"),
        ("AIRLOOM_PREDICTION_LOG_DAYS", "-1", "0 or more"),
        ("AIRLOOM_PREDICTION_LOG_GB", "inf", "0 or more"),
        ("AIRLOOM_CONFINE_JOBS", "perhaps", "one of 1, true, .*, off"),
    ],
)
def test_a_value_that_cannot_be_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, why: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=f"{variable}={value}: .*{why}.*\n.*unset it"):
        load()


def test_an_unknown_setting_is_an_error() -> None:
    with pytest.raises(TypeError, match="hime"):
        Settings(hime=Path())  # type: ignore[call-arg] # that is what is tried


def test_a_home_of_nobody_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRLOOM_HOME", "~no-such-user/state")
    with pytest.raises(ConfigError, match="~no-such-user/state"):
        load()


def test_no_text_shows_a_secret(tmp_path: Path) -> None:
    secrets = {"server_token": "s3", "airflow_password": "s3", "airflow_token": "s3"}
    assert "s3" not in repr(Settings(home=tmp_path, project=tmp_path, **secrets))


def test_what_is_given_comes_first_and_says_whose_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "there"))
    monkeypatch.setenv("AIRLOOM_TRACKING_URI", "http://127.0.0.1:1")
    given = Given({"tracking_uri": "http://127.0.0.1:2", "mlflow_token": "t"}, "connection shop")
    settings = load(given)
    assert (settings.home, settings.tracking_uri) == (tmp_path / "there", "http://127.0.0.1:2")
    assert settings.as_environment()["MLFLOW_TRACKING_TOKEN"] == "t"
    assert load().tracking_uri == "http://127.0.0.1:1"
    with pytest.raises(ConfigError, match=r"connection shop: namespace = A B: .*\n.*mend the connection"):
        load(Given({"namespace": "A B"}, "connection shop"))


def test_a_given_project_is_not_mixed_with_the_environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HOME", "DATABASE", "DATA_REMOTE", "PROJECT"):
        monkeypatch.setenv(f"AIRLOOM_{name}", str(tmp_path / "another"))
    (tmp_path / "shop").mkdir()
    settings = load(Given({"project": str(tmp_path / "shop")}, "connection shop"))
    assert settings == Settings(
        home=tmp_path / "shop" / ".airloom", project=tmp_path / "shop", data_remote="", database="", tracking_uri=""
    )
