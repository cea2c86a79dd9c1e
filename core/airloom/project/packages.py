"""The environment of a step: what is installed for its interpreter, and what the project's constraints.txt pins."""

import json
import platform
import re
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from airloom.errors import ConfigError

CONSTRAINTS = "constraints.txt"
_INSTALLED = re.compile(r"(.+)-([^-]+)\.(?:dist|egg)-info")
_PINNED = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;#]+)", re.MULTILINE)
# What tests, checks and packs a project, and no training imports: that it is absent elsewhere changes no result.
_TOOL = re.compile(
    r"pytest(-.+)?|hypothesis|execnet|iniconfig|pluggy|coverage|tox|nox|ruff|black|isort|flake8|pylint|mypy|pyright"
    r"|mypy-extensions|types-.+|import-linter|grimp|pre-commit|identify|nodeenv|cfgv|hatchling|editables|build|twine"
    r"|pip|pip-tools|wheel"
)
_ASK = "import json, platform, sys; print(json.dumps([platform.python_version(), sys.path]))"


def lock(project: Path, interpreter: str = "") -> dict[str, str]:
    """Versions by name: `python`, each installed distribution, and `constraints.txt: name` for each pin.

    Raises:
        ConfigError: the interpreter does not start.
    """
    version, places = _python(interpreter)
    versions = {"python": version}
    for place in places:
        if {"site-packages", "dist-packages"} & set(Path(place).parts):
            versions = _installed(place) | versions  # the first on the path is the one that is imported
    pins = project / CONSTRAINTS
    if pins.is_file():
        text = pins.read_text(encoding="utf-8", errors="replace")
        versions |= {f"{CONSTRAINTS}: {_plain(name)}": pinned for name, pinned in _PINNED.findall(text)}
    return versions


def distribution(name: str, interpreter: str = "") -> metadata.Distribution | None:
    """A package that is installed for an interpreter; None where it is not.

    Raises:
        ConfigError: the interpreter does not start.
    """
    context = metadata.DistributionFinder.Context(name=name, path=list(_python(interpreter)[1]))
    return next(iter(metadata.MetadataPathFinder.find_distributions(context)), None)


def _python(interpreter: str) -> tuple[str, tuple[str, ...]]:
    """The version of an interpreter, and its path."""
    return _asked(interpreter) if interpreter else (platform.python_version(), tuple(sys.path))


def _installed(place: str) -> dict[str, str]:
    folder = Path(place)
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    parts = [match for name in sorted(names) if (match := _INSTALLED.fullmatch(name))]
    versions = {_plain(match[1]): match[2] for match in parts}
    return {name: version for name, version in versions.items() if not _TOOL.fullmatch(name)}


def _plain(name: str) -> str:
    """As PEP 503 has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@lru_cache
def _asked(interpreter: str) -> tuple[str, tuple[str, ...]]:
    try:
        done = subprocess.run([interpreter, "-c", _ASK], capture_output=True, text=True, timeout=60, check=True)
        version, places = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        message = (
            f"the Python of jobs (resources.interpreter, job_python): {interpreter} does not start: {str(error)[:200]}"
        )
        raise ConfigError(message, "give the Python of an environment with airloom in it") from None
    return str(version), tuple(str(place) for place in places)


def installed() -> str:
    """Each package of this environment with its version, a line `name==version` each, and Python's own."""
    # Each time that one is asked for its metadata it parses the whole file, with the long description.
    found = [distribution.metadata for distribution in metadata.distributions()]
    packages = {f"{each['Name'].lower()}=={each['Version']}" for each in found if each}
    return "\n".join([f"# Python {platform.python_version()} on {platform.platform()}", *sorted(packages)]) + "\n"
