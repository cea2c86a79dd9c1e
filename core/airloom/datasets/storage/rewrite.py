"""Rewrite the history of the data repository: other files in the place of a dataset's, from their first commit onwards.

New commits, trees and tags are objects that no ref names. One atomic push moves every ref to them; it is refused where
another push was first, and then nothing has changed.
"""

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airloom.datasets.storage import object_lock, repository, rewritten
from airloom.datasets.storage.git import git, objects, patiently
from airloom.errors import DataError
from airloom.files import write_private
from airloom.settings import Settings

MAIN = "refs/heads/main"
_NAMES = re.compile(rb'"(?:md5|index)":"([0-9a-f]{32})"|^- md5: (\S+)$', re.MULTILINE)
Files = Mapping[str, bytes]  # by name in the dataset's folder


@dataclass(frozen=True)
class Rewriting:
    """What one push makes visible.

    Attributes:
        commit: of main.
        commits: the new commit by the one that it stands for.
        refs: where each ref shall stand, by its name, and where it stood.
    """

    commit: str
    commits: dict[str, str]
    refs: dict[str, tuple[str, str]]


def manifests(repo: Path, dataset: str) -> dict[str, list[str]]:
    """The commits that hold each manifest of a dataset, by the manifest's blob; in the order of history."""
    store, found = _open(repo), dict[str, list[str]]()
    for commit in _history(repo):
        blob = _manifest(store, commit, dataset)
        if blob:
            found.setdefault(blob, []).append(commit)
    return found


def write(repo: Path, head: str, dataset: str, files: Mapping[str, Files], change: repository.Change) -> Rewriting:
    """Write the new history, and one more commit on its main.

    Args:
        repo: the data repository.
        head: the commit of main on which the files were looked at.
        dataset: whose files are replaced.
        files: the new ones, by the blob of the manifest beside which they stand.
        change: of the commit on top.

    Raises:
        NotFirst: main is another by now: its commits may hold what is to be replaced.
        DataAway: the disk does not take it.
    """
    import pygit2

    try:
        replaced = _commits(repo, dataset, files)
        refs = dict(_refs(repo, replaced))
        if repository.head(repo) != head:
            raise repository.NotFirst(f"main was {head}")
        commit, _ = repository.write_objects(repo, change, replaced.get(head, head))
        refs[MAIN] = (head, commit)
        known = {was: replaced.get(now, now) for was, now in rewritten.commits(repo).items()} | replaced
        names = repository.Change({rewritten.FILE: rewritten.to_bytes(known)}, "Rewritten commits\n", "airloom")
        refs[rewritten.REF] = ("", repository.write_objects(repo, names, None)[0])
    except (pygit2.GitError, OSError) as error:
        raise repository.not_written(repo, error) from None
    return Rewriting(commit, replaced, refs)


def publish(settings: Settings, repo: Path, rewriting: Rewriting) -> None:
    """Move all refs at once.

    Raises:
        NotFirst: another push was first; nothing is visible.
        DataAway: the push failed for another reason.
    """
    # Version tags move with main only, so main's lease is theirs; names that a person gives move by themselves.
    leases, lines = list[str](), list[str]()
    for name, (old, new) in rewriting.refs.items():
        leased = name == MAIN or (name.startswith("refs/tags/") and "@v" not in name)
        leases += [f"--force-with-lease={name}:{old}"] if leased else []
        lines.append(f"\tpush = {'' if leased else '+'}{new}:{name}\n")
    url = settings.data_remote or str(repo)
    # Ten thousand refs do not fit a command line.
    file = repo.with_name(f"push-{uuid.uuid4().hex}.config")
    try:
        write_private(file, f'[remote "rewritten"]\n\turl = {_quoted(url)}\n' + "".join(lines))
        done = patiently(repo, "-c", f"include.path={file}", "push", "-q", "--atomic", *leases, "rewritten")
    finally:
        file.unlink(missing_ok=True)
    if done.returncode:
        raise repository.refused(done.stderr, "the rewritten history")
    repository.refresh(settings)


def prune(settings: Settings) -> None:
    """Remove every object from this home's git repository that no ref reaches. Pushes wait meanwhile."""
    from filelock import FileLock

    repo = repository.ensure(settings)
    fetching = FileLock(str(repo.with_name("fetch.lock")))
    with object_lock.held(settings, alone=True, lock=object_lock.GIT), fetching:
        git(repo, "reflog", "expire", "--expire=now", "--all")
        git(repo, "gc", "-q", "--prune=now")
    write_private(_pruned(settings), _state(repo))


