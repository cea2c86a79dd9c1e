"""Where the weights lie that a training begins with, and whether they are still those that the run was given."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from airloom.contracts import PretrainedWeights
from airloom.errors import ConfigError, DataError
from airloom.files import file_sha256
from airloom.project import packages
from airloom.spec.weights import WeightsSection

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NO_WEIGHTS = {".pyc"}  # Python writes them when it likes


@dataclass(frozen=True)
class Located:
    """Weights where they lie.

    Attributes:
        place: the file or folder.
        files: each file by its path from that folder.
        source: what finds them again.
        found: the same for people.
    """

    place: Path
    files: dict[str, Path]
    source: dict[str, Any]
    found: str


def resolved(
    project: Path, entries: Iterable[WeightsSection], interpreter: str = "", *, fetch: bool = True
) -> dict[str, PretrainedWeights]:
    """Find the weights that a pipeline file names, and their digests.

    Args:
        project: its root.
        entries: of the pipeline file.
        interpreter: the Python of the jobs, where it is not this one.
        fetch: whether those with `network: true` may be fetched from the hub; else they are left out where they lack.

    Raises:
        ConfigError: some are not there; the message says what brings them.
    """
    weights = {}
    for entry in entries:
        if fetch or not entry.network or _snapshot(entry):
            one = _located(project, entry, interpreter)
            files = {path: _digest(file) for path, file in one.files.items()}
            weights[entry.name] = PretrainedWeights(one.source, one.found, _together(one.place, files), files)
    return weights


class Pretrained:
    """The weights of a training, each looked at before it is given out.

    Args:
        project: its root.
        weights: by name, as `resolve` found them.
    """

    def __init__(self, project: Path, weights: Mapping[str, PretrainedWeights]) -> None:
        self._project, self._weights = project, dict(weights)
        # A library that fetches a model by itself would bring what no digest of this run names.
        if weights and not any(one.source.get("network") for one in weights.values()):
            os.environ["HF_HUB_OFFLINE"] = "1"

    @property
    def names(self) -> list[str]:
        """Of all of them."""
        return list(self._weights)

    def digest(self, name: str) -> str:
        """Their sha256, as `resolve` found it."""
        return self._known(name).sha256

    def path(self, name: str) -> Path:
        """The file or folder, after a look whether it is what it was when the run began.

        Raises:
            ConfigError: the pipeline file names no such weights, or they are no longer there.
            DataError: a file of them has changed since.
        """
        fixed = self._known(name)
        one = _located(self._project, WeightsSection(name=name, **fixed.source), "")
        files = {path: _digest(file) for path, file in one.files.items()}
        if _together(one.place, files) == fixed.sha256:
            return one.place
        changed = [path for path in sorted({*files, *fixed.files}) if files.get(path) != fixed.files.get(path)]
        what = f"{', '.join(changed[:3])}{', …' if len(changed) > 3 else ''} of " if fixed.files else ""
        raise DataError(
            f"weights {name}: {what}{one.place} changed since the run began, with sha256 {fixed.sha256[:12]}",
            "put the file back, or start a new run: other weights are another run",
        )

    def _known(self, name: str) -> PretrainedWeights:
        if name in self._weights:
            return self._weights[name]
        there = f"it names {', '.join(self._weights)}" if self._weights else "it names none"
        hint = f"add them to its `inputs`: {{name: {name}, path: weights/x.safetensors}}; or with hub or package"
        raise ConfigError(f"the pipeline file names no weights {name!r}; {there}", hint)


def digest_at(place: Path) -> str:
    """sha256 of a file, or of the files of a folder.

    Raises:
        ConfigError: there is none.
    """
    files = {_relative(place, file): _digest(file) for file in _within(place)}
    if not files:
        raise ConfigError(f"there are no weights at {place}", "give the file or folder")
    return _together(place, files)


def in_project(weights: Mapping[str, PretrainedWeights]) -> list[str]:
    """The paths of those files that lie in the project, from its root."""
    own = [one for one in weights.values() if not {"hub", "package"} & set(one.source)]
    return [_below(str(one.source["path"]), path) for one in own for path in one.files]


def _below(place: str, file: str) -> str:
    return place if Path(place).name == file and "/" not in file else f"{place.rstrip('/')}/{file}"


def _located(project: Path, entry: WeightsSection, interpreter: str) -> Located:
    where = f"weights {entry.name}"
    if entry.hub:
        folder, source, found = _of_hub(entry)
        if folder is None:
            wanted = entry.hub + (f" --revision {entry.revision}" if entry.revision else "")
            message = f"{where}: {entry.hub} at {entry.revision or 'main'} is not in the hub's cache {_cache()}"
            hint = f"fetch it beforehand: `hf download {wanted}`; or let the run fetch it: `network: true`"
            raise ConfigError(message, hint)
        files = _within(folder)
    elif entry.package:
        folder, files, source, found = _of_package(entry, interpreter)
    else:
        folder, source, found = project.resolve(), entry.source, entry.path
        files = _within(folder / entry.path)
    place = folder / entry.path if entry.path else folder
    own = {_relative(place, file): file for file in files if file == place or file.is_relative_to(place)}
    if not own:
        hint = "check the path; it counts from " + ("the project's root" if found == entry.path else f"{folder}")
        raise ConfigError(f"{where}: there is no file {entry.path or '.'!r} in {folder}", hint)
    outside = [file for file in own.values() if not file.resolve().is_relative_to(folder)]
    if outside and not (entry.hub or entry.package):  # the hub's cache is made of links
        message = f"{where}: {entry.path!r} leads out of the project to {outside[0].resolve()}"
        raise ConfigError(message, "copy it in")
    return Located(place, own, source, found)


def _relative(place: Path, file: Path) -> str:
    return file.name if file == place else file.relative_to(place).as_posix()


def _within(place: Path) -> list[Path]:
    files = [place] if place.is_file() else sorted(place.rglob("*"))
    return [file for file in files if file.is_file() and file.suffix not in _NO_WEIGHTS]


def _of_package(entry: WeightsSection, interpreter: str) -> tuple[Path, list[Path], dict[str, Any], str]:
    """The folder of a package, its files but the record of its installation, what finds it again, and for people."""
    where, package = f"weights {entry.name}", packages.distribution(entry.package, interpreter)
    if package is None:
        message = f"{where}: the package {entry.package} is not installed for {interpreter or 'this Python'}"
        raise ConfigError(message, f"pip install {entry.package}")
    paths = [path for path in package.files or [] if path.parts[0] not in ("..", "__pycache__")]
    paths = [path for path in paths if not path.parts[0].endswith((".dist-info", ".egg-info", ".data"))]
    files = [file for path in paths if (file := Path(str(package.locate_file(path)))).is_file()]
    files = [file for file in files if file.suffix not in _NO_WEIGHTS]
    tops = {path.parts[0] for path in paths}
    if not files or len(tops) != 1:
        has = ", ".join(sorted(tops)) or "no files"
        message = f"{where}: the package {entry.package} has not one folder of its own: {has}"
        raise ConfigError(message, "install it from its wheel; or give the folder as path, within the project")
    folder = Path(str(package.locate_file(tops.pop())))
    found = f"package {entry.package} {package.version}"
    return folder, files, entry.source, found + (f", {entry.path}" if entry.path else "")


def _of_hub(entry: WeightsSection) -> tuple[Path | None, dict[str, Any], str]:
    """A model's folder in the hub's cache, fetched where that was asked for; what finds it again, and for people."""
    folder = _snapshot(entry)
    if folder is None and entry.network:
        _fetch(entry)
        folder = _snapshot(entry)
    commit = folder.name if folder else ""
    found = f"hub {entry.hub}@{commit[:12]}" + (f", {entry.path}" if entry.path else "")
    return folder, entry.source | {"revision": commit}, found


def _snapshot(entry: WeightsSection) -> Path | None:
    """https://huggingface.co/docs/huggingface_hub/guides/manage-cache says how the cache is laid out."""
    model, revision = _cache() / f"models--{entry.hub.replace('/', '--')}", entry.revision or "main"
    ref = model / "refs" / revision
    commit = ref.read_text().strip() if ref.is_file() else revision
    folder = model / "snapshots" / commit
    if not (_COMMIT.fullmatch(commit) and folder.is_dir()):
        return None
    whole = not entry.path or (folder / entry.path).exists()
    return folder if whole else None


