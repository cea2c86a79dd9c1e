"""Forget rows: away from the newest version, from every older one, from git's history, the cache and the remote.

New shards first, then one atomic push of the rewritten history, then the old objects go. Killed before the push,
nothing is visible and it begins anew; killed after it, the next forgetting finishes the rest from its journal.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from airloom.contracts import Record
from airloom.datasets import commit as commits
from airloom.datasets import versions
from airloom.datasets.edit import delete_found
from airloom.datasets.forgetting import journal
from airloom.datasets.forgetting.erasers import names_word
from airloom.datasets.forgetting.places import Eraser, Place
from airloom.datasets.forgetting.redact import Redacted, Redactor
from airloom.datasets.forgetting.search import Found, search, strays
from airloom.datasets.race import Race
from airloom.datasets.redactions import FILE
from airloom.datasets.storage import object_lock, repository, rewrite
from airloom.datasets.storage.store import Store
from airloom.errors import ConfigError, DataError
from airloom.names import dataset_version
from airloom.project import person
from airloom.settings import Settings

LogLine = Callable[[str], None]


@dataclass(frozen=True)
class Forgotten(Record):
    """What a forgetting did, or with a dry run would do.

    Attributes:
        dataset: its name.
        rows: different rows that any version holds.
        versions: how many of its live rows each version loses, by its name; these are REDACTED then.
        stored: how many manifests of the history change.
        version: the new version without the rows; empty where the newest has none of them.
        places: what else holds them.
        left: objects that stay, and why.
        done: whether it was done.
    """

    dataset: str
    rows: int = 0
    versions: dict[str, int] = field(default_factory=dict)
    stored: int = 0
    version: str = ""
    places: list[Place] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    done: bool = False


def plan(settings: Settings, dataset: str, keys: Sequence[str], erasers: Sequence[Eraser]) -> Forgotten:
    """What `forget` would do; nothing changes.

    Raises:
        DataError: no version has a row with one of the keys.
        ConfigError: the dataset declares no key.
    """
    found = search(settings, Store(settings), dataset, keys)
    _check_found(found, keys)
    return _answer(settings, found, _places(settings, found, erasers))


def forget(
    settings: Settings,
    dataset: str,
    keys: Sequence[str],
    *,
    reason: str,
    erasers: Sequence[Eraser],
    author: str | None = None,
    log_line: LogLine = lambda _: None,
) -> Forgotten:
    """Forget all rows with these keys, in all versions.

    The newest version is followed by one without them. Older ones that held them keep number and id, and are REDACTED.

    Args:
        settings: of this installation.
        dataset: its name.
        keys: of the rows, as text.
        reason: why; it is recorded, and must not name a key.
        erasers: who knows what else holds rows.
        author: who says so; None for who calls.
        log_line: is told of each step.

    Raises:
        DataError: no version has a row with one of the keys, or nothing would be left of the newest version.
        ConfigError: no reason is given, or it names a key; or the dataset declares no key.
        DataAway: git or the remote does not take it; nothing is visible, or the next forgetting finishes it.
    """
    who = person.author(settings, author).name
    _check_reason(reason, who, keys)
    with _alone(settings):
        resumed = _finish(settings, erasers, log_line)
        store = Store(settings)
        store.sweep()
        log_line(f"looking for {len(keys)} keys in every version of {dataset}")
        found = search(settings, store, dataset, keys)
        if resumed and resumed.dataset == dataset and not found.places:
            return Forgotten(dataset, done=True)
        _check_found(found, keys)
        said = {"who": who, "reason": reason}

        def again() -> Found:
            return search(settings, store, dataset, keys)

        return _rewrite(settings, store, found, again, said, erasers, log_line)


def _check_reason(reason: str, author: str, keys: Sequence[str]) -> None:
    if not reason.strip():
        raise ConfigError("a forgetting needs a reason", "say why with --reason")
    commits.Details(reason, author).check()
    if any(names_word(text, key) for key in keys for text in (reason, author)):
        raise ConfigError("the reason names a key, and would be kept", "say why without it")


def _check_found(found: Found, keys: Sequence[str]) -> None:
    absent = [key for number, key in enumerate(keys) if number not in found.keys]
    if absent:
        named = ", ".join(ascii(key[:80]) for key in absent[:20])
        message = f"no version of {found.dataset} has a row with the key {named}"
        raise DataError(message, "look at the key column; nothing was changed")


def _leave_out(settings: Settings, store: Store, found: Found, said: dict[str, str]) -> str:
    """Follow the newest version by one without the rows, where it has some; returns its name."""
    head = commits.tip(settings, found.dataset).manifest
    if head is None or not found.live.get(head.number):
        return ""
    message = f"Forgotten: {said['reason']}"
    return delete_found(settings, store, head, found.places, message=message, author=said["who"]).name


def _rewrite(
    settings: Settings,
    store: Store,
    found: Found,
    again: Callable[[], Found],
    said: dict[str, str],
    erasers: Sequence[Eraser],
    log_line: LogLine,
) -> Forgotten:
    redactor, race, made = Redactor(store), Race(settings, f"older versions of {found.dataset} still have the rows"), ""
    answer = _answer(settings, found, _places(settings, found, erasers))
    while True:
        repo, head = settings.data_repo, found.head
        if version := _leave_out(settings, store, found, said):
            log_line(f"{version} is without them")
            made, found = version, again()  # what it is stored in has them still
            continue
        places = _places(settings, found, erasers)
        redacted = redactor.redact(found)
        log_line(f"{len(redacted.sizes)} new objects go to the DVC remote")
        store.push(redacted.sizes)
        old = redacted.old | _listings(repo, found, redacted)
        old |= set(strays(found, rewrite.named(repo) | set(redacted.sizes), _folders(settings)))
        try:
            with object_lock.held(settings, alone=False, lock=object_lock.GIT):
                change = _change(repo, found, redacted, said)
                rewriting = rewrite.write(repo, head, found.dataset, redacted.files, change)
                erased = [place for place in places if place.erased]
                pending = journal.Pending(found.dataset, rewriting.commit, time.time(), sorted(old), erased)
                journal.keep(settings, pending)
                log_line(f"{len(rewriting.commits)} commits and {len(rewriting.refs)} refs are rewritten by one push")
                rewrite.publish(settings, repo, rewriting)
        except repository.NotFirst as refused:
            journal.done(settings)
            race.lost(head, refused)
            found = again()
            continue
        left = _remove(settings, pending, erasers, log_line, found)
        return replace(answer, version=made, places=places, left=left, done=True)


def _listings(repo: Path, found: Found, redacted: Redacted) -> set[str]:
    """The objects that list the shards and indices of the manifests that change."""
    commits_of, names = rewrite.manifests(repo, found.dataset), set[str]()
    for blob in redacted.files:
        texts = repository.read_files(
            repo, commits_of[blob][0], *(f"{found.dataset}/{n}.dvc" for n in ("shards", "index"))
        )
        names |= {
            line.split()[-1] for text in texts if text for line in text.splitlines() if line.startswith("- md5: ")
        }
    return names


def _change(repo: Path, found: Found, redacted: Redacted, said: dict[str, str]) -> repository.Change:
    numbers = sorted(found.live)
    forgetting = {
        "who": said["who"],
        "when": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "reason": said["reason"],
        "rows": len(found.digests),
        "versions": [dataset_version(found.dataset, number) for number in (numbers[0], numbers[-1])] if numbers else [],
    }
    record = versions.redactions(repo, found.dataset).after(forgetting, found.live, redacted.ids)
    files = {f"{found.dataset}/{FILE}": record.to_json().encode()}
    message = f"Forget rows of {found.dataset}: {' '.join(said['reason'].split())[:200]}\n"
    return repository.Change(files, message, said["who"])


def _finish(settings: Settings, erasers: Sequence[Eraser], log_line: LogLine) -> journal.Pending | None:
    """Finish what a killed forgetting left to do, where its push is visible; returns it."""
    pending = journal.read(settings)
    if pending is None:
        return None
    if not rewrite.is_visible(repository.refresh(settings), pending.commit):
        journal.done(settings)  # it was never pushed: what it wrote nobody names
        return None
    log_line(f"a forgetting of {pending.dataset} was interrupted; it is finished now")
    _remove(settings, pending, erasers, log_line)
    return pending


def _remove(
    settings: Settings,
    pending: journal.Pending,
    erasers: Sequence[Eraser],
    log_line: LogLine,
    found: Found | None = None,
) -> list[str]:
    """What the push made needless: old objects, places, git's own; returns the objects that stay, and why."""
    by_name = {eraser.name: eraser for eraser in erasers}
    for place in pending.places:
        by_name[place.eraser].erase(settings, place)
    repo, store = repository.refresh(settings), Store(settings)
    named = rewrite.named(repo)
    objects = set(pending.objects)
    if found:  # a commit that lost against this one may have written some meanwhile
        objects |= set(strays(found, named, _folders(settings)))
    log_line(f"{len(objects - named)} old objects go from the cache and the DVC remote")
    left = [why for name in sorted(objects - named) for why in _unlink(settings, store, name, pending.at)]
    log_line("git's unreachable objects go")
    rewrite.prune(settings)
    journal.done(settings)
    return left


