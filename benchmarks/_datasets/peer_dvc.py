"""DVC itself on the same blobs: one file a sample, and one Arrow file."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from benchmarks._datasets.data import Blobs
from benchmarks._datasets.measure import Cost, clock
from benchmarks._datasets.storing import settle

DVC = [sys.executable, "-m", "dvc"]


@dataclass
class Repository:
    """A git and DVC repository with a local remote.

    Args:
        folder: to make.
        links: DVC's `cache.type`: copies are its default; hard links spare a copy, and are its manual's advice.
    """

    folder: Path
    links: str = "copy"
    _objects: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.repo, self.remote = self.folder / "repo", self.folder / "remote"
        self.repo.mkdir(parents=True)
        self._git("init", "-q", "-b", "main")
        self._dvc("init", "-q")
        settings = {"core.analytics": "false", "core.check_update": "false", "cache.type": self.links}
        for name, value in settings.items():
            self._dvc("config", name, value)
        self._dvc("remote", "add", "-q", "-d", "store", str(self.remote))

    def add_and_push(self, path: str) -> Cost:
        """`dvc add` and `dvc push` of what lies in the working folder."""
        settle()
        with clock() as cost:
            self._dvc("add", "-q", path)
            self._dvc("push", "-q")
        return cost

    def keep(self) -> None:
        """Commit to git what each round starts from."""
        self._git("add", "-A")
        self._git("-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-q", "-m", "state")
        self._objects = self._stored()

    def undo(self) -> None:
        """Back to what was kept, so that the next round starts from the same state."""
        self._git("checkout", "-q", "--", ".")
        for file in self._stored() - self._objects:
            file.unlink()

    def _stored(self) -> set[Path]:
        places = (self.remote, self.repo / ".dvc" / "cache")
        return {file for place in places for file in place.rglob("*") if file.is_file()}

    def clone_and_pull(self, target: Path) -> Cost:
        """A fresh `git clone` and `dvc pull`."""
        settle()
        with clock() as cost:
            self._run(["git", "clone", "-q", str(self.repo), str(target)], self.folder)
            self._run([*DVC, "pull", "-q"], target)
        return cost

    def _dvc(self, *arguments: str) -> None:
        self._run([*DVC, *arguments], self.repo)

    def _git(self, *arguments: str) -> None:
        self._run(["git", *arguments], self.repo)

    def _run(self, command: list[str], folder: Path) -> None:
        own = {
            "DVC_SITE_CACHE_DIR": str(self.folder / "site"),
            "DVC_NO_ANALYTICS": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        subprocess.run(command, cwd=folder, env=os.environ | own, check=True)


def write_files(folder: Path, blobs: Blobs) -> None:
    """A file a blob."""
    folder.mkdir(exist_ok=True)
    for number, blob in enumerate(blobs):
        (folder / f"{number:08d}.bin").write_bytes(blob)


def write_arrow(file: Path, *parts: Blobs) -> None:
    """All blobs in one Arrow file, written anew: Arrow's file format cannot be appended to."""
    batches = [batch for blobs in parts for batch in blobs.batches()]
    file.unlink(missing_ok=True)
    with pa.ipc.new_file(str(file), batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def digests(folder: Path) -> list[bytes]:
    """MD5 of each file."""
    return sorted(hashlib.md5(file.read_bytes()).digest() for file in folder.iterdir())  # noqa: S324


class Files:
    """One file a sample. The first `dvc add` and push is made once; each round starts from the state after it."""

    def __init__(self, folder: Path, blobs: Blobs, links: str) -> None:
        self.name = f"dvc, a file a sample, {links}"
        self._repository = Repository(folder, links)
        self._data = self._repository.repo / "data"
        write_files(self._data, blobs)
        self.costs = {"full": [self._repository.add_and_push("data")]}
        self._repository.keep()

    def round(self, more: Blobs, expected: list[bytes] | None) -> None:
        """Append and push, in two ways, each taken back; then clone and pull, and compare with the blobs expected."""
        for name, path in (("append", "data"), ("append, only the new folder named", "data/new")):
            write_files(self._data / "new", more)
            self.costs.setdefault(name, []).append(self._repository.add_and_push(path))
            shutil.rmtree(self._data / "new")
            self._repository.undo()
        clone = self._repository.folder / "clone"
        self.costs.setdefault("fetch", []).append(self._repository.clone_and_pull(clone))
        assert expected is None or digests(clone / "data") == expected
        shutil.rmtree(clone)


class OneFile:
    """All samples in one Arrow file; to append means to write it anew, which is not counted."""

    def __init__(self, folder: Path, blobs: Blobs) -> None:
        self.name = "dvc, one Arrow file, copy"
        self._repository, self._blobs = Repository(folder), blobs
        self._file = self._repository.repo / "data.arrow"
        write_arrow(self._file, blobs)
        self.costs = {"full": [self._repository.add_and_push(self._file.name)]}
        self._repository.keep()

    def round(self, more: Blobs, expected: list[bytes] | None) -> None:
        """The same as for files."""
        write_arrow(self._file, self._blobs, more)
        self.costs.setdefault("append", []).append(self._repository.add_and_push(self._file.name))
        self._repository.undo()
        clone = self._repository.folder / "clone"
        self.costs.setdefault("fetch", []).append(self._repository.clone_and_pull(clone))
        if expected is not None:
            column = pa.ipc.open_file(str(clone / self._file.name)).read_all().column("blob")
            assert sorted(hashlib.md5(blob.as_buffer()).digest() for blob in column) == expected  # noqa: S324
        shutil.rmtree(clone)
