"""From a dataset version, a commit or a shard to everything that stands on its rows."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass

from airloom.contracts import DatasetVersion, Snapshot
from airloom.datasets import holders, versions
from airloom.datasets.holders import Holder
from airloom.datasets.snapshots.files import FAILED, read_record
from airloom.errors import CorruptFile, DataError
from airloom.lineage import batches
from airloom.lineage.impact_record import (
    AffectedBatch,
    AffectedModel,
    AffectedRun,
    AffectedSnapshot,
    AffectedVersion,
    Impact,
    SnapshotFilter,
)
from airloom.lineage.ledger import TRAIN, Brief, Ledger
from airloom.lineage.ledger_sql import open_ledger
from airloom.monitoring import totals
from airloom.names import DatasetName, dataset_version, owner_of, shown_model
from airloom.settings import Settings
from airloom.tracking.tags import Tag

HINT = "give a version as digits@v3, the hash of a commit that made one, or a shard's MD5 (7 digits or more of either)"
SHOWN = 8  # lines of one kind in the text
_HASH = re.compile(r"[0-9a-f]{7,40}")
_RANKS = {"": 0, TRAIN: 1, "trial": 3}  # of a run's kind; any other kind is 2


@dataclass(frozen=True)
class Origin:
    """The rows that are asked about, by the versions that hold them."""

    kind: str  # version, commit, shard
    name: str
    holders: list[Holder]
    version: str = ""  # that the commit made, which stands on it whether or not it brought rows


def impact(settings: Settings, target: str) -> Impact:
    """Everything that stands on the rows that a commit brought, or on a shard.

    `digits@v3` and the commit that made it mean the same: the rows that this commit brought, in every version that
    still has some of them, and version 3 itself. A snapshot stands on them where its filter takes at least one.

    Args:
        settings: of this installation.
        target: `digits@v3` (or `digits@tag`), a commit of the data repository, or a shard's MD5.

    Raises:
        DataError: it is none of these, or the data repository does not have it.
        RegistryError: MLflow's database, or that of the counters, cannot be read.
    """
    origin = _origin(settings, target)
    ledger = open_ledger(settings)
    snapshots = _snapshots(settings, ledger, origin)
    names = {holder.version.name for holder in origin.holders}
    runs = _runs(ledger, snapshots, names)
    counts = totals.predictions(settings)
    places = {holder.version.name: place for place, holder in enumerate(origin.holders)}
    registered = {(model, number) for model, number, _ in ledger.numbers()}
    models = _models(ledger, snapshots, names, runs, (settings.installation, counts))
    return Impact(
        target=target,
        kind=origin.kind,
        name=origin.name,
        versions=[
            AffectedVersion(h.version.name, h.version.id, h.version.commit, h.rows, h.deleted, h.version.redacted)
            for h in origin.holders
        ],
        snapshots=sorted(snapshots.values(), key=lambda snapshot: (places[snapshot.version], snapshot.id)),
        runs=sorted((_affected(run, runs[run.id]) for run in ledger.briefs(runs)), key=_rank),
        models=models,
        unattributed=sum(count for version, count in counts.items() if version not in registered),
        batches=_batches(settings, ledger, origin, models),
    )


def _batches(settings: Settings, ledger: Ledger, origin: Origin, models: list[AffectedModel]) -> list[AffectedBatch]:
    """The batch predictions of rows in question, and those by models that stand on them."""
    holding = {holder.version.name: holder for holder in origin.holders}
    standing = {(settings.registered(model.name), model.version) for model in models}
    affected = []
    for batch in batches.on(ledger, holding, standing):
        record, holder = batch.record, holding.get(batch.record.dataset)
        by_model = (record.model, record.version) in standing
        brought = {span.version for span in holder.spans} if holder else set[int]()
        # Of a shard nobody wrote down which rows were answered: at most all of it.
        read = min(sum(record.brought.get(str(number), 0) for number in brought), holder.rows if holder else 0)
        if read or by_model or record.dataset == origin.version:
            model = f"{shown_model(record.model, settings.installation)}/{record.version}"
            facts = (record.dataset, record.rows, read, by_model, batch.committed)
            affected.append(AffectedBatch(batch.run, model, *facts))
    return sorted(affected, key=lambda one: (one.dataset, one.model, one.run))


def _affected(run: Brief, snapshot: str) -> AffectedRun:
    # By place and not by name, which is slower: there may be tens of thousands.
    return AffectedRun(run.id, run.name, run.status, run.key, run.kind, snapshot)


def _rank(run: AffectedRun) -> tuple[int, str, str]:
    """Pipeline runs before their trainings, trials last."""
    return _RANKS.get(run.kind, 2), run.key, run.id


def _origin(settings: Settings, target: str) -> Origin:
    if "@" in target:
        version = _version(settings, target)
        holding = holders.holders_of_commit(settings, version.dataset, version.number)
        return Origin("version", version.name, holding, version.name)
    if not _HASH.fullmatch(target):
        raise DataError(f"{target[:80]!r} is no dataset version, commit or shard", HINT)
    if not settings.data_repo.is_dir() and not settings.data_remote:
        raise DataError(f"there is no data repository in {settings.home}", "commit a dataset first")
    commit = holders.commit_of(settings, target)
    if commit:
        identity, dataset, number = commit
        holding = holders.holders_of_commit(settings, dataset, number)
        return Origin("commit", identity, holding, dataset_version(dataset, number))
    if len(target) > 32:
        raise DataError(f"there is no commit {target} in {settings.data_repo}", HINT)
    return Origin("shard", target, holders.holders_of_shard(settings, target))


def _version(settings: Settings, name: str) -> DatasetVersion:
    """A version by its number, deleted or not, or by a tag."""
    asked = DatasetName.parse(name)
    known = [version for version, _ in versions.history(settings, asked.dataset) if version.number == asked.number]
    return known[0] if asked.number and known else versions.find(settings, name)  # its error says which there are


def _snapshots(settings: Settings, ledger: Ledger, origin: Origin) -> dict[str, AffectedSnapshot]:
    """The snapshots that read rows of it, by id: of this home, of any run, of any model version."""
    holding = {holder.version.name: holder for holder in origin.holders}
    of_run, of_model = ledger.tagged_runs(Tag.SNAPSHOT), ledger.tagged_versions(Tag.SNAPSHOT)
    runs, models = ledger.tagged_runs(Tag.DATASET, holding), ledger.tagged_versions(Tag.DATASET, holding)
    known = {of_run[run]: name for run, name in runs.items() if run in of_run}
    known |= {of_model[model]: name for model, name in models.items() if model in of_model}
    records = _records_of_home(settings)
    records |= _records_of_runs(ledger, set(known) - set(records), of_run)
    known |= {record.id: record.version_name for record in records.values() if record.version_name in holding}
    affected = {}
    for identity, name in known.items():
        record = records.get(identity)
        rows = holding[name].rows_in(record)
        if rows or name == origin.version:
            taken = SnapshotFilter(record.since, record.tags) if record else None
            affected[identity] = AffectedSnapshot(identity, name, rows, taken)
    return affected


def _records_of_home(settings: Settings) -> dict[str, Snapshot]:
    """The snapshots of this home, by id; one that failed was never read."""
    snapshots = {}
    folder = settings.home / "snapshots"
    for place in folder.iterdir() if folder.is_dir() else []:
        try:
            record = read_record(settings, place.name)
        except (CorruptFile, DataError):  # then a run's own record of it counts, or it is taken whole
            continue
        if record and record["state"] != FAILED:
            snapshots[place.name] = Snapshot.from_dict(record["snapshot"])
    return snapshots


def _records_of_runs(ledger: Ledger, wanted: Collection[str], of_run: dict[str, str]) -> dict[str, Snapshot]:
    """What trainings recorded of these snapshots, by id; one training is asked for each."""
    readers = {identity: run for run, identity in of_run.items() if identity in wanted}
    snapshots = dict[str, Snapshot]()
    for reader in readers.values():
        for run in [reader, *sorted(ledger.tagged_runs(Tag.PARENT, [reader]))]:
            training = ledger.run(run)
            if training and Tag.SNAPSHOT_RECORD in training.tags:
                snapshot = Snapshot.from_dict(json.loads(training.tags[Tag.SNAPSHOT_RECORD]))
                snapshots[snapshot.id] = snapshot
                break
    return snapshots


def _runs(ledger: Ledger, snapshots: Collection[str], names: Collection[str]) -> dict[str, str]:
    """The snapshot of each run on these: of runs that say so, and of their children that say nothing else.

    Versions of equal content share their snapshots; `names` are the versions that are meant.
    """
    of_run, dataset = ledger.tagged_runs(Tag.SNAPSHOT), ledger.tagged_runs(Tag.DATASET)
    runs = {run: s for run, s in of_run.items() if s in snapshots and dataset.get(run, "") in {*names, ""}}
    parents = ledger.tagged_runs(Tag.PARENT)
    children = {child: runs[parent] for child, parent in parents.items() if parent in runs and child not in of_run}
    return runs | children


def _models(
    ledger: Ledger,
    snapshots: Collection[str],
    names: Collection[str],
    runs: Collection[str],
    counted: tuple[str, dict[tuple[str, str], int]],
) -> list[AffectedModel]:
    """The versions that say that they stand on a snapshot; those that say nothing, by the run that made them.

    Of all installations: rows that must go have to go everywhere. What another one has answered, only that one knows.
    """
    installation, counts = counted
    of_model, dataset = ledger.tagged_versions(Tag.SNAPSHOT), ledger.tagged_versions(Tag.DATASET)
    aliases, affected = ledger.aliases(), []
    for model, number, run in ledger.numbers():
        snapshot = of_model.get((model, number), "")
        on_snapshot = snapshot in snapshots and dataset.get((model, number), "") in {*names, ""}
        if on_snapshot if snapshot else run in runs:
            own = sorted(alias for alias, aliased in aliases.get(model, {}).items() if aliased == number)
            given = counts.get((model, number), 0 if owner_of(model) == installation else None)
            shown = shown_model(model, installation)
            affected.append(AffectedModel(shown, number, run, snapshot, own, given))
    return sorted(affected, key=lambda version: (version.name, int(version.version)))


def render(answer: Impact) -> str:
    """What stands on the rows, kind by kind."""
    first = f"{answer.kind} {answer.name}: {len(answer.models)} model versions, {answer.predictions:,} predictions"
    lines = [
        first,
        *_section("versions", [_version_line(version) for version in answer.versions[:SHOWN]], len(answer.versions)),
        *_section("snapshots", [_snapshot_line(s) for s in answer.snapshots[:SHOWN]], len(answer.snapshots)),
        *_section("runs", [_run_line(run) for run in answer.runs[:SHOWN]], len(answer.runs)),
        *_section("models", [_model_line(model) for model in answer.models[:SHOWN]], len(answer.models)),
        "",
        f"aliases {', '.join(answer.aliases) or 'none'}",
    ]
    if answer.batches:
        shown = [_batch_line(batch) for batch in answer.batches[:SHOWN]]
        lines += _section("batch predictions", shown, len(answer.batches))
    if answer.unattributed:
        lines.append(f"not counted in: {answer.unattributed:,} predictions of versions that the registry has no more")
    return "\n".join(lines)


def _section(kind: str, shown: list[str], count: int) -> list[str]:
    more = [f"  … and {count - SHOWN:,} more; --json has all"] if count > SHOWN else []
    return ["", f"{kind} {count}", *(f"  {line}" for line in shown), *more]


def _version_line(version: AffectedVersion) -> str:
    deleted = " (deleted)" if version.deleted else ""
    redacted = f" (REDACTED: {version.redacted} forgotten)" if version.redacted else ""
    return f"{version.name:16} {version.rows:>9,} rows of it, commit {version.commit[:12]}{deleted}{redacted}"


def _snapshot_line(snapshot: AffectedSnapshot) -> str:
    taken = snapshot.filter
    if taken is None:
        text = "filter unknown, taken whole"
    else:
        text = "; ".join([f"since v{taken.since}"] * bool(taken.since) + taken.tags)
    rows = f"{snapshot.rows:>9,} rows of it{f'; {text}' if text else ''}"
    return f"{snapshot.id[:12]} of {snapshot.version:16} {rows}"


def _run_line(run: AffectedRun) -> str:
    return f"{run.id} {run.kind or 'pipeline run':12} {run.status:9} {run.key or run.name}"


def _batch_line(batch: AffectedBatch) -> str:
    kept = f", kept in {', '.join(batch.committed)}" if batch.committed else ""
    read = f"{batch.read:,} of {batch.rows:,} rows of {batch.dataset} are of it"
    return f"{batch.run} {batch.predictions:,} answers of {batch.model}: {read}{kept}"


def _model_line(model: AffectedModel) -> str:
    aliases = " ".join(f"@{alias}" for alias in model.aliases)
    given = "predictions unknown here" if model.predictions is None else f"{model.predictions:,} predictions"
    return f"{model.name}/{model.version} {given} {aliases}".rstrip()
