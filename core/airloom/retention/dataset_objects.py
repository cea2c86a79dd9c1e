"""Objects of datasets that no version names: of commits that failed, of deleted versions, of old storage."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airloom.datasets import versions
from airloom.datasets.storage import object_lock, repository, rewrite, rewritten
from airloom.datasets.storage.store import Store
from airloom.errors import CorruptFile
from airloom.retention.in_use import InUse
from airloom.retention.items import Removal, Rules, below, remove_folder
from airloom.settings import Settings

_LISTED = re.compile(r"^- md5: (\S+)$", re.MULTILINE)


def objects(settings: Settings, rules: Rules, in_use: InUse) -> Iterator[Removal]:
    """Every object in this home's cache, and in its DVC remote where that is its own."""
    if not settings.data_repo.is_dir():
        return
    named = references(settings, in_use)
    for place in _places(settings):
        for path in (file for folder in below(place) for file in below(folder)):
            name = path.parent.name + path.name
            if len(path.parent.name) != 2 or not re.fullmatch(r"[0-9a-f]{32}(\.dir)?", name):
                continue
            yield _item(settings, rules, path, named.get(name, ""))


def references(settings: Settings, in_use: InUse) -> dict[str, str]:
    """The objects that are needed, each with the reason: versions, their storage, snapshots, models, living jobs.

    Raises:
        DataError: the data repository, or its shared remote, cannot be read: then nothing is collected.
    """
    import pygit2

    repository.refresh(settings)
    pygit2.option(pygit2.enums.Option.SET_OWNER_VALIDATION, False)  # git itself is not asked to trust the folder either
    store, reasons = pygit2.Repository(str(settings.data_repo)), dict[str, str]()
    for (dataset, commit), why in _commits(settings, store, in_use).items():
        for text in _files(store, dataset, commit):
            reasons |= dict.fromkeys(_LISTED.findall(text), why)
            if text.startswith("{"):
                shards = json.loads(text)["shards"]
                reasons |= {shard[name]: why for shard in shards for name in ("md5", "index")}
    return reasons


def _files(store: Any, dataset: str, commit: str) -> list[str]:
    import pygit2

    try:
        tree = store[commit].peel(pygit2.Commit).tree / dataset
        return [(tree / name).data.decode() for name in ("manifest.json", "shards.dvc", "index.dvc")]
    except (KeyError, ValueError) as error:
        message = f"commit {commit[:12]} of dataset {dataset} cannot be read: {error}"
        raise CorruptFile(
            message, "nothing is collected; `git fsck` in the data repository names what is lost"
        ) from None


def _commits(settings: Settings, store: Any, in_use: InUse) -> dict[tuple[str, str], str]:
    """Dataset and commit, with who reads it."""
    repo = settings.data_repo
    recorded = {(dataset, rewritten.resolve(repo, commit)): why for (dataset, commit), why in in_use.commits.items()}
    readers = {key: why for key, why in recorded.items() if key[1] in store}  # else nobody can read it anyway
    listed = repository.git(repo, "for-each-ref", "--format=%(refname:strip=2) %(objectname)", "refs/storage").stdout
    compacted = dict(line.split(" ") for line in listed.splitlines())
    for dataset in versions.list_datasets(settings):
        for version in versions.list_versions(settings, dataset):
            readers[dataset, version.commit] = f"{version.name} has it"
            if commit := compacted.get(f"{dataset}/v{version.number}"):
                readers[dataset, commit] = f"{version.name} has it since it was compacted"
    commits = {commit for _, commit in readers}
    for record in (settings.home / "snapshots").glob("*/snapshot.json"):
        try:
            values = json.loads(record.read_text(encoding="utf-8"))
            snapshot, storage = values["snapshot"], values.get("storage", "")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # prepared anew when it is asked for
        # A snapshot of an older storage names rows by their place in it.
        if snapshot["commit"] in commits and storage and storage in store:
            readers.setdefault((snapshot["dataset"], storage), f"snapshot {snapshot['id'][:12]} names its rows")
    return readers


def _places(settings: Settings) -> list[Path]:
    own = not settings.dvc_remote and not settings.data_remote
    cache = settings.dvc_cache / "files" / "md5"
    return [cache, settings.dvc_remote_folder / "files" / "md5"] if own else [cache]


def _item(settings: Settings, rules: Rules, path: Path, why: str) -> Removal:
    name = str(path.relative_to(settings.home))
    try:
        state = path.stat()
    except FileNotFoundError:
        return Removal("shard", name, 0, "it is gone already")
    if why:
        return Removal("shard", name, state.st_size, why)
    if rules.now - state.st_mtime < rules.grace:
        return Removal("shard", name, state.st_size, "it is young: a commit that is under way may name it")

    def take() -> str:
        with object_lock.held(settings, alone=True):
            try:
                # A commit that is about to name it has made it young meanwhile.
                if path.stat().st_mtime != state.st_mtime:
                    return "a commit under way has taken it up"
                path.unlink()
            except FileNotFoundError:
                return ""
        return ""

    return Removal("shard", name, state.st_size, "no version, snapshot, model or job names it", True, take)


def sweep(settings: Settings) -> None:
    """Half-written objects of dead writers, and where the rows of deleted datasets were looked up."""
    if settings.data_repo.is_dir():
        Store(settings).sweep()
        repository.refresh(settings)
        rewrite.prune_once(settings)  # after a forgetting that another home has done
        known = versions.list_datasets(settings)
        for folder in below(settings.home / "data" / "lookup"):
            if folder.name not in known:
                remove_folder(settings, folder)
