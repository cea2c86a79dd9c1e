"""Where DVC's configuration says that the objects are, for this home and for whoever clones its repository.

DVC resolves a relative address against the folder of the configuration it stands in. That suits this home's own files.
In a clone it would lead beside the clone, wherever that is: the committed address of a home's own remote must be whole.
It is written from `~` where the home lies there, and renewed where the home was moved.
"""

import os
import re
from pathlib import Path
from typing import Any

from airloom.errors import ConfigError
from airloom.settings import Settings

STORE = "store"  # the remote's name
_SECTION = re.compile(rf"""^\[\s*'?remote "{STORE}"'?\s*\]$(.*?)(?=^\[|\Z)""", re.MULTILINE | re.DOTALL)
_URL = re.compile(r"""^(\s*url\s*=\s*)(["']?)(.*?)\2[ \t]*$""", re.MULTILINE)


def first(settings: Settings) -> str:
    """The configuration that a new repository begins with."""
    url = _quoted(settings.dvc_remote or _committed(settings.dvc_remote_folder))
    return f"[core]\n    remote = {STORE}\n    analytics = false\n" + _remote(url)


def _remote(url: str) -> str:
    return f"['remote \"{STORE}\"']\n    url = {url}\n    verify = true\n"


def _committed(folder: Path) -> str:
    try:
        return f"~/{folder.relative_to(Path.home())}"
    except (ValueError, RuntimeError):  # it lies elsewhere, or nobody's home is known
        return str(folder)


def url_of(text: str) -> str:
    """The address of the remote in a configuration; empty where it names none."""
    section = _SECTION.search(text)
    address = _URL.search(section[1]) if section else None
    return address[3] if address else ""


def _with_url(text: str, url: str) -> str:
    def section(found: re.Match[str]) -> str:
        return _URL.sub(lambda line: f"{line[1]}{_quoted(url)}", found[0], count=1)

    return _SECTION.sub(section, text, count=1)


def is_own(settings: Settings, text: str) -> bool:
    """Whether a configuration names this home's own remote, where it is or where it lay before the home was moved."""
    if settings.data_remote or settings.dvc_remote or not settings.dvc_remote_folder.is_dir():
        return False
    folder = _path(url_of(text))
    return folder.is_absolute() and folder.parts[-2:] == settings.dvc_remote_folder.parts[-2:]


def renewed(settings: Settings, text: str) -> str:
    """The configuration with the address that this home's own remote has now; unchanged where it is right already."""
    if not is_own(settings, text) or _path(url_of(text)) == settings.dvc_remote_folder:
        return text
    return _with_url(text, _committed(settings.dvc_remote_folder))


def relative(settings: Settings, text: str, folder: Path) -> str:
    """The configuration as it stands in `folder`/.dvc: this home's own remote by its way from there."""
    if not is_own(settings, text):
        return text
    return _with_url(text, os.path.relpath(settings.dvc_remote_folder, folder / ".dvc"))


def of_this_home(settings: Settings) -> dict[str, Any]:
    """What this home's own client of DVC takes instead of what any file says: all of it moves with the home."""
    core = {"no_scm": True, "site_cache_dir": str(settings.home / "user" / "dvc")}
    return {"core": core, "cache": {"dir": str(settings.dvc_cache), "type": ["hardlink", "copy"]}}


def _path(url: str) -> Path:
    try:
        return Path() if "://" in url else Path(url).expanduser()
    except RuntimeError:  # `~name` of a user that there is not
        return Path()


def _quoted(text: str) -> str:
    """A path as DVC's configuration takes it: unquoted, ` #` would start a comment and a comma a list."""
    quote = "'" if '"' in text else '"'
    if quote in text or "\n" in text:
        raise ConfigError(f"DVC cannot use the path {text!r}", "choose a home without line breaks and both quotes")
    return f"{quote}{text}{quote}"
