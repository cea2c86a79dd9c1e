"""From a dataset version, a commit or a shard to everything that stands on its rows."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from airloom.contracts import Snapshot
from airloom.datasets import holders as contents
from airloom.datasets import versions
from airloom.datasets.holders import Holder
from airloom.datasets.snapshots.files import FAILED, read_record
from airloom.errors import CorruptFile, DataError
from airloom.lineage.ledger import Ledger
from airloom.lineage.ledger_sql import open_ledger
from airloom.monitoring import totals
from airloom.names import DatasetName, dataset_version
from airloom.settings import Settings
from airloom.tracking.tags import Tag

HINT = "give a version as digits@v3, the hash of a commit that made one, or a shard's MD5 (7 digits or more of either)"
SHOWN = 8  # lines of one kind in the text
_HASH = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True)
class Subject:
    """What is asked about, and the versions that hold its rows."""

    kind: str  # version, commit, shard
    name: str
    holders: list[Holder]
    origin: str = ""  # the version that the commit made, which stands on it whether or not it brought rows


def impact(settings: Settings, target: str) -> dict[str, Any]:
    """Everything that stands on the rows that a commit brought, or on a shard.

    `digits@v3` and the commit that made it mean the same: the rows that this commit brought, in every version that
    still has some of them, and version 3 itself. A snapshot stands on them where its filter takes at least one.

    Args:
        settings: of this installation.
        target: `digits@v3` (or `digits@tag`), a commit of the data repository, or a shard's MD5.

    Returns:
        Plain types: `kind`, `versions`, `snapshots`, `runs`, `models` (with aliases and predictions), `aliases`,
        `predictions` (of all these models, by the counters), `unattributed` (predictions of versions that the registry
        has no more: nobody can tell what they stood on).

    Raises:
        DataError: it is none of these, or the data repository does not have it.
        RegistryError: MLflow's database, or that of the counters, cannot be read.
    """
    subject = _subject(settings, target)
    ledger = open_ledger(settings)
    snapshots = _snapshots(settings, ledger, subject)
    names = {holder.version.name for holder in subject.holders}
    runs = _runs(ledger, snapshots, names)
    counted = totals.predictions(settings)
    models = _models(ledger, snapshots, names, runs, counted)
    places = {holder.version.name: place for place, holder in enumerate(subject.holders)}
    numbers = {(model, number) for model, number, _ in ledger.numbers()}
    return {
        "target": target,
        "kind": subject.kind,
        "name": subject.name,
        "versions": [
            {
                "name": h.version.name,
                "id": h.version.id,
                "commit": h.version.commit,
                "rows": h.rows,
                "deleted": h.deleted,
            }
            for h in subject.holders
        ],
        "snapshots": sorted(snapshots.values(), key=lambda one: (places[one["version"]], one["id"])),
        "runs": sorted((vars(one) | {"snapshot": runs[one.id]} for one in ledger.briefs(runs)), key=_rank),
        "models": models,
        "aliases": sorted(f"{model['name']}@{alias}" for model in models for alias in model["aliases"]),
        "predictions": sum(model["predictions"] for model in models),
        "unattributed": sum(count for which, count in counted.items() if which not in numbers),
    }


def _rank(run: dict[str, Any]) -> tuple[Any, ...]:
    """Pipeline runs before their trainings, trials last."""
    order = {"": 0, "train": 1, "trial": 3}
    return order.get(run["kind"], 2), run["key"], run["id"]


def _subject(settings: Settings, target: str) -> Subject:
    if "@" in target:
        name = DatasetName.parse(target)
        known = [v for v, _ in versions.history(settings, name.dataset) if v.number == name.number]
        found = known[0] if name.number and known else versions.find(settings, target)  # which says what there is
        holders = contents.holders_of_commit(settings, name.dataset, found.number)
        return Subject("version", found.name, holders, found.name)
    if not _HASH.fullmatch(target):
        raise DataError(f"{target[:80]!r} is no dataset version, commit or shard", HINT)
    if not settings.data_repo.is_dir() and not settings.data_remote:
        raise DataError(f"there is no data repository in {settings.home}", "commit a dataset first")
    commit = contents.commit_of(settings, target)
    if commit:
        holders = contents.holders_of_commit(settings, commit[1], commit[2])
        return Subject("commit", commit[0], holders, dataset_version(commit[1], commit[2]))
    if len(target) > 32:
        raise DataError(f"there is no commit {target} in {settings.data_repo}", HINT)
    return Subject("shard", target, contents.holders_of_shard(settings, target))


def _snapshots(settings: Settings, ledger: Ledger, subject: Subject) -> dict[str, dict[str, Any]]:
    """The snapshots that read rows of it, by id: of this home, of any run, of any model version."""
    holders = {holder.version.name: holder for holder in subject.holders}
    of_run, of_version = ledger.tagged_runs(Tag.SNAPSHOT), ledger.tagged_versions(Tag.SNAPSHOT)
    known = {of_run[run]: name for run, name in ledger.tagged_runs(Tag.DATASET, holders).items() if run in of_run}
    versions_ = ledger.tagged_versions(Tag.DATASET, holders)
    known |= {of_version[which]: name for which, name in versions_.items() if which in of_version}
    records = _kept(settings)
    records |= _recorded(ledger, set(known) - set(records), of_run)
    known |= {one.id: one.version_name for one in records.values() if one.version_name in holders}
    found = {}
    for identity, name in known.items():
        record = records.get(identity)
        rows = holders[name].rows_in(record)
        if rows or name == subject.origin:
            asked = {"since": record.since, "tags": record.tags} if record else {"filter": "unknown"}
            found[identity] = {"id": identity, "version": name, "rows": rows, **asked}
    return found


def _kept(settings: Settings) -> dict[str, Snapshot]:
    """What this home knows of its snapshots; one that failed was never read."""
    found = {}
    folder = settings.home / "snapshots"
    for place in folder.iterdir() if folder.is_dir() else []:
        try:
            record = read_record(settings, place.name)
        except (CorruptFile, DataError):  # then a run's own record of it counts, or it is taken whole
            continue
        if record and record["state"] != FAILED:
            found[place.name] = Snapshot.from_dict(record["snapshot"])
    return found


def _recorded(ledger: Ledger, wanted: Collection[str], of_run: dict[str, str]) -> dict[str, Snapshot]:
    """What trainings wrote down of these snapshots; one training is asked for each."""
    one_of = {identity: run for run, identity in of_run.items() if identity in wanted}
    found = dict[str, Snapshot]()
    for run in one_of.values():
        for child in [run, *sorted(ledger.tagged_runs(Tag.PARENT, [run]))]:
            training = ledger.run(child)
            if training and Tag.SNAPSHOT_RECORD in training.tags:
                read = Snapshot.from_dict(json.loads(training.tags[Tag.SNAPSHOT_RECORD]))
                found[read.id] = read
                break
    return found


def _runs(ledger: Ledger, snapshots: Collection[str], names: Collection[str]) -> dict[str, str]:
    """The runs on these snapshots, by id: those that say so, and the children of these that say nothing else.

    Versions of equal content share their snapshots; `names` are the versions that are meant.
    """
    of_run, dataset = ledger.tagged_runs(Tag.SNAPSHOT), ledger.tagged_runs(Tag.DATASET)
    found = {run: s for run, s in of_run.items() if s in snapshots and dataset.get(run, "") in {*names, ""}}
    children = ledger.tagged_runs(Tag.PARENT)
    more = {child: found[parent] for child, parent in children.items() if parent in found and child not in of_run}
    return found | more


def _models(
    ledger: Ledger,
    snapshots: Collection[str],
    names: Collection[str],
    runs: Collection[str],
    counted: dict[tuple[str, str], int],
) -> list[dict[str, Any]]:
    """The versions that say that they stand on a snapshot; those that say nothing, by the run that made them."""
    of_version, dataset = ledger.tagged_versions(Tag.SNAPSHOT), ledger.tagged_versions(Tag.DATASET)
    aliases, found = ledger.aliases(), []
    for model, number, run in ledger.numbers():
        says = of_version.get((model, number))
        if says in snapshots and dataset.get((model, number), "") in {*names, ""} if says else run in runs:
            mine = sorted(alias for alias, at in aliases.get(model, {}).items() if at == number)
            predictions = counted.get((model, number), 0)
            known = {"name": model, "version": number, "run": run, "snapshot": says or "", "aliases": mine}
            found.append(known | {"predictions": predictions})
    return sorted(found, key=lambda one: (one["name"], int(one["version"])))


def render(found: dict[str, Any]) -> str:
    """What stands on it, kind by kind."""
    predictions = f"{found['predictions']:,}"
    lines = [f"{found['kind']} {found['name']}: {len(found['models'])} model versions, {predictions} predictions"]
    for kind, line in (("versions", _version), ("snapshots", _snapshot), ("runs", _run), ("models", _model)):
        entries = found[kind]
        lines += ["", f"{kind} {len(entries)}", *(f"  {line(entry)}" for entry in entries[:SHOWN])]
        lines += [f"  … and {len(entries) - SHOWN:,} more; --json has all"] if len(entries) > SHOWN else []
    lines += ["", f"aliases {', '.join(found['aliases']) or 'none'}"]
    if found["unattributed"]:
        lines.append(f"not counted in: {found['unattributed']:,} predictions of versions that the registry has no more")
    return "\n".join(lines)


def _version(entry: dict[str, Any]) -> str:
    gone = " (deleted)" if entry["deleted"] else ""
    return f"{entry['name']:16} {entry['rows']:>9,} rows of it, commit {entry['commit'][:12]}{gone}"


def _snapshot(entry: dict[str, Any]) -> str:
    asked = "filter unknown, taken whole" if "filter" in entry else ""
    asked = asked or "; ".join([f"since v{entry['since']}"] * bool(entry["since"]) + entry["tags"])
    return f"{entry['id'][:12]} of {entry['version']:16} {entry['rows']:>9,} rows of it{f'; {asked}' if asked else ''}"


def _run(entry: dict[str, Any]) -> str:
    return f"{entry['id']} {entry['kind'] or 'pipeline run':12} {entry['status']:9} {entry['key'] or entry['name']}"


def _model(entry: dict[str, Any]) -> str:
    aliases = " ".join(f"@{alias}" for alias in entry["aliases"])
    return f"{entry['name']}/{entry['version']} {entry['predictions']:,} predictions {aliases}".rstrip()
