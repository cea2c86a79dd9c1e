"""Which files of the project a training reads that its manifest does not name: opened by path, or imported unseen.

Python tells of every file that it opens. What a library opens in C, or a program that is started, it does not.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airloom.files import file_sha256, read_json, write_private
from airloom.project import source

MOST = 1000  # files; who reads more has a dataset that is none
_SOURCE = {".py", ".pyc", ".so"}  # an import opens them
log = logging.getLogger(__name__)


class Watch:
    """Collects the project's files that this process opens to read, while it is on."""

    def __init__(self) -> None:
        self._root, self._home, self._opened = "", "", dict[str, None]()
        self._lock, self._hooked = threading.Lock(), False

    @contextmanager
    def on(self, project: Path, home: Path) -> Iterator[dict[str, None]]:
        """The files, as they come, by path from the project's root; those in `home` are none of the project's."""
        with self._lock:
            if not self._hooked:  # an audit hook stays for the life of a process
                sys.addaudithook(self._hear)
                self._hooked = True
            opened: dict[str, None] = {}
            self._opened = opened
            self._root, self._home = f"{project.resolve()}{os.sep}", f"{home.resolve()}{os.sep}"
        try:
            yield opened
        finally:
            self._root = ""

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not self._root or len(self._opened) >= MOST:
            return
        path, mode, flags = arguments
        writes = set(mode) & set("wax+") if isinstance(mode, str) else bool(flags & (os.O_WRONLY | os.O_RDWR))
        if not isinstance(path, str | bytes | os.PathLike) or writes:
            return
        place = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - resolve() asks the file system, for each open
        if place.startswith(self._root) and not place.startswith(self._home):
            self._opened[place[len(self._root) :]] = None


_watch = Watch()


@contextmanager
def reading(project: Path, home: Path, known: Collection[str], note: dict[str, str]) -> Iterator[None]:
    """Warn at the end of the block of each file of the project that it read and `known` does not name.

    Args:
        project: the project's root.
        home: the state folder, which may lie in it.
        known: the paths that the manifest names.
        note: gets sha256 by path of the others.
    """
    root = project.resolve()
    try:
        with _watch.on(root, home) as opened:
            yield
    finally:
        files = [root / name for name in opened if Path(name).suffix not in _SOURCE]
        read = {path: "read by path" for path in files if source.in_project(root, path) and path.is_file()}
        unseen = dict.fromkeys(_imported(root), "imported in a way that its source does not show")
        for path, how in {**unseen, **read}.items():
            name = path.relative_to(root).as_posix()
            if name not in known and name not in note:
                note[name] = file_sha256(path)
                log.warning("%s is %s, and no declared input: add it to `inputs:` of the pipeline file", name, how)


_looked_at: set[str] = set()  # modules; there are thousands, and a trial may take milliseconds


def _imported(root: Path) -> list[Path]:
    """Modules of the project that were imported since the last call."""
    fresh = [name for name in list(sys.modules) if name not in _looked_at]
    _looked_at.update(fresh)
    places = [getattr(sys.modules.get(name), "__file__", None) for name in fresh if not _ours(name)]
    inside = [Path(place) for place in places if isinstance(place, str) and place.startswith(f"{root}{os.sep}")]
    return sorted(path for path in inside if path.suffix == ".py" and source.in_project(root, path) and path.is_file())


def _ours(name: str) -> bool:
    """Whether a module is Airloom's, whose version stands in the environment; the project may be a clone of it."""
    if name == "__main__":  # a job's process is started by `python -m`
        name = getattr(sys.modules[name].__spec__, "name", "airloom")
    return name.partition(".")[0] in source.OURS


def keep(folder: Path, note: dict[str, str]) -> None:
    """Leave what a trial's process read in the study's folder."""
    if note:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(folder / f"read-{os.getpid()}.json", json.dumps(note))


def kept(folder: Path) -> dict[str, str]:
    """What all of them read."""
    digests: dict[str, str] = {}
    for path in sorted(folder.glob("read-*.json")):
        digests |= read_json(path, "remove it, and the study is not kept for later runs") or {}
    return digests


def imported(project: Path) -> list[Path]:
    """The project's own modules that this process has imported: the files behind the training function."""
    root, files = project.resolve(), set()
    for name, module in list(sys.modules.items()):
        if _ours(name):
            continue
        place = getattr(module, "__file__", None)
        path = Path(place).resolve() if isinstance(place, str) and place.endswith(".py") else None
        if path is None or not path.is_relative_to(root) or not path.is_file():
            continue
        if not {"site-packages", "dist-packages"} & set(path.parts):  # an environment may lie in the project
            files.add(path)
    return sorted(files)
