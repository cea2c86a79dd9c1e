"""list, show, log, diff, verify: nothing here changes a dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airloom.classes import in_order
from airloom.cli.console import Dataset, Json, Redacted, Version, answer, size
from airloom.settings import Settings, load

if TYPE_CHECKING:
    import pyarrow as pa

    from airloom.contracts import DatasetVersion


SHOWN = 20  # values or classes in a line, or lines of them
app = typer.Typer()


@app.command("list")
def list_(json_: Json = False) -> None:
    """All datasets with their newest version.

    Example: airloom dataset list
    """
    from airloom.datasets import versions

    settings = load()
    newest = [versions.latest(settings, name) for name in versions.list_datasets(settings)]
    records = [version.to_dict() | {"name": version.name, "state": version.state} for version in newest]
    lines = (f"{v.name:24} {v.type:8} {v.rows:>10} rows  {_redacted(v)}{v.message}" for v in newest)
    answer(records, json_, "\n".join(lines) or "no datasets yet")


@app.command()
def log(name: Dataset, json_: Json = False) -> None:
    """The versions of a dataset, newest first.

    Example: airloom dataset log flights
    """
    from airloom.datasets import versions

    logged = versions.log(load(), name)
    # Not by to_dict, which copies each of ten thousand.
    records = [{**vars(version), "name": version.name, "state": version.state} for version in logged]
    lines = (
        f"{v.name}  {v.created[:16]}  {v.rows} rows  {_redacted(v)}{v.author}: {v.message}"
        + (f"  [{', '.join(v.tags)}]" if v.tags else "")
        for v in logged
    )
    answer(records, json_, "\n".join(lines))


def _redacted(version: "DatasetVersion") -> str:
    return f"REDACTED ({version.redacted} forgotten)  " if version.redacted else ""


@app.command()
def show(name: Version, json_: Json = False) -> None:
    """One version with its columns, shards and statistics.

    Example: airloom dataset show flights@v2
    """
    from airloom.datasets import versions
    from airloom.datasets.equal_inputs import policy_of, rows_apart, rows_by_part
    from airloom.datasets.storage.statistics import merge
    from airloom.datasets.storage.store import Store

    settings = load()
    version = versions.find(settings, name)
    manifest = versions.manifest_of(settings, version)
    record = version.to_dict() | {
        "name": version.name,
        "state": version.state,
        "forgotten": _forgotten(settings, version),
        "columns": {field.name: str(field.type) for field in manifest.arrow_schema},
        "shards": len(manifest.shards),
        "bytes": sum(shard.bytes for shard in manifest.shards),
        "deleted_rows": sum(shard.dead_rows for shard in manifest.shards),
        "revision": manifest.revision,
        "changed": manifest.changed,
        "equal_inputs": policy_of("", manifest, manifest.layout),
        "rows_apart_from_equals": rows_apart(Store(settings), manifest),
        "rows_by_part": rows_by_part(Store(settings), manifest) if manifest.layout.split else {},
        "statistics": _named(merge(shard.statistics for shard in manifest.shards), manifest.arrow_schema),
    }
    answer(record, json_, _describe(record))


def _named(statistics: dict[str, Any], schema: "pa.Schema") -> dict[str, Any]:
    """The counts of truth values under the names that they have as classes: shards keep them as Python writes them."""
    for name, column in statistics.items():
        if "counts" in column and str(schema.field(name).type) == "bool":
            column["counts"] = {value.lower(): count for value, count in column["counts"].items()}
    return statistics


def _forgotten(settings: Settings, version: "DatasetVersion") -> dict[str, Any]:
    """The last forgetting that took rows of the version, and the id of what is left; empty where none did."""
    from airloom.datasets import versions

    redaction = versions.redactions(settings.data_repo, version.dataset).versions.get(str(version.number))
    return dict(vars(redaction)) if redaction else {}


def _describe(record: dict[str, Any]) -> str:
    hidden = {
        "statistics",
        "columns",
        "dataset",
        "number",
        "bytes",
        "changed",
        "equal_inputs",
        "rows_apart_from_equals",
        "split",
        "parts",
        "rows_by_part",
    }
    apart = record["rows_apart_from_equals"]
    count = (
        f"not counted, as `airloom dataset verify {record['name']}` has not been here"
        if apart is None
        else f"{apart:,}"
    )
    lines = [
        f"{key:14} {_plain(value)}" for key, value in record.items() if key not in hidden and value not in ("", [], {})
    ]
    lines += [f"{'bytes':14} {size(record['bytes'])}", f"{'changed':14} {_plain(record['changed'])}"]
    lines += [f"{'equal inputs':14} {record['equal_inputs']}; rows that have those of a row elsewhere: {count}"]
    if record["split"]:
        told = "; ".join(f"{part}: {', '.join(names)}" for part, names in record["parts"].items())
        lines.append(f"{'split':14} published in column {record['split']} ({told})")
        counts = record["rows_by_part"]
        lines.append(f"{'rows by part':14} {_plain(counts) if counts is not None else 'not counted: data not here'}")
    lines += [f"{'column':14} {name}: {kind}" for name, kind in record["columns"].items()]
    for name, column in record["statistics"].items():
        is_class = name == record["label"] and "counts" in column  # a mean of classes says nothing
        measures = () if is_class else ("min", "mean", "max", "std")
        numbers = [f"{key} {column[key]:.4g}" for key in measures if key in column]
        every = column.get("counts", {})
        counts = [f"{value}: {every[value]}" for value in in_order(every)[:SHOWN]]
        counts += [f"and {len(every) - SHOWN} more"] if len(every) > SHOWN else []
        nulls = [f"{column['nulls']} null"] if column["nulls"] else []
        lines.append(f"{'statistics':14} {name}: {', '.join([*numbers, *nulls, *counts])}")
    return "\n".join(lines)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)


@app.command()
def diff(
    old: Version,
    new: Version,
    picture: Annotated[Path | None, typer.Option(help="Also write the distributions as a PNG.")] = None,
    allow_redacted: Redacted = False,
    json_: Json = False,
) -> None:
    """What differs between two versions: rows, shards, schema, labels, and the shift of each profile column.

    Example: airloom dataset diff flights@v1 flights@v2 --picture shift.png
    """
    from airloom.datasets import diff as differ
    from airloom.datasets import versions

    settings = load()
    a, b = versions.find(settings, old), versions.find(settings, new)
    difference = differ.diff(settings, a, b, allow_redacted=allow_redacted)
    record = difference.to_dict()
    if picture:
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(differ.picture(settings, a, b, allow_redacted=allow_redacted))
        record["picture"] = str(picture)
    rows, shards = difference.rows, difference.shards
    lines = [
        f"{difference.old} -> {difference.new}",
        f"rows: {rows['added']} added, {rows['removed']} removed, {rows['kept']} kept",
        f"shards: {shards['added']} added ({size(shards['new_bytes'])}), {shards['kept']} kept",
    ]
    lines += [f"column {name}: {before} -> {after}" for name, (before, after) in difference.schema.items()]
    labels = {name: counts for name, counts in difference.labels.items() if counts[0] != counts[1]}
    most = sorted(labels, key=lambda name: -abs(labels[name][1] - labels[name][0]))[:SHOWN]
    lines += [f"label {name}: {labels[name][0]} -> {labels[name][1]}" for name in labels if name in most]
    lines += [f"and {len(labels) - SHOWN} more labels, which --json names"] if len(labels) > SHOWN else []
    lines += [
        f"{name}: mean {shift['old_mean']:.4g} -> {shift['new_mean']:.4g}, PSI {shift['psi']:.3f}"
        for name, shift in difference.shift.items()
    ]
    answer(record, json_, "\n".join(lines))


@app.command()
def verify(
    name: Version,
    repair: Annotated[bool, typer.Option("--repair", help="Fetch damaged shards anew.")] = False,
    json_: Json = False,
) -> None:
    """Check every byte of a version in this home's cache; missing shards are fetched.

    Of a version whose rows were forgotten in part, what is left is checked, and that its id is the recorded one.

    Example: airloom dataset verify flights --repair
    """
    from airloom.datasets import versions
    from airloom.datasets.storage.rows import content_id
    from airloom.datasets.storage.store import Store
    from airloom.errors import CorruptFile

    settings = load()
    version = versions.find(settings, name)
    manifest, store = versions.manifest_of(settings, version), Store(settings)
    shards = manifest.shards
    names = {shard.md5: shard.bytes for shard in shards} | {shard.index: shard.index_bytes for shard in shards}
    store.fetch(dict(names))
    damaged = store.verify(names)
    if damaged and not repair:
        hint = "--repair fetches them anew"
        raise CorruptFile(f"{len(damaged)} objects of {version.name} are damaged, first {store.path(damaged[0])}", hint)
    store.repair(damaged)
    if version.redacted and content_id(store, manifest) != versions.check_whole(settings, version, allow_redacted=True):
        raise CorruptFile(
            f"what is left of {version.name} is not what a forgetting left", "restore the data repository"
        )
    record = {"version": version.name, "objects": len(names), "repaired": damaged, "state": version.state}
    text = f"{version.name}: {len(names)} objects are whole, {len(damaged)} were fetched anew"
    state = f"; it is REDACTED: {version.redacted} of its {version.rows} rows were forgotten, the others are all there"
    answer(record, json_, text + state * bool(version.redacted))