def prune_once(settings: Settings) -> bool:
    """Prune after a forgetting that this home has not been pruned after, as one of another home; whether it was."""
    repo = settings.data_repo
    state = _state(repo) if repo.is_dir() else ""
    if not state or (_pruned(settings).is_file() and _pruned(settings).read_text() == state):
        return False
    prune(settings)
    return True


def _pruned(settings: Settings) -> Path:
    return settings.home / "data" / "pruned"


def _state(repo: Path) -> str:
    return git(repo, "rev-parse", "-q", "--verify", rewritten.REF, check=False).stdout.strip()


def is_visible(repo: Path, commit: str) -> bool:
    """Whether a commit was pushed: main has it behind it, or it was replaced since."""
    if commit in rewritten.commits(repo):
        return True
    return git(repo, "merge-base", "--is-ancestor", commit, MAIN, check=False).returncode == 0


def _open(repo: Path) -> Any:
    import pygit2

    pygit2.option(pygit2.enums.Option.SET_OWNER_VALIDATION, False)  # git itself is not asked to trust the folder either
    return pygit2.Repository(str(repo))


def _history(repo: Path) -> list[str]:
    """Every commit that a ref reaches, parents first."""
    return git(repo, "rev-list", "--topo-order", "--reverse", "--all").stdout.split()


def _manifest(store: Any, commit: str, dataset: str) -> str:
    try:
        return str((store[commit].tree / dataset / "manifest.json").id)
    except KeyError:
        return ""


def _commits(repo: Path, dataset: str, files: Mapping[str, Files]) -> dict[str, str]:
    import pygit2

    store, replaced = _open(repo), dict[str, str]()
    folders = dict[str, Any]()  # the new tree of the dataset's folder, by the old one
    for name in _history(repo):
        commit, blob = store[name], _manifest(store, name, dataset)
        parents = [replaced.get(str(parent), str(parent)) for parent in commit.parent_ids]
        tree = commit.tree_id
        if blob in files:
            folder = commit.tree / dataset
            if str(folder.id) not in folders:
                folders[str(folder.id)] = _with(store, folder, files[blob])
            root = store.TreeBuilder(commit.tree)
            root.insert(dataset, folders[str(folder.id)], pygit2.enums.FileMode.TREE)
            tree = root.write()
        elif parents == [str(parent) for parent in commit.parent_ids]:
            continue
        made = store.create_commit(None, commit.author, commit.committer, commit.message, tree, parents)
        replaced[name] = str(made)
    return replaced


def _with(store: Any, folder: Any, files: Files) -> Any:
    import pygit2

    builder = store.TreeBuilder(folder)
    for name, data in files.items():
        builder.insert(name, store.create_blob(data), pygit2.enums.FileMode.BLOB)
    return builder.write()


def _refs(repo: Path, replaced: Mapping[str, str]) -> Iterable[tuple[str, tuple[str, str]]]:
    """Each ref on a replaced commit: where it stands, and where it shall stand."""
    import pygit2

    store = _open(repo)
    listed = git(repo, "for-each-ref", "--format=%(objecttype) %(objectname) %(refname)").stdout
    for line in listed.splitlines():
        kind, target, name = line.split(" ", 2)
        if kind == "commit" and target in replaced:
            yield name, (target, replaced[target])
        elif kind == "tag":
            first, _, rest = store[target].read_raw().partition(b"\n")
            commit = first.removeprefix(b"object ").decode()
            if commit in replaced:
                body = f"object {replaced[commit]}\n".encode() + rest
                yield name, (target, str(store.write(pygit2.enums.ObjectType.TAG, body)))


def _quoted(url: str) -> str:
    escaped = url.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def named(repo: Path) -> set[str]:
    """The names of all objects in DVC that any reachable commit of any dataset names.

    Raises:
        DataError: git has lost a manifest: then nobody knows.
    """
    listed = git(repo, "rev-list", "--objects", "--all").stdout.splitlines()
    ours = ("/manifest.json", "/shards.dvc", "/index.dvc")
    blobs = sorted({line.split(" ", 1)[0] for line in listed if line.endswith(ours)})
    names = set[str]()
    for blob, text in zip(blobs, objects(repo, blobs) if blobs else (), strict=True):
        if text is None:
            raise DataError(f"{blob} is missing in {repo}", "`git fsck` there names what is lost; nothing is removed")
        names |= {(a or b).decode() for a, b in _NAMES.findall(text)}
    return names
