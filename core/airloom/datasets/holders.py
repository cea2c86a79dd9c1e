"""Which versions hold the rows that a commit brought, or the rows of a shard. git alone answers; no data are read."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from airloom.contracts import DatasetVersion, Snapshot
from airloom.datasets import versions
from airloom.datasets.storage import repository, rewritten
from airloom.datasets.storage.git import objects
from airloom.datasets.storage.manifest import Span, shards_with
from airloom.errors import DataError
from airloom.settings import Settings

_LISTED = re.compile(r"(?P<commit>[0-9a-f]{40}) (?P<path>[a-z][a-z0-9_]*/manifest\.json)")
EVERY = re.compile(rb"")


@dataclass(frozen=True)
class Holder:
    """A version, and the live rows in it that were asked for, by the commit that brought them."""

    version: DatasetVersion
    spans: list[Span] = field(default_factory=list)
    deleted: bool = False

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(span.rows for span in self.spans)

    def rows_in(self, snapshot: Snapshot | None) -> int:
        """How many of them a snapshot of this version reads; all where its filter is not known."""
        return sum(span.rows for span in self.spans if snapshot is None or snapshot.reads(span.version, span.tags))


def spans_of(settings: Settings, version: DatasetVersion) -> list[Span]:
    """All live rows of a version by the commit that brought them, in their order."""
    manifest = _manifests(settings, [(version.commit, version.dataset)])[0]
    return [span for shard in shards_with(manifest, EVERY) for span in shard.live_spans()]


def holders_of_commit(settings: Settings, dataset: str, number: int) -> list[Holder]:
    """The version that a commit made, and every later one with rows that it brought, oldest first."""
    later = [(version, gone) for version, gone in versions.history(settings, dataset) if version.number >= number]
    mark = re.compile(rb"\[\d+,%d,\[" % number)
    holders = []
    texts = _manifests(settings, [(version.commit, dataset) for version, _ in later])
    for (version, gone), text in zip(later, texts, strict=True):
        spans = [span for shard in shards_with(text, mark) for span in shard.live_spans() if span.version == number]
        if spans or version.number == number:
            holders.append(Holder(version, spans, gone))
    return holders


def holders_of_shard(settings: Settings, md5: str) -> list[Holder]:
    """Every version that is or was stored with a shard of this MD5 (or of one that begins so), compactions included.

    Raises:
        DataError: no version has it, or several shards begin so.
    """
    stored, mark = _stored(settings), re.compile(rb'"md5":"%s' % md5.encode())
    texts = _manifests(settings, stored)
    holding = [(at, shards) for at, text in zip(stored, texts, strict=True) if (shards := shards_with(text, mark))]
    names = sorted({shard.md5 for _, shards in holding for shard in shards if shard.md5.startswith(md5)})
    if len(names) != 1:
        listing = f"`git -C {settings.data_repo} show NAME@vN:NAME/manifest.json` lists a version's"
        hint = f"these do: {', '.join(names[:5])}" if names else listing
        raise DataError(f"{len(names) or 'no'} shards begin with {md5}", hint)
    known = {d: versions.history(settings, d) for d in {dataset for (_, dataset), _ in holding}}
    numbers = _numbers(settings, [at for at, _ in holding])
    holders: dict[str, Holder] = {}
    for (at, shards), number in zip(holding, numbers, strict=True):
        spans = [span for shard in shards if shard.md5 == names[0] for span in shard.live_spans()]
        for version, gone in known[at[1]]:
            if version.number == number and (version.name not in holders or not holders[version.name].spans):
                holders[version.name] = Holder(version, spans, gone)
    return sorted(holders.values(), key=lambda holder: (holder.version.dataset, holder.version.number))


def commit_of(settings: Settings, text: str) -> tuple[str, str, int] | None:
    """The whole hash of a commit, the dataset and the number of its version; None where it is no commit.

    Raises:
        DataError: it is a commit that brought no rows, such as a deletion.
    """
    repo = repository.refresh(settings)
    text = rewritten.resolve(repo, text)
    commit = repository.git(repo, "rev-parse", "-q", "--verify", f"{text}^{{commit}}", check=False).stdout.strip()
    if not commit:
        return None
    text = repository.git(repo, *_LOG, "-1", commit, "--", "*/manifest.json").stdout  # of it, or of one before it
    listed = _LISTED.search(text.replace("\n\n", " "))
    if not listed or listed["commit"] != commit:
        subject = repository.git(repo, "log", "-1", "--format=%s", commit).stdout.strip()
        raise DataError(f"commit {commit[:12]} brought no rows: {subject[:200]}", "give a commit that made a version")
    dataset = listed["path"].partition("/")[0]
    return commit, dataset, _numbers(settings, [(commit, dataset)])[0]


_LOG = ("log", "--format=%H", "--name-only", "--diff-filter=AM", "-m", "--first-parent")


def _stored(settings: Settings) -> list[tuple[str, str]]:
    """Every way in which a version was ever stored: commit and dataset, the oldest first."""
    repo = repository.refresh(settings)
    text = repository.git(repo, *_LOG, "--reverse", "--all", "--", "*/manifest.json").stdout
    return [(m["commit"], m["path"].partition("/")[0]) for m in _LISTED.finditer(text.replace("\n\n", " "))]


def _manifests(settings: Settings, at: Iterable[tuple[str, str]]) -> list[bytes]:
    """The manifests at these commits of these datasets.

    Raises:
        DataError: the data repository has lost one.
    """
    names = [f"{commit}:{dataset}/manifest.json" for commit, dataset in at]
    manifests = list[bytes]()
    for name, text in zip(names, objects(settings.data_repo, names) if names else (), strict=True):
        if text is None:
            raise DataError(f"{name} is missing in {settings.data_repo}", "`git fsck` there names what is lost")
        manifests.append(text)
    return manifests


def _numbers(settings: Settings, at: list[tuple[str, str]]) -> list[int]:
    """The number of the version that each of these commits stores."""
    heads = (re.search(rb'^ "number": (\d+),$', text, re.MULTILINE) for text in _manifests(settings, at))
    return [int(head[1]) if head else 0 for head in heads]
