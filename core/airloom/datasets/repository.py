"""The data repository: a bare git repository, a DVC remote and a cache that all share."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from airloom.errors import ConfigError, DataError
from airloom.settings import Settings

IDENTITY = {
    "GIT_AUTHOR_NAME": "airloom",
    "GIT_AUTHOR_EMAIL": "airloom@localhost",
    "GIT_COMMITTER_NAME": "airloom",
    "GIT_COMMITTER_EMAIL": "airloom@localhost",
}


def git(folder: Path, *arguments: str, check: bool = True, author: str = "") -> subprocess.CompletedProcess[str]:
    """Run git in `folder`, with an identity of its own and deaf to the configuration of the machine and the caller.

    Raises:
        DataError: git failed and `check` is set.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= IDENTITY | ({"GIT_AUTHOR_NAME": author} if author else {})
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if check and done.returncode:
        raise DataError(f"git {' '.join(arguments[:2])} failed: {done.stderr.strip()[-300:]}", f"look at {folder}")
    return done


def ensure(settings: Settings) -> Path:
    """The bare repository, made when it is not there; two makers at once are safe."""
    repo = settings.data_repo
    if repo.is_dir():
        return repo
    settings.make_home()
    repo.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(str(repo.parent / "create.lock")):
        if not repo.is_dir():
            settings.dvc_remote.mkdir(parents=True, exist_ok=True)
            bare = repo.with_name(f"new-{uuid.uuid4().hex}")
            git(repo.parent, "init", "-q", "--bare", "-b", "main", str(bare))
            work = repo.with_name(f"first-{uuid.uuid4().hex}")
            git(repo.parent, "clone", "-q", str(bare), str(work))
            _first_commit(settings, work)
            shutil.rmtree(work)
            bare.rename(repo)
    return repo


def _first_commit(settings: Settings, work: Path) -> None:
    (work / ".dvc").mkdir()
    config = (
        f"[core]\n    remote = store\n    analytics = false\n['remote \"store\"']\n"
        f"    url = {_quoted(settings.dvc_remote)}\n    verify = true\n"
    )
    (work / ".dvc" / "config").write_text(config)
    (work / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (work / ".dvcignore").write_text("")
    git(work, "checkout", "-q", "-B", "main")
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "Start the data repository")
    git(work, "push", "-q", "origin", "main")


def _quoted(path: Path) -> str:
    """A path as DVC's configuration takes it: unquoted, ` #` would start a comment and a comma a list."""
    text = str(path)
    quote = "'" if '"' in text else '"'
    if quote in text or "\n" in text:
        raise ConfigError(f"DVC cannot use the path {text!r}", "choose a home without line breaks and both quotes")
    return f"{quote}{text}{quote}"


@contextmanager
def writer(settings: Settings) -> Iterator[Path]:
    """A clone of its own for one writer, removed at the end; what dead writers left is removed before."""
    repo = ensure(settings)
    folder = settings.home / "data" / "writers" / f"{os.getpid()}-{uuid.uuid4().hex}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.iterdir():
        owner = left.name.partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(left, ignore_errors=True)
    try:
        git(repo.parent, "clone", "-q", str(repo), str(folder))
        local = f"[cache]\n    dir = {_quoted(settings.dvc_cache)}\n    type = hardlink,copy\n"
        (folder / ".dvc" / "config.local").write_text(local)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def cached(settings: Settings, md5: str) -> Path:
    """Where the DVC cache keeps an object."""
    return settings.dvc_cache / "files" / "md5" / md5[:2] / md5[2:]


def stored(settings: Settings, md5: str) -> Path:
    """Where the DVC remote keeps an object."""
    return settings.dvc_remote / "files" / "md5" / md5[:2] / md5[2:]
