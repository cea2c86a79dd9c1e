"""Why two trainings differ: data, weights, code, parameters, environment, seed, hardware, each with its size."""

import difflib
import json
from dataclasses import dataclass, replace

from airloom.contracts import DatasetVersion, Snapshot
from airloom.datasets import versions
from airloom.errors import AirloomError, RegistryError
from airloom.lineage import subject as subjects
from airloom.lineage.ledger import Ledger, Run, Version
from airloom.lineage.ledger_sql import open_ledger
from airloom.lineage.run_files import texts
from airloom.lineage.why_record import (
    CodeDifference,
    DataDifference,
    Size,
    TrainingDifference,
    ValueDifference,
    VersionChanges,
)
from airloom.settings import Settings
from airloom.tracking.tags import Tag

SHIFTED = 0.1  # of the population stability index, from which on a column is named
_SINGULAR = {
    "rows": "row",
    "settings": "setting",
    "lines": "line",
    "parameters": "parameter",
    "packages": "package",
    "seeds": "seed",
    "properties": "property",
    "weights": "weights",
}
SHOWN = 200  # lines of a diff in the text


@dataclass(frozen=True)
class ComparedTraining:
    """One of the two, with the files that its run keeps."""

    run: Run
    snapshot: Snapshot
    source: dict[str, str]
    packages: dict[str, str]


def why(settings: Settings, first: str, second: str) -> TrainingDifference:
    """What differs between two trainings. What one of them did not record is never called the same.

    Args:
        settings: of this installation.
        first: a training: an MLflow run's id, a pipeline run's key, a model version or a prediction's id.
        second: the one to compare with.

    Raises:
        RegistryError: one of the two names no training.
    """
    ledger = open_ledger(settings)
    a, b = (_training(settings, ledger, target) for target in (first, second))
    return TrainingDifference(
        first=a.run.id,
        second=b.run.id,
        data=_data(settings, a.snapshot, b.snapshot),
        pretrained=_pretrained(a.run, b.run),
        code=_code(a, b),
        parameters=_values(a.run.parameters, b.run.parameters, "parameters"),
        environment=_environment(a, b),
        seed=_values(_seed(a.run), _seed(b.run), "seeds"),
        hardware=_values(_hardware(a.run), _hardware(b.run), "properties"),
    )


def _training(settings: Settings, ledger: Ledger, target: str) -> ComparedTraining:
    named = subjects.find(ledger, target, settings.installation).named
    if isinstance(named, Version):
        run = ledger.run(named.tags.get(Tag.TRAIN_RUN, named.run))
    else:
        run, trainings = subjects.training_of(ledger, named)
        if len(trainings) > 1:
            hint = f"name one: {', '.join(trainings)}"
            raise RegistryError(f"{target[:120]} trained {len(trainings)} candidates", hint)
    if run is None or Tag.SNAPSHOT_RECORD not in run.tags:
        hint = "give a run that trained: a pipeline run, its training, or a model version"
        raise RegistryError(f"{target[:120]!r} trained nothing that MLflow still has", hint)
    lines = texts(settings, run, "environment").get("requirements.txt", "").splitlines()
    packages = dict(line.split("==", 1) for line in lines if "==" in line)
    if lines and lines[0].startswith("# Python "):
        packages["python"] = lines[0].split()[2]
    source = texts(settings, run, "source")
    return ComparedTraining(run, Snapshot.from_dict(json.loads(run.tags[Tag.SNAPSHOT_RECORD])), source, packages)


def _data(settings: Settings, a: Snapshot, b: Snapshot) -> DataDifference:
    names = [a.version_name, b.version_name]
    pairs: dict[str, list[object]] = {
        "split": [a.split, b.split],
        "published by": [a.by, b.by],
        "since": [a.since, b.since],
        "tags": [a.tags, b.tags],
    }
    differing = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if a.version_id == b.version_id and a.dataset == b.dataset:
        return DataDifference(not differing, Size(len(differing), "settings"), names, differing)
    if a.dataset != b.dataset:
        size = Size(sum(a.rows.values()) + sum(b.rows.values()), "rows")
        return DataDifference(False, size, names, differing, unknown="other datasets")
    try:
        old, new = (versions.get(settings, snapshot.dataset, snapshot.version) for snapshot in (a, b))
        changes = _changes(settings, old, new)
    except AirloomError as error:  # a version that was deleted, data that are gone: the rest can still be told
        return DataDifference(False, Size(0, "rows"), names, differing, unknown=error.message)
    size = Size(sum(changes.rows[kind] for kind in ("added", "removed", "changed")), "rows")
    return DataDifference(False, size, names, differing, changes)


def _changes(settings: Settings, old: DatasetVersion, new: DatasetVersion) -> VersionChanges:
    """What differs between two versions; a changed row is one that a later commit put into the place of another."""
    from airloom.datasets import diff

    differences = diff.diff(settings, old, new)
    changed = diff.changed(settings, old, new)
    rows = {kind: count - changed * (kind != "kept") for kind, count in differences.rows.items()}
    return VersionChanges(differences.schema, differences.labels, differences.shift, rows | {"changed": changed})


