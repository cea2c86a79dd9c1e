"""Who does something: the person where one is known."""

import getpass
import subprocess
from dataclasses import replace

import pytest

from airloom.errors import ConfigError
from airloom.project import person
from airloom.project.person import SERVICE, Person


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """A machine on which nobody has told git who they are."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("AIRLOOM_USER", raising=False)
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")


def git_says(settings, name, mail):
    subprocess.run(["git", "init", "-q", settings.project], check=True)
    for key, value in (("user.name", name), ("user.email", mail)):
        subprocess.run(["git", "-C", settings.project, "config", key, value], check=True)


def test_the_first_that_is_known_counts(settings, monkeypatch):
    assert person.caller(settings) == Person("ada")
    git_says(settings, "Ada Lovelace", "ada@example.org")
    assert person.caller(settings) == Person("Ada Lovelace", "ada@example.org")
    assert person.caller(replace(settings, user="Bo <bo@example.org>")) == Person("Bo", "bo@example.org")
    assert person.author(settings, None) == Person("Ada Lovelace", "ada@example.org")
    assert person.author(settings, "Ada Lovelace") == Person("Ada Lovelace", "ada@example.org")
    assert person.author(settings, "Cy") == Person("Cy")


def test_without_anybody_it_is_the_service(settings, monkeypatch):
    def fails():
        raise OSError

    monkeypatch.setattr(getpass, "getuser", fails)
    assert person.caller(settings) == person.service(settings) == Person(SERVICE)
    assert person.service(replace(settings, user="nightly")) == Person("nightly")


def test_a_name_that_is_none_is_not_passed_over(settings):
    for who in (person.caller, person.service):
        with pytest.raises(ConfigError, match="AIRLOOM_USER='<x>' is no name"):
            who(replace(settings, user="<x>"))


def test_a_service_is_nobodys_login(settings):
    git_says(settings, "Ada", "ada@example.org")
    assert person.service(settings) == Person(SERVICE)


@pytest.mark.parametrize("mail", ["ada@x>", "a b@x", "", "<>"])
def test_what_git_would_not_take_as_a_mail_is_left_out(settings, mail):
    git_says(settings, "Ada", mail)
    assert person.caller(settings) == Person("Ada")


@pytest.mark.parametrize("text", ["<a>", "", " ", "a\nb", "Ada <ada>", "Ada <a@b> x", "<a@b>", "\0"])
def test_what_is_no_person_is_seen(text):
    assert not person.parse(text).is_one
