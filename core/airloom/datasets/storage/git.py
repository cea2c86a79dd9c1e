"""The git command: deaf to the machine's configuration, patient with locks, and rid of those that a killed git left."""

import logging
import os
import random
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from airloom.errors import DataError

log = logging.getLogger(__name__)
MAIL = "airloom@localhost"
PATIENCE_S = 20.0  # with a lock that another git holds
STALE_S = 10.0  # git holds a lock for milliseconds: one this old, with no git at work there, was left by a killed one
LOCKED = re.compile(r"Unable to create '(.+?\.lock)': File exists")


def git(
    folder: Path, *arguments: str, check: bool = True, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run git in `folder`, deaf to the configuration of the machine and the caller.

    Raises:
        DataError: git failed and `check` is set.
    """
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False, input=given)
    if check and done.returncode:
        raise _failed(folder, arguments[0], done.stderr or f"it ended with {done.returncode}")
    return done


def _failed(folder: Path, verb: str, output: str) -> DataError:
    hint = foreign(output) or f"look at {folder}; `git fsck` names what is damaged there"
    return DataError(f"git {verb} failed: {output.strip()[-400:]}", hint)


def foreign(output: str) -> str:
    """What to do where git refuses a repository because it belongs to another user; empty where it did not.

    Git's own advice, `safe.directory` in the user's configuration, does not help: we read none of it.
    """
    if "dubious ownership" not in output:
        return ""
    return (
        "git reads no repository of another user from the disk: run as its owner, give it to who runs this (chown -R), "
        "or name it by an address that its owner serves, such as ssh://HOST/PATH"
    )


def _environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    return environment | {f"GIT_{who}_{what}": MAIL for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def objects(repo: Path, names: Sequence[str]) -> Iterator[bytes | None]:
    """Many objects by one git, each named by its hash or as `revision:path`; None for what is not there.

    Each comes while git reads the next ones.

    Raises:
        DataError: git failed; said after the objects that it could read.
    """
    command = ["git", "-C", str(repo), "cat-file", "--batch", "--buffer"]
    with TemporaryFile() as asked, TemporaryFile() as stderr:  # pipes would fill up
        asked.write("".join(f"{name}\n" for name in names).encode())
        asked.seek(0)
        with subprocess.Popen(
            command, stdin=asked, stdout=subprocess.PIPE, stderr=stderr, env=_environment()
        ) as process:
            answers = cast(BinaryIO, process.stdout)
            for name in names:
                line = answers.readline()
                size = 0 if line.endswith(b" missing\n") or not line else int(line.split()[-1]) + 1  # and a line's end
                data = answers.read(size)
                if not line or len(data) < size:
                    stderr.seek(0)
                    raise _failed(repo, "cat-file", stderr.read().decode() or f"no answer for {name}")
                yield data[:-1] if size else None


def patiently(repo: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git; where another git holds a lock wait for it, or remove the lock if that git was killed."""
    end = time.monotonic() + PATIENCE_S
    while True:
        done = git(repo, *arguments, check=False)
        locked = LOCKED.search(done.stderr)
        if done.returncode == 0 or not locked or time.monotonic() > end:
            return done
        if not _unlock(repo, repo / locked[1]):
            time.sleep(random.uniform(0.05, 0.3))  # noqa: S311 - spreads racing writers, keeps no secret


def _unlock(repo: Path, lock: Path) -> bool:
    """Remove a lock that a killed git left in this repository; that of a shared remote may be another host's."""
    import psutil
    from filelock import FileLock

    if repo.resolve() not in lock.resolve().parents:
        return False
    with FileLock(str(repo.with_name("unlock.lock"))):  # else one would remove what the next git has made meanwhile
        try:
            old = time.time() - lock.stat().st_mtime > STALE_S
        except FileNotFoundError:
            return True
        at_work = (process.info for process in psutil.process_iter(["name", "cwd"]))
        if not old or any(p["name"].startswith("git") and p["cwd"] == str(repo.resolve()) for p in at_work):
            return False
        log.warning("removing %s, which a killed git left behind", lock)
        lock.unlink()
    return True
