"""The state folder: who may enter it, whose it is, and of which release."""

import json
import stat
from pathlib import Path

import pytest

from airloom import home, schema
from airloom.errors import ConfigError, CorruptFile, StateError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def test_a_new_one_is_its_owners_only_ignores_itself_and_knows_its_release(tmp_path: Path) -> None:
    folder = home.make(tmp_path / "deep" / "home")
    assert mode(folder) == 0o700
    assert (folder / ".gitignore").read_text() == "*\n"
    assert json.loads((folder / "schema.json").read_text())["schema"] == schema.VERSION
    before = everything(folder)
    assert home.make(folder) == folder
    assert everything(folder) == before


@pytest.mark.parametrize("name", ["", "airloom.db", "data", "jobs"])
def test_one_that_others_could_enter_is_tightened(tmp_path: Path, name: str) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    (tmp_path / "home").chmod(0o755)
    if name:
        (tmp_path / "home" / name).mkdir()
    home.make(tmp_path / "home")
    assert mode(tmp_path / "home") == 0o700


def test_a_folder_of_other_things_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigError, match="it holds other things") as caught:
        home.make(tmp_path)
    assert "AIRLOOM_HOME" in caught.value.hint
    assert mode(tmp_path) == 0o755
    assert list(everything(tmp_path)) == [str(tmp_path / "thesis.tex")]


def test_a_folder_that_all_users_share_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    with pytest.raises(ConfigError, match="is no state folder"):
        home.make(tmp_path / "shared")
    assert mode(tmp_path / "shared") == 0o1777


def test_somebody_elses_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    tmp_path.chmod(0o755)
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    with pytest.raises(ConfigError, match="belongs to another user"):
        home.make(tmp_path)


def test_a_home_of_the_releases_before_has_no_record_and_opens(tmp_path: Path) -> None:
    (tmp_path / "home" / "data").mkdir(parents=True)
    home.make(tmp_path / "home")
    assert home.version(tmp_path / "home") == (1, "")
    assert not (tmp_path / "home" / "schema.json").exists()


def test_a_home_of_a_newer_release_is_refused_by_name_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "schema.json").write_text('{"schema": 99, "airloom": "7.0"}')
    before = everything(tmp_path)
    with pytest.raises(StateError, match=r"schema 99, by Airloom 7\.0; this is Airloom .*, of schema 1"):
        home.make(tmp_path)
    assert everything(tmp_path) == before


def test_a_home_of_an_older_release_is_refused_with_what_migrates_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(schema, "VERSION", 2)
    with pytest.raises(StateError, match="is of schema 1") as caught:
        home.make(tmp_path)
    assert "airloom db migrate" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{}", "nonsense", '{"schema": "one"}'])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "schema.json").write_text(text)
    with pytest.raises(CorruptFile, match=r"schema\.json"):
        home.make(tmp_path)


def test_the_caches_of_tools_are_their_owners_only_also_where_a_library_made_the_folder(tmp_path: Path) -> None:
    (tmp_path / "home" / "user").mkdir(parents=True)
    (tmp_path / "home" / "user").chmod(0o755)
    home.make(tmp_path / "home")
    assert mode(tmp_path / "home" / "user") == 0o700
    assert mode(home.private_folder(tmp_path / "home" / "other")) == 0o700


def test_a_new_one_keeps_the_name_of_its_installation_and_no_other(tmp_path: Path) -> None:
    folder = home.make(tmp_path / "home", "production")
    written = home.installation(folder)
    assert written is not None
    assert (written.name, written.earlier) == ("production", False)
    assert home.name_of(folder) == home.name_of(folder, "production") == "production"
    before = everything(folder)
    assert home.make(folder) == home.make(folder, "production") == folder
    with pytest.raises(ConfigError, match=r"AIRLOOM_NAMESPACE=development, but .* of the installation production"):
        home.make(folder, "development")
    assert everything(folder) == before


def test_one_that_exists_keeps_an_empty_name(tmp_path: Path) -> None:
    (tmp_path / "home" / "data").mkdir(parents=True)
    (tmp_path / "home").chmod(0o700)
    before = everything(tmp_path)
    with pytest.raises(ConfigError, match="is of an installation without a name") as caught:
        home.make(tmp_path / "home", "production")
    assert "new AIRLOOM_HOME" in caught.value.hint
    assert everything(tmp_path) == before
    folder = home.make(tmp_path / "home")
    assert home.name_of(folder) == ""
    assert home.installation(folder) is None
    assert home.identify(folder) == home.identify(folder)
    assert home.identify(folder).earlier


def test_of_two_first_starts_at_once_one_gives_the_name(tmp_path: Path) -> None:
    home.make(tmp_path / "one", "production")
    (tmp_path / "two").mkdir(mode=0o700)
    (tmp_path / "one" / "installation.json").rename(tmp_path / "two" / "installation.json")  # and was killed there
    assert home.name_of(tmp_path / "two") == "production"
    with pytest.raises(ConfigError, match="AIRLOOM_NAMESPACE=development"):
        home.make(tmp_path / "two", "development")
    home.make(tmp_path / "two")
    assert home.version(tmp_path / "two")[0] == schema.VERSION
    assert home.name_of(tmp_path / "two") == "production"


@pytest.mark.parametrize("text", ["", "nonsense", "{}", '{"name": "Prod", "id": "1"}', '{"name": "prod", "id": "x"}'])
def test_a_damaged_name_is_refused_by_the_file(tmp_path: Path, text: str) -> None:
    folder = home.make(tmp_path / "home", "production")
    (folder / "installation.json").write_text(text)
    with pytest.raises(CorruptFile, match=r"installation\.json"):
        home.make(folder, "production")
