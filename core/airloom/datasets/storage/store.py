"""Objects named by their MD5: in the DVC cache that all readers of this home share, and in the DVC remote.

Both are laid out as DVC does it, and the remote is whatever DVC can speak to; DVC's own client moves the objects.
"""

import hashlib
import json
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import psutil

from airloom.datasets.storage import dvc_config, object_lock, repository
from airloom.errors import CorruptFile, DataAway, DataError
from airloom.files import writing
from airloom.settings import Settings

log = logging.getLogger(__name__)
NAME = re.compile(r"[0-9a-f]{32}(\.dir)?")
ABANDONED_S = 600  # a copy that nobody has written to for so long
CHUNK = 1 << 19  # bytes that are written and then hashed while the processor's cache holds them
JOBS = 8  # objects that are fetched at the same time
Progress = Callable[[int, int], None]  # bytes done, bytes in all


class ObjectSink(Protocol):
    """What an object is written to."""

    def write(self, data: Any, /) -> int: ...


class _Tee:
    """A file that hashes what is written to it."""

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file
        self._hash = hashlib.md5(usedforsecurity=False)
        self.size = 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), CHUNK):
            chunk = view[start : start + CHUNK]
            self._file.write(chunk)
            self._hash.update(chunk)
        self.size += len(view)
        return len(view)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None: ...

    def md5(self) -> str:
        return self._hash.hexdigest()