def _unlink(settings: Settings, store: Store, name: str, at: float) -> Iterator[str]:
    """Remove an object from the cache and the remote; why not, where somebody has taken it up since."""
    remote = store.remote.oid_to_path(name)
    local = [store.path(name)] + ([Path(remote)] if Path(remote).is_absolute() and Path(remote).exists() else [])
    with object_lock.held(settings, alone=True):
        for path in local:
            with suppress(FileNotFoundError):
                if path.stat().st_mtime > at:
                    yield f"{path}: a commit under way has taken it up; `airloom gc` removes it if no version names it"
                else:
                    path.unlink()
    if len(local) == 1 and store.remote.fs.exists(remote):
        store.remote.fs.remove(remote)


def _folders(settings: Settings) -> list[Path]:
    """Where objects lie that nobody else's commit may name: a remote that homes share is not searched."""
    cache, own = settings.dvc_cache / "files" / "md5", not settings.dvc_remote and not settings.data_remote
    return [cache, settings.dvc_remote_folder / "files" / "md5"] if own else [cache]


def _places(settings: Settings, found: Found, erasers: Sequence[Eraser]) -> list[Place]:
    return [place for eraser in erasers for place in eraser.holds(settings, found)]


def _answer(settings: Settings, found: Found, places: list[Place]) -> Forgotten:
    by_version = {dataset_version(found.dataset, number): found.live[number] for number in sorted(found.live)}
    stored = sum(any((s.md5, s.index) in found.places for s in m.shards) for m in found.manifests.values())
    tip = commits.tip(settings, found.dataset)
    follows = (
        dataset_version(found.dataset, tip.highest + 1) if tip.manifest and tip.manifest.number in found.live else ""
    )
    return Forgotten(found.dataset, len(found.digests), by_version, stored, follows, places)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        with FileLock(str(repository.ensure(settings).with_name("forget.lock")), timeout=0):
            yield
    except Timeout:
        raise ConfigError("another forgetting is under way in this home", "wait until it has ended") from None