def _code(a: ComparedTraining, b: ComparedTraining) -> CodeDifference:
    files = _sources(a, b)
    diffs: dict[str, list[str]] = {}
    for name in sorted({*files[0], *files[1]}):
        old, new = (side.get(name, "").splitlines() for side in files)
        if old != new:
            names = f"{a.run.id[:8]}/{name}", f"{b.run.id[:8]}/{name}"
            diffs[name] = list(difflib.unified_diff(old, new, *names, lineterm=""))
    changed = sum(line[:1] in "+-" and line[:3] not in ("+++", "---") for diff in diffs.values() for line in diff)
    functions, digests = (
        [training.run.tags.get(tag, "") for training in (a, b)] for tag in (Tag.CODE_FUNCTION, Tag.CODE_SHA256)
    )
    lost = [training.run.id for training, side in zip((a, b), files, strict=True) if not side]
    return CodeDifference(
        same=not diffs and functions[0] == functions[1] and digests[0] == digests[1],
        size=Size(changed, "lines"),
        diff=diffs,
        function=functions if functions[0] != functions[1] else [],
        unknown=f"no source is kept of run {', '.join(lost)}" if lost else "",
    )


def _sources(a: ComparedTraining, b: ComparedTraining) -> list[dict[str, str]]:
    """Of each the modules that it imported, where both kept them when they ended; else the function's file alone."""
    modules = [{n: t for n, t in training.source.items() if n.startswith("modules/")} for training in (a, b)]
    if all(modules):
        return [{name.removeprefix("modules/"): text for name, text in side.items()} for side in modules]
    return [{n: t for n, t in training.source.items() if "/" not in n and n != "changes.diff"} for training in (a, b)]


def _pretrained(a: Run, b: Run) -> ValueDifference | None:
    """The weights that they began with, by their digests; None where neither began with any."""
    old, new = ({name: one["sha256"] for name, one in _record(run).items()} for run in (a, b))
    return _values(old, new, "weights") if old or new else None


def _record(run: Run) -> dict[str, dict[str, str]]:
    return dict(json.loads(run.tags.get(Tag.PRETRAINED, "{}")))


def _seed(run: Run) -> dict[str, str]:
    return {"seed": run.tags[Tag.SEED]} if Tag.SEED in run.tags else {}


def _environment(a: ComparedTraining, b: ComparedTraining) -> ValueDifference:
    """The packages, and torch as both processes named it: its build (`+cpu`) is rarely among the packages."""
    packages = _values(a.packages, b.packages, "packages")
    torch = [training.run.tags.get(Tag.TORCH, "") for training in (a, b)]
    if not all(torch) or torch[0] == torch[1]:
        return packages
    diff: dict[str, list[str | None]] = {**packages.diff, "torch": [*torch]}
    return replace(packages, same=False, size=Size(len(diff), "packages"), diff=diff)


def _hardware(run: Run) -> dict[str, str]:
    recorded = dict(json.loads(run.tags.get(Tag.HARDWARE, "{}")))
    return recorded or {name.removeprefix("airloom."): run.tags[name] for name in (Tag.THREADS,) if name in run.tags}


def _values(a: dict[str, str], b: dict[str, str], unit: str) -> ValueDifference:
    """What differs by name; unknown where one of the two recorded nothing, but for what may be none."""
    if not (a and b) and unit not in ("parameters", "weights"):
        silent = "one" if a or b else "neither"
        return ValueDifference(False, Size(0, unit), unknown=f"{silent} of the two recorded it")
    diff = {name: [a.get(name), b.get(name)] for name in sorted({*a, *b}) if a.get(name) != b.get(name)}
    return ValueDifference(not diff, Size(len(diff), unit), diff)


def render(difference: TrainingDifference) -> str:
    """A paragraph for each kind of difference, in the fixed order."""
    lines = [f"{difference.first} -> {difference.second}"]
    for name, part in difference.parts.items():
        number, of = part.size.number, part.size.of
        size = "same" if part.same else f"{number:,} {of if number != 1 else _SINGULAR[of]}"
        unknown = f"; {part.unknown}" if part.unknown else ""
        lines.append(f"{name:12} {size}{unknown}")
        if not part.same:
            lines += [f"  {line}" for line in _lines(part)]
    return "\n".join(lines)


def _lines(part: DataDifference | CodeDifference | ValueDifference) -> list[str]:
    if isinstance(part, DataDifference):
        return _data_lines(part)
    if isinstance(part, CodeDifference):
        return _code_lines(part)
    return [f"{name}: {_short(old)} -> {_short(new)}" for name, (old, new) in part.diff.items()]


def _data_lines(part: DataDifference) -> list[str]:
    lines = [f"{part.versions[0]} -> {part.versions[1]}"]
    lines += [f"{name} {old} -> {new}" for name, (old, new) in part.settings.items()]
    if part.changes:
        rows = part.changes.rows
        parts = (f"{rows[kind]:,} {kind}" for kind in ("added", "removed", "changed", "kept"))
        lines.append(f"rows: {', '.join(parts)}")
        lines += [f"column {name}: {old} -> {new}" for name, (old, new) in part.changes.schema.items()]
        moved = {name: shift["psi"] for name, shift in part.changes.shift.items() if shift["psi"] >= SHIFTED}
        lines += [f"{name} moved, PSI {psi:.2f}" for name, psi in moved.items()]
    return lines


def _code_lines(part: CodeDifference) -> list[str]:
    lines = [f"function {part.function[0]} -> {part.function[1]}"] if part.function else []
    lines += [line for diff in part.diff.values() for line in diff]
    return lines[:SHOWN] + ([f"… {len(lines) - SHOWN} more lines; --json has all"] if len(lines) > SHOWN else [])


def _short(value: str | None) -> str:
    return "-" if value is None else str(value)[:120]
