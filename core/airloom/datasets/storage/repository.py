"""The data repository: git on one side, DVC's configuration on the other.

`settings.data_repo` is a bare git repository in the home. It is the data repository itself, or, where
`AIRLOOM_DATA_REMOTE` names a git remote that several homes share, this home's mirror of it. A commit is made of objects
first, which nobody sees, and becomes visible by one atomic push of branch and tag.
"""

import contextlib
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from airloom.datasets.storage import dvc_config, object_lock, rewritten
from airloom.datasets.storage.git import LOCKED, MAIL, foreign, objects, patiently
from airloom.datasets.storage.git import git as git
from airloom.errors import CorruptFile, DataAway, DataError
from airloom.files import write_private, writing
from airloom.home import USER, private_folder
from airloom.project.person import SERVICE
from airloom.settings import Settings

LOST = ("(fetch first)", "(non-fast-forward)", "already exists", "but expected", "cannot lock ref", "stale info")
MIRROR = "+refs/*:refs/*"
CONFIG = ".dvc/config"


class NotFirst(Exception):
    """git refuses a push because a ref is not what the writer took it for; nothing became visible."""


@dataclass(frozen=True)
class Change:
    """What one push brings: files below the dataset's folder, a commit, and a tag or another ref on it."""

    files: Mapping[str, bytes]  # by path from the root; all in one folder
    message: str
    author: str
    tag: str = ""  # an annotated tag of this name
    note: str = ""  # its message
    ref: str = ""  # or a plain ref, moved to the commit
    mail: str = ""  # the author's, where it is known


def ensure(settings: Settings) -> Path:
    """The bare repository of this home, made where it is not there; two makers at once are safe."""
    repo = settings.data_repo
    if (repo / "HEAD").exists():
        return repo
    from filelock import FileLock

    with writing(repo.parent):
        settings.make_home()
        repo.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(str(repo.parent / "create.lock")):
            if not repo.is_dir():
                _make_whole(settings, repo)
    return repo


def _make_whole(settings: Settings, repo: Path) -> None:
    bare = repo.with_name(f"new-{uuid.uuid4().hex}")
    try:
        _make(settings, bare)
        bare.rename(repo)
    finally:
        shutil.rmtree(bare, ignore_errors=True)


def _make(settings: Settings, bare: Path) -> None:
    git(bare.parent, "init", "-q", "--bare", "-b", "main", str(bare))
    if settings.data_remote:
        git(bare, "remote", "add", "origin", settings.data_remote)
        git(bare, "config", "--unset", "remote.origin.fetch")  # else a push would move the mirror's refs, unlocked
        _fetch(bare)
    if head(bare):
        return
    try:
        publish(settings, Change(_first_files(settings), "Start the data repository", SERVICE), None, bare)
    except NotFirst:  # somebody else started it meanwhile
        _fetch(bare)


def _first_files(settings: Settings) -> dict[str, bytes]:
    if not settings.dvc_remote:
        settings.dvc_remote_folder.mkdir(parents=True, exist_ok=True)
    files = {"config": dvc_config.first(settings), ".gitignore": "/config.local\n/tmp\n/cache\n"}
    return {f".dvc/{name}": text.encode() for name, text in files.items()} | {".dvcignore": b""}


def dvc_folder(settings: Settings) -> Path:
    """A folder with the shared DVC configuration; `config.local` there is the user's, as for credentials."""
    folder, shared = settings.home / "data" / "dvc", renew_remote(settings)
    private_folder(settings.home / USER)  # DVC makes its caches there for everybody
    write_private(folder / ".dvc" / "config", dvc_config.relative(settings, shared, folder))
    return folder


def renew_remote(settings: Settings) -> str:
    """DVC's configuration on main; where the home was moved, a commit there first names its remote's new place."""
    repo = ensure(settings)
    shared = git(repo, "show", f"main:{CONFIG}").stdout
    text = dvc_config.renewed(settings, shared)
    if text != shared:
        with contextlib.suppress(NotFirst, DataAway):  # who comes next tries again; this home knows the way without
            publish(settings, Change({CONFIG: text.encode()}, "Name the DVC remote's new place\n", SERVICE), head(repo))
    return text


def refresh(settings: Settings) -> Path:
    """The repository with what the shared remote has by now; without one there is nothing to fetch."""
    repo = ensure(settings)
    if settings.data_remote:
        _fetch(repo)
    return repo


def _fetch(repo: Path) -> None:
    from filelock import FileLock

    with FileLock(str(repo.with_name("fetch.lock"))):  # two fetches into one mirror would fight for its refs
        done = patiently(repo, "fetch", "-q", "--prune", "origin", MIRROR)
    if done.returncode:
        url = git(repo, "remote", "get-url", "origin").stdout.strip()
        hint = foreign(done.stderr) or "look at it; try again"
        raise DataAway(f"the data remote {url} was not fetched: {done.stderr.strip()[:400]}", hint)


def head(repo: Path) -> str:
    """The commit of main, empty where there is none."""
    return git(repo, "rev-parse", "-q", "--verify", "refs/heads/main", check=False).stdout.strip()


def first_commit(settings: Settings) -> str:
    """The commit that the data repository began with, which no forgetting rewrites; empty where there is none yet."""
    repo = settings.data_repo
    if not (repo / "HEAD").exists() or not head(repo):
        return ""
    return git(repo, "rev-list", "--max-parents=0", "refs/heads/main").stdout.split()[-1]