class Store:
    """The objects of one home."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._cache = settings.dvc_cache / "files" / "md5"

    def path(self, md5: str) -> Path:
        """Where the cache keeps an object, whether it is there or not.

        Raises:
            DataError: that is no name of an object.
        """
        if not NAME.fullmatch(md5):
            raise DataError(f"{md5[:80]!r} names no object", "the manifest was changed by hand; restore it")
        return self._cache / md5[:2] / md5[2:]

    def write(self, content: Callable[[ObjectSink], object], suffix: str = "") -> tuple[str, int]:
        """Write an object into the cache, read-only, at once or not at all.

        Returns:
            Its name (MD5 and suffix) and its size in bytes.

        Raises:
            DataAway: the disk does not take it.
        """
        temporary = self._temporary()
        try:
            with writing(self._cache):
                self._cache.mkdir(parents=True, exist_ok=True)
                with temporary.open("wb", buffering=0) as file:
                    tee = _Tee(file)
                    content(tee)
                    os.fsync(file.fileno())
                name = tee.md5() + suffix
                self._keep(temporary, name)
        finally:
            temporary.unlink(missing_ok=True)
        return name, tee.size

    def sweep(self) -> None:
        """Remove what dead writers left half written: here by their process, and DVC's copies in this home's remote."""
        for left in self._cache.glob("*.tmp"):
            owner = left.name.split(".")[1]
            if owner.isdigit() and not psutil.pid_exists(int(owner)):
                left.unlink(missing_ok=True)
        for left in (self.settings.dvc_remote_folder / "files" / "md5").glob("*/.*.tmp"):
            with suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > ABANDONED_S:
                    left.unlink()

    def _temporary(self) -> Path:
        return self._cache / f"{uuid.uuid4().hex}.{os.getpid()}.tmp"

    def _keep(self, temporary: Path, name: str) -> None:
        path = self.path(name)
        path.parent.mkdir(exist_ok=True)
        temporary.chmod(0o444)  # DVC takes a writable object for unprotected and hashes it again
        with object_lock.held(self.settings, alone=False):
            temporary.replace(path)

    def _renew(self, names: Iterable[str]) -> None:
        """Make objects that lie in a local remote young: a commit is about to name them."""
        with object_lock.held(self.settings, alone=False):
            for name in names:
                with suppress(OSError):  # not there, or no local file
                    os.utime(self.remote.oid_to_path(name))

    def renew(self, names: Iterable[str]) -> None:
        """Make objects in the cache young, and those of them in a local remote: a commit goes on to name them.

        Raises:
            DataError: one is gone.
        """
        wanted = list(names)
        self._renew(wanted)
        with object_lock.held(self.settings, alone=False):
            self.check_there(wanted)
            for name in wanted:
                os.utime(self.path(name))

    def listing(self, files: dict[str, str]) -> str:
        """Write the object that lists a DVC directory (MD5 by file name); returns its name, which ends in `.dir`."""
        entries = [{"md5": md5, "relpath": name} for name, md5 in sorted(files.items())]
        data = json.dumps(entries, sort_keys=True).encode()
        return self.write(lambda sink: sink.write(data), ".dir")[0]

    @cached_property
    def _repo(self) -> Any:
        """A DVC repository without files: the shared configuration, this home's cache and its local settings."""
        from dvc.repo import Repo

        with writing(self.settings.home):
            folder = repository.dvc_folder(self.settings)
            return Repo(str(folder), config=dvc_config.of_this_home(self.settings))

    @cached_property
    def remote(self) -> Any:
        """DVC's object database of the remote.

        Raises:
            DataAway: the remote cannot be opened.
        """
        from dvc.exceptions import DvcException

        try:
            return self._repo.cloud.get_remote_odb()
        except DvcException as error:
            raise DataAway(f"the DVC remote cannot be opened: {error}", "look at .dvc/config") from None

    def push(self, sizes: dict[str, int]) -> None:
        """Bring objects (their sizes by name) into the remote; what is there already is not sent again.

        Raises:
            DataError: an object did not get there, or not whole; nothing refers to it yet.
        """
        local, remote, hint = self._repo.cache.local, self.remote, "nothing is visible; commit again"
        failed: list[str] = []

        def note(name: str, error: BaseException) -> None:
            failed.append(f"{name}: {error}")

        try:
            self._renew(sizes)  # before it is asked for: what is there now, stays
            there = set(remote.oids_exist(list(sizes)))
            new = [name for name in sizes if name not in there]
            self.check_there(new)
            remote.add(
                [local.oid_to_path(n) for n in new], local.fs, new, check_exists=False, verify=False, on_error=note
            )
            arrived = [] if failed else list(sizes)
            bad = [n for n in arrived if remote.fs.info(remote.oid_to_path(n))["size"] != sizes[n]]
            bad += [n for n in there if n not in bad and not self._same(n)]
        except DataError:
            raise
        except Exception as error:
            raise DataAway(f"the data did not reach the DVC remote: {error!r:.300}", hint) from None
        if failed:
            self.check_there(new)
            raise DataAway(f"the data did not reach the DVC remote: {failed[0][:300]}", hint)
        if bad:
            message = f"{remote.oid_to_path(bad[0])} is damaged in the DVC remote: its content is another"
            raise DataError(message, "nothing is visible; remove that object and commit again")

    def check_there(self, names: Iterable[str]) -> None:
        """Tell a commit under way that its objects were collected.

        Raises:
            DataError: one that it wrote into the cache is gone.
        """
        gone = [name for name in names if not self.path(name).exists()]
        if gone:
            message = f"{len(gone)} objects that this commit wrote are gone from {self._cache}, {gone[0]} first"
            hint = (
                "`airloom gc` took them: the commit has outlasted --grace; or `dataset forget` did. Nothing is visible;"
            )
            raise DataError(message, f"{hint} commit again, and collect with a longer --grace")

    def _same(self, name: str) -> bool:
        """Whether an object that lay in a local remote before is whole; other remotes are asked for sizes only."""
        path = Path(self.remote.oid_to_path(name))
        return not path.is_file() or md5_of(path) == name.removesuffix(".dir")

    def get(self, md5: str, size: int | None = None) -> Path:
        """The path of an object, fetched from the remote when it is not in the cache."""
        return self.fetch({md5: size})[md5]

    def fetch(self, sizes: dict[str, int | None], progress: Progress | None = None) -> dict[str, Path]:
        """Have objects in the cache (their sizes by name, None: unknown), fetching what is missing in parallel.

        Raises:
            DataError: an object is neither here nor in the remote.
            CorruptFile: it is damaged in the remote; the error names it.
        """
        paths = {name: self.path(name) for name in sizes}
        missing = [name for name, path in paths.items() if not _whole(path, sizes[name])]
        if missing:
            total, done = sum(sizes[name] or 0 for name in missing), 0
            _ = self.remote  # opened once, before the threads
            with ThreadPoolExecutor(JOBS) as pool:
                for name in pool.map(self._fetch, missing):
                    done += sizes[name] or 0
                    if progress:
                        progress(done, total)
        return paths

    def _fetch(self, name: str) -> str:
        """One object, checked; a damaged transfer is tried once more."""
        origin = self.remote.oid_to_path(name)
        for last in (False, True):
            temporary = self._temporary()
            try:
                self._cache.mkdir(parents=True, exist_ok=True)
                self.remote.fs.get_file(origin, str(temporary))
                if md5_of(temporary) == name.removesuffix(".dir"):
                    self._keep(temporary, name)
                    return name
            except FileNotFoundError:
                message = f"object {name} is neither in {self._cache} nor in the DVC remote ({origin})"
                raise DataError(message, "restore the DVC remote, or push from a home that has it") from None
            except OSError as error:
                raise DataAway(f"{origin} cannot be fetched: {error}", "look at the DVC remote") from None
            finally:
                temporary.unlink(missing_ok=True)
            log.warning("%s arrived damaged%s", origin, "" if last else ", trying once more")
        raise CorruptFile(f"{origin} is damaged: its MD5 is not its name", "restore that object in the DVC remote")

    def verify(self, names: Iterable[str]) -> list[str]:
        """Those of these cached objects whose content is not what their name says."""
        return [name for name in names if md5_of(self.path(name)) != name.removesuffix(".dir")]

    def repair(self, names: Sequence[str]) -> None:
        """Fetch damaged objects anew."""
        for name in names:
            self.path(name).unlink(missing_ok=True)
            self._fetch(name)


def md5_of(path: Path) -> str:
    """MD5 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _whole(path: Path, size: int | None) -> bool:
    """Whether it is there with its size; the content is checked where it is read."""
    try:
        return path.stat().st_size == size or size is None
    except FileNotFoundError:
        return False
