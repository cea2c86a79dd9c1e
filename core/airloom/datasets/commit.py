"""Commit rows: stored and validated first, pushed to the DVC remote, then made visible by one atomic git push."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from airloom.contracts import DatasetVersion
from airloom.datasets import versions
from airloom.datasets.equal_inputs import note_of, policy_of
from airloom.datasets.ingest import Batches, from_table
from airloom.datasets.operations import Append, NextVersion, Operation, Replace, indices
from airloom.datasets.race import Race
from airloom.datasets.storage import outputs, repository, schema
from airloom.datasets.storage.manifest import Shard, VersionManifest, pack_schema
from airloom.datasets.storage.schema import Layout
from airloom.datasets.storage.shards import ShardWriter, cut_bits
from airloom.datasets.storage.statistics import summarise
from airloom.datasets.storage.store import Store
from airloom.datasets.types import get_type
from airloom.datasets.types.base import WrongRow
from airloom.datasets.types.labels import without_order
from airloom.datasets.validation import quarantine
from airloom.datasets.validation.validate import Report, validate
from airloom.errors import ConfigError, DataError, ValidationFailed
from airloom.project import person
from airloom.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

Mode = Literal["append", "replace"]
TAG = re.compile(r"[a-z0-9][a-z0-9_.=-]{0,63}")


@dataclass(frozen=True)
class Details:
    """What a commit says of itself."""

    message: str
    author: str
    tags: list[str] = field(default_factory=list)
    source: str = ""
    report: str = ""
    released: str = ""
    equal_inputs: str = ""
    mail: str = ""  # of the author, where it is known

    @classmethod
    def of(cls, settings: Settings, message: str, author: str | None, **more: Any) -> "Details":
        """What `author` says; None for who calls."""
        who = person.author(settings, author)
        return cls(message, who.name, mail=who.mail, **more)

    def check(self) -> None:
        """Check what git and the readers of the log get.

        Raises:
            ConfigError: the message, the author or a tag is none.
        """
        if not self.message.strip() or "\0" in self.message or len(self.message) > 10_000:
            raise ConfigError(f"the message {self.message[:60]!r} is empty, too long or holds NUL", "say what is new")
        if not person.Person(self.author).is_one:
            hint = "a name of one line, `Ada` or `Ada <ada@example.org>`"
            raise ConfigError(f"{self.author[:60]!r} is no name of an author", hint)
        wrong = [tag for tag in self.tags if not TAG.fullmatch(tag)]
        if wrong:
            raise ConfigError(f"{wrong[0][:80]!r} is no tag", "lower case letters, digits and _.=-, at most 64")


@dataclass(frozen=True)
class Staged:
    """Rows that lie in the cache and that no version names yet."""

    shards: list[Shard]
    schema: pa.Schema
    layout: Layout
    bits: int
    profile: "pd.DataFrame"


def commit(
    settings: Settings,
    dataset: str,
    data: Batches | pa.Table,
    *,
    message: str,
    author: str | None = None,
    mode: Mode = "append",
    tags: Sequence[str] = (),
    source: str = "",
    suite: Path | None = None,
    released: str = "",
    equal_inputs: str = "",
    drop_duplicates: bool = False,
) -> DatasetVersion:
    """Make a new version of `dataset` from its newest one and `data`.

    Args:
        settings: of this installation.
        dataset: its name; the first commit creates it.
        data: the rows, as `airloom.datasets.ingest` gives them; a table of images is taken as it is.
        message: what is new.
        author: who says so, `Ada` or `Ada <ada@example.org>`; None for who calls (`airloom.project.person`).
        mode: append the rows, or replace all rows by them.
        tags: words that a snapshot can choose rows by, for example `camera=left`.
        source: where the rows come from.
        suite: expectation suite; by default configs/expectations/<dataset>.json of the project.
        released: who lets the rows through whatever the suite says, and why.
        equal_inputs: what this and later commits do with rows whose inputs are there already: `allow`, `same_split` or
            `refuse`; by default what the dataset or its type says (`airloom.datasets.equal_inputs`).
        drop_duplicates: leave out rows whose inputs are there already, in the dataset or further up in the batch.

    Raises:
        ValidationFailed: the rows are in quarantine, nothing else happened.
        NothingChanged: the newest version has exactly these rows already.
        DataError: the columns differ from the dataset's, or there are no rows.
    """
    versions.check_name(dataset)
    batches = from_table(data, Layout("image", label="label")) if isinstance(data, pa.Table) else data
    more = {"tags": list(tags), "source": source or batches.source, "released": released, "equal_inputs": equal_inputs}
    details = Details.of(settings, message, author, **more)
    details.check()
    known = tip(settings, dataset)
    head = known.manifest
    policy = policy_of(equal_inputs, head, batches.layout)
    store = Store(settings)
    store.sweep()
    staged = stage(store, batches, head if mode == "append" else None, dataset, head.cut_bits if head else None)
    index, before = indices(store, staged.shards), head if mode == "append" else None
    note = note_of(store, before, index, policy, staged.layout, staged.shards)
    report = validate(settings, dataset, staged.profile, suite, note, head.name if head else "")
    if not report.passed and not released:
        _refuse(settings, store, dataset, staged, details, mode, report, drop_duplicates)
    operation = (Append if mode == "append" else Replace)(staged.shards, staged.layout, drop_duplicates)
    details = replace(details, report=str(Path(report.page).relative_to(settings.home)))
    version = land(settings, store, dataset, operation, details, staged, known)
    report.name_subject(version.name)
    return version


def stage(store: Store, batches: Batches, head: VersionManifest | None, dataset: str, bits: int | None) -> Staged:
    """Write the rows into the cache.

    Args:
        store: of this home.
        batches: the rows, read once.
        head: the version whose columns they must have; None: they have their own.
        dataset: its name, for messages.
        bits: where shards are cut (`shards.cut_bits`); None: chosen by the first batch.

    Raises:
        DataError: the columns do not fit `head` or the type, or there are no rows.
    """
    kind, frames = get_type(batches.layout.type), []
    if head:
        schema.check(dataset, head.arrow_schema, head.layout, batches.schema, batches.layout)
    kind.check(batches.schema, batches.layout)
    target = without_order(head.arrow_schema if head else batches.schema.remove_metadata())

    def describe(table: pa.Table) -> dict[str, Any]:
        try:
            frames.append(kind.profile(table, batches.layout))
        except WrongRow as error:
            raise error.after(sum(map(len, frames))) from None
        return summarise(frames[-1])

    writer = ShardWriter(store, target, batches.layout, describe, bits)
    shards = list(writer.write(schema.fit(target, batches.batches)))
    if not shards:
        raise DataError(f"the batch for {dataset} has no rows", "commit at least one row")
    import pandas as pd

    return Staged(shards, target, batches.layout, writer.bits or 0, pd.concat(frames, ignore_index=True))


def _refuse(
    settings: Settings,
    store: Store,
    dataset: str,
    staged: Staged,
    details: Details,
    mode: Mode,
    report: Report,
    drop_duplicates: bool,
) -> None:
    request: dict[str, Any] = {"dataset": dataset, "mode": mode, "message": details.message, "author": details.author}
    request |= {"tags": details.tags, "source": details.source, "layout": asdict(staged.layout)}
    request |= {"equal_inputs": details.equal_inputs, "drop_duplicates": drop_duplicates}
    files = [store.path(shard.md5) for shard in staged.shards]
    batch = quarantine.keep(settings, dataset, files, request, report)
    rows = sum(shard.rows for shard in staged.shards)
    message = f"{rows} rows for {dataset} did not pass: {'; '.join(report.failed)}"
    hint = f"no version was made; the report is {report.page}\n  -> `airloom dataset quarantine show {batch}`"
    raise ValidationFailed(message, hint, report.page)


@dataclass(frozen=True)
class Tip:
    """The newest state of a dataset that a commit can stand on."""

    commit: str  # of main
    manifest: VersionManifest | None  # of the newest version that was not deleted
    highest: int  # the highest number that was ever given


def tip(settings: Settings, dataset: str, known: Tip | None = None) -> Tip:
    """Look up the newest state; `known` is returned where main has not moved."""
    repo = repository.refresh(settings)
    commit = repository.head(repo)
    if known and known.commit == commit:
        return known
    text, gone = repository.read_files(repo, commit, f"{dataset}/manifest.json", f"{dataset}/deleted.json")
    manifest = VersionManifest.from_json(text) if text else None
    deleted = {int(number) for number in json.loads(gone)} if gone else set[int]()
    number = manifest.number if manifest else 0
    # main may stand before a version that was deleted: a compaction of the one before puts that back there.
    highest = max({number, *deleted})
    if versions.is_given(repo, dataset, highest + 1):
        highest = versions.highest(settings, dataset)
    while number in deleted:
        number -= 1
    if manifest and number != manifest.number:
        manifest = versions.stored(repo, dataset, number) if number else None
    return Tip(commit, manifest, highest)


def land(
    settings: Settings,
    store: Store,
    dataset: str,
    operation: Operation,
    details: Details,
    staged: Staged | None = None,
    known: Tip | None = None,
) -> DatasetVersion:
    """Apply the operation to the newest version, and publish the result; again where another commit was first.

    Args:
        settings: of this installation.
        store: of this home.
        dataset: its name.
        operation: what changes.
        details: what the commit says of itself.
        staged: the new rows, where there are any.
        known: the newest state, where the caller has looked it up already.

    Raises:
        NothingChanged: the newest version is what this one would be.
        DataError: the operation does not fit the newest version, or a store does not answer.
    """
    pushed, race = set[str](), Race(settings, f"{dataset} was not changed")
    while True:
        known = tip(settings, dataset, known)
        head, number = known.manifest, known.highest + 1
        if head and staged and isinstance(operation, Append):
            schema.check(dataset, head.arrow_schema, head.layout, staged.schema, staged.layout)
        layout = staged.layout if staged else head.layout if head else Layout("generic")
        policy = policy_of(details.equal_inputs, head, layout)
        try:
            outcome = operation.apply(store, head, number, details.tags, policy)
            manifest = _manifest(dataset, head, number, outcome, details, staged)
            files = outputs.dvc_files(store, manifest)
            outputs.push(store, manifest, head, files, pushed)
            change = repository.Change(
                {f"{dataset}/{name}": data for name, data in files.items()},
                f"{manifest.name}: {details.message}\n",
                details.author,
                tag=manifest.name,
                note=versions.note(manifest),
                mail=details.mail,
            )
            return versions.record(manifest, repository.publish(settings, change, known.commit))
        except (repository.NotFirst, DataError) as refused:
            if race.forgotten(known.commit):  # what no version names any more is gone: this may have been among it
                pushed.clear()
                store.renew([name for shard in staged.shards for name in (shard.md5, shard.index)] if staged else [])
            elif isinstance(refused, DataError):
                raise
            race.lost(known.commit, refused)
            known = None  # looked up anew even where main stands still: the number may be taken


def _manifest(
    dataset: str,
    head: VersionManifest | None,
    number: int,
    outcome: NextVersion,
    details: Details,
    staged: Staged | None,
) -> VersionManifest:
    # The first version after those that say an order of classes says none; an edit has a head.
    arrow = staged.schema if staged else without_order(head.arrow_schema)  # type: ignore[union-attr]
    bits = head.cut_bits if head else staged.bits if staged else cut_bits(1)
    return VersionManifest(
        dataset=dataset,
        number=number,
        id=outcome.chain.id(arrow, outcome.tail),
        layout=staged.layout if staged else head.layout,  # type: ignore[union-attr]
        schema=pack_schema(arrow),
        shards=outcome.shards,
        chain=outcome.chain,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        cut_bits=bits,
        parent=head.id if head else "",
        changed=outcome.changed,
        equal_inputs=details.equal_inputs or (head.equal_inputs if head else ""),
        **{name: getattr(details, name) for name in ("message", "author", "tags", "source", "report", "released")},
    )
