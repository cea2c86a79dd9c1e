"""Who does something: the person where one is known, else the service by its name.

Where somebody calls, the person is the first that there is of: `AIRLOOM_USER`, git's `user.name` and `user.email` in
the project, the login. Where Airflow runs a task it is the user who triggered the DAG run; a schedule has none.
"""

import getpass
import re
from dataclasses import dataclass
from pathlib import Path

from airloom.errors import ConfigError
from airloom.project.git import setting
from airloom.settings import Settings

SERVICE = "airloom (service)"  # what nobody asked for by hand
NAME = re.compile(r"[^<>\x00-\x1f\x7f]{1,200}")
_MAIL = re.compile(r"[^<>\s\x00-\x1f\x7f]{1,200}")
_WITH_MAIL = re.compile(r"([^<>]+?) *<([^<>@\s]+@[^<>@\s]+)>")


@dataclass(frozen=True)
class Person:
    """As git has it; the mail is empty where it is not known."""

    name: str
    mail: str = ""

    @property
    def is_one(self) -> bool:
        """Whether git takes the name."""
        return bool(NAME.fullmatch(self.name) and self.name.strip(" .,:;\"'"))


def parse(text: str) -> Person:
    """`Ada`, or `Ada <ada@example.org>`; whether that is a name is another question."""
    parts = _WITH_MAIL.fullmatch(text)
    return Person(parts[1], parts[2]) if parts else Person(text)


def caller(settings: Settings) -> Person:
    """Who calls this command or function.

    Raises:
        ConfigError: `AIRLOOM_USER` is no name.
    """
    people = (_declared(settings), _of_git(settings.project), Person(_login()))
    return next((person for person in people if person.is_one), Person(SERVICE))


def service(settings: Settings) -> Person:
    """Who does what no person asked for: `AIRLOOM_USER` of the stack, else the service.

    Raises:
        ConfigError: `AIRLOOM_USER` is no name.
    """
    person = _declared(settings)
    return person if person.is_one else Person(SERVICE)


def _declared(settings: Settings) -> Person:
    person = parse(settings.user)
    if settings.user and not person.is_one:
        message = f"AIRLOOM_USER={settings.user[:60]!r} is no name"
        raise ConfigError(message, "a name of one line, `Ada` or `Ada <ada@example.org>`; or unset it")
    return person


def author(settings: Settings, given: str | None) -> Person:
    """The author that a caller names, or the caller; one whom git's configuration names has the mail from there."""
    if given is None:
        return caller(settings)
    person = parse(given)
    known = Person("") if person.mail else _of_git(settings.project)
    return known if known.name == person.name else person


def _of_git(project: Path) -> Person:
    mail = setting(project, "user.email")
    return Person(setting(project, "user.name"), mail if _MAIL.fullmatch(mail) else "")


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as in a container
        return ""