def _cache() -> Path:
    """As `huggingface_hub` finds it."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    base = os.environ.get("HF_HOME") or Path(home) / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(base) / "hub").expanduser()


def _fetch(entry: WeightsSection) -> None:
    """Have `huggingface_hub` download it."""
    if find_spec("huggingface_hub") is None:
        hint = "pip install 'airloom[llm]'; or fetch it beforehand, and leave network out"
        raise ConfigError(f"weights {entry.name}: network: true needs the package huggingface_hub", hint)
    from huggingface_hub import snapshot_download

    wanted = [entry.path, f"{entry.path.rstrip('/')}/*"] if entry.path else None
    try:
        snapshot_download(entry.hub, revision=entry.revision or None, allow_patterns=wanted)
    except Exception as error:  # its own errors, and those of the client below it, have no common base
        message = f"weights {entry.name}: {entry.hub} could not be fetched from the hub: {str(error)[:300]}"
        raise ConfigError(message, "look at the name, the network, and HF_TOKEN in resources.environment") from None


def _together(place: Path, files: Mapping[str, str]) -> str:
    """Of one file its own digest, as `sha256sum` says it."""
    if list(files) == [place.name] and place.is_file():
        return files[place.name]
    lines = "".join(f"{sha256}  {path}\n" for path, sha256 in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _digest(file: Path) -> str:
    """Read once in a process while nobody writes to it: several trials of one begin with the same weights."""
    state = file.stat()
    return _digest_of(file, state.st_ino, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _digest_of(file: Path, *_: int) -> str:
    return file_sha256(file)
