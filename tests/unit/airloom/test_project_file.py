"""`airloom.toml`: found upward, read exactly, and refused with the key and what to do."""

from pathlib import Path

import pytest

from airloom import project_file
from airloom.errors import ConfigError
from airloom.settings import load


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "PROJECT", "DEVICES", "DATA_REMOTE", "CONFINE_JOBS", "PREDICTION_LOG_SHARE"):
        monkeypatch.delenv(f"AIRLOOM_{name}", raising=False)
    folder = tmp_path / "shop"
    (folder / "deep" / "down").mkdir(parents=True)
    (folder / project_file.FILE).write_text("")
    monkeypatch.chdir(folder / "deep" / "down")
    return folder.resolve()


def test_project_and_home_are_found_upward(project: Path) -> None:
    settings = load()
    assert (settings.project, settings.home) == (project, project / ".airloom")
    assert not settings.home.exists()  # to look makes nothing


def test_of_nested_projects_the_nearer_one_counts(project: Path) -> None:
    inner = project / "deep"
    (inner / project_file.FILE).write_text('home = "state"')
    assert (load().project, load().home) == (inner, inner / "state")


def test_the_file_says_what_variables_say_and_a_variable_wins(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'data_remote = "https://git.example.org/data"\ndevices = 3\nconfine_jobs = false\nprediction_log_share = 1'
    (project / project_file.FILE).write_text(text)
    settings = load()
    assert settings.data_remote == "https://git.example.org/data"
    assert (settings.devices, settings.confine_jobs, settings.prediction_log_share) == (3, False, 1.0)
    monkeypatch.setenv("AIRLOOM_DEVICES", "5")
    assert load().devices == 5


def test_a_changed_file_is_read_again(project: Path) -> None:
    (project / project_file.FILE).write_text("devices = 1")
    assert load().devices == 1
    (project / project_file.FILE).write_text("devices = 12")
    assert load().devices == 12


def test_a_named_project_is_not_searched_for(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("AIRLOOM_PROJECT", str(other))
    assert load().project == other.resolve()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("devises = 2", r"unknown key 'devises'; did you mean 'devices'\?\n  -> the keys are home, "),
        ("[stack]\nport = 1", "unknown key 'stack'"),
        ('devices = "2"', "devices = '2' is wrong\n  -> give a whole number"),
        ("devices = true", "devices = True is wrong"),
        ("devices = -1", "devices = -1: must be a whole number, 0 or more"),
        ("prediction_log_share = 1.5", "prediction_log_share = 1.5: must be a number from 0 to 1"),
        ("home = 3", "home = 3 is wrong"),
        ('server_token = "x"', "server_token is a secret.*\n  -> set AIRLOOM_SERVER_TOKEN"),
        ('database = "postgresql://me:pw@db/airloom"', "database holds a password.*\n  -> set AIRLOOM_DATABASE"),
        ("devices = ", "no TOML"),
    ],
)
def test_what_it_cannot_say_is_refused(project: Path, text: str, told: str) -> None:
    (project / project_file.FILE).write_text(text)
    with pytest.raises(ConfigError, match=rf"airloom\.toml.*{told}"):
        load()


def test_relative_paths_count_from_the_project_not_from_the_working_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / project_file.FILE).write_text(
        'home = "state"\ndata_remote = "../data.git"\ndvc_remote = "rows"\ntrusted_keys = "keys.json"\n'
        'database = "sqlite:///tables.db"\nmlflow_store = "sqlite:///~/ml.db"\ntracking_uri = "sqlite:///ml.db?x=1"\n'
        'job_python = "venv/bin/python"\n'
    )
    (project / "venv" / "bin").mkdir(parents=True)
    (project / "venv" / "bin" / "python").symlink_to("/usr/bin/python3")
    settings, root = load(), str(project)
    assert (settings.home, settings.trusted_keys) == (project / "state", f"{root}/keys.json")
    assert (settings.data_remote, settings.dvc_remote) == (str(project.parent / "data.git"), f"{root}/rows")
    assert (settings.database, settings.tracking_uri) == (f"sqlite:///{root}/tables.db", f"sqlite:///{root}/ml.db?x=1")
    assert settings.mlflow_store == f"sqlite:///{Path('~').expanduser().resolve()}/ml.db"
    assert settings.job_python == f"{root}/venv/bin/python"  # not where the link leads: that is another environment
    here = project / "deep" / "down"
    for name, value in (("DATA_REMOTE", "data.git"), ("DATABASE", "sqlite:///tables.db"), ("JOB_PYTHON", "bin/python")):
        monkeypatch.setenv(f"AIRLOOM_{name}", value)
    settings = load()
    assert (settings.data_remote, settings.job_python) == (str(here / "data.git"), str(here / "bin" / "python"))
    assert settings.database == f"sqlite:///{here}/tables.db"


def test_postgresql_without_a_driver_means_the_one_that_is_installed(project: Path) -> None:
    (project / project_file.FILE).write_text(
        'database = "postgresql://db.example.org/airloom"\nmlflow_store = "postgres://db.example.org/mlflow"'
    )
    assert load().database == "postgresql+psycopg2://db.example.org/airloom"
    assert load().mlflow_store == "postgresql+psycopg2://db.example.org/mlflow"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data_remote", "git@git.example.org:data.git"),
        ("dvc_remote", "s3://team-data/dvc"),
        ("database", "postgresql+psycopg://db.example.org/airloom"),
        ("database", "sqlite:////var/lib/airloom.db"),
        ("tracking_uri", "https://mlflow.example.org"),
        ("job_python", "python3.12"),
    ],
)
def test_an_address_stays_as_it_is(project: Path, name: str, value: str) -> None:
    (project / project_file.FILE).write_text(f'{name} = "{value}"')
    assert getattr(load(), name) == value