def read_file(repo: Path, revision: str, path: str) -> str | None:
    """A file's text at a revision; None where it is not there."""
    return read_files(repo, revision, path)[0]


def read_files(repo: Path, revision: str, *paths: str) -> list[str | None]:
    """Several files' texts at a revision, by one call of git; None for those that are not there.

    Raises:
        CorruptFile: the revision has such a file, and git lost it.
    """
    read = objects(repo, [f"{revision}:{path}" for path in paths])
    texts = [None if data is None else data.decode() for data in read]
    absent = [path for path, text in zip(paths, texts, strict=True) if text is None]
    # git calls missing what was never there and what it lost alike; its trees know the difference.
    lost = git(repo, "ls-tree", "--name-only", revision, "--", *absent).stdout.split() if absent else []
    if lost:
        message = f"{lost[0]} of {revision[:40]} is missing in {repo}"
        raise CorruptFile(message, "`git fsck` there names what is lost; restore it from a copy or a clone")
    return texts


def publish(settings: Settings, change: Change, parent: str | None, repo: Path | None = None) -> str:
    """Make `change` visible on top of the commit `parent` by one atomic push.

    Args:
        settings: of this installation.
        change: what becomes visible.
        parent: commit of main; None where there is none yet.
        repo: another repository than the home's own.

    Returns:
        The new commit.

    Raises:
        NotFirst: a ref is not what it was, as when another push was first; nothing is visible.
        DataAway: the push failed for another reason.
    """
    repo = repo or ensure(settings)
    with object_lock.held(settings, alone=False, lock=object_lock.GIT):
        commit, specs = write_objects(repo, change, parent)
        target = "origin" if settings.data_remote else "."
        done = patiently(repo, "push", "-q", "--atomic", target, *specs)
    if done.returncode == 0:
        if settings.data_remote:
            with contextlib.suppress(DataError):  # the version is there; whoever looks next fetches it
                _fetch(repo)
        return commit
    raise refused(done.stderr, change.tag or change.message)


def refused(output: str, what: str) -> Exception:
    """The error of a push that failed: `NotFirst` or `DataAway`.

    Args:
        output: of git.
        what: was pushed.
    """
    locked = LOCKED.search(output)
    if locked:
        message = f"the push of {what} failed: another git process holds {locked[1]}"
        return DataAway(message, "nothing is visible; if no git is running there, remove that file and try again")
    if any(sign in output for sign in LOST):
        return NotFirst(" ".join(output.split())[:400])
    return DataAway(f"the push of {what} failed: {output.strip()[:500]}", "nothing is visible; try again")


def publish_ref(settings: Settings, ref: str, commit: str, *, force: bool = False) -> bool:
    """Point a ref to a commit; False where it names another one already.

    Args:
        settings: of this installation.
        ref: its whole name.
        commit: where it shall point.
        force: move a ref that names another commit.

    Raises:
        DataAway: the push failed for another reason.
    """
    repo = refresh(settings)
    spec = f"{'+' if force else ''}{rewritten.resolve(repo, commit)}:{ref}"  # never one that a forgetting replaced
    done = patiently(repo, "push", "-q", "origin" if settings.data_remote else ".", spec)
    if done.returncode and not any(sign in done.stderr for sign in (*LOST, "would clobber")):
        raise DataAway(f"the push of {ref} failed: {done.stderr.strip()[:500]}", "nothing changed; try again")
    refresh(settings)
    return done.returncode == 0


def write_objects(repo: Path, change: Change, parent: str | None) -> tuple[str, list[str]]:
    """Write blobs, tree, commit and tag, which no ref names yet; returns the commit and what to push.

    Raises:
        NotFirst: a forgetting has replaced the parent meanwhile.
        DataAway: the disk does not take them, or what they build on is damaged.
    """
    import pygit2

    try:
        return _write_objects(repo, change, parent)
    except (pygit2.GitError, OSError, KeyError) as error:
        if parent in rewritten.commits(repo):
            raise NotFirst(f"{parent} was replaced by a forgetting") from None
        raise not_written(repo, error) from None


def not_written(repo: Path, error: Exception) -> DataAway:
    """What is said where git's objects cannot be written."""
    return DataAway(f"{repo} cannot be written: {error}", "make room, or `git fsck` it; nothing is visible")


def _write_objects(repo: Path, change: Change, parent: str | None) -> tuple[str, list[str]]:
    import pygit2

    pygit2.option(pygit2.enums.Option.SET_OWNER_VALIDATION, False)  # git itself is not asked to trust the folder either
    store = pygit2.Repository(str(repo))
    files = pygit2.Index()
    if parent:
        files.read_tree(store[parent].peel(pygit2.Tree))
    for path, data in change.files.items():
        files.add(pygit2.IndexEntry(path, store.create_blob(data), pygit2.enums.FileMode.BLOB))
    tree = files.write_tree(store)
    who = pygit2.Signature(change.author, change.mail or MAIL)
    committer = pygit2.Signature("airloom", MAIL)
    commit = store.create_commit(None, who, committer, change.message, tree, [parent] if parent else [])
    specs = [f"{commit}:refs/heads/main"]
    if change.tag:
        tagger = f"tagger airloom <{MAIL}> {int(time.time())} +0000"
        body = f"object {commit}\ntype commit\ntag {change.tag}\n{tagger}\n\n{change.note}\n"
        specs.append(f"{store.write(pygit2.enums.ObjectType.TAG, body.encode())}:refs/tags/{change.tag}")
    if change.ref:
        specs.append(f"+{commit}:{change.ref}")
    return str(commit), specs
