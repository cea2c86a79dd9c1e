"""Why two trainings differ: data, code, parameters, environment, seed, hardware, in this order, each with its size."""

import difflib
import json
from dataclasses import dataclass
from typing import Any

from airloom.contracts import Snapshot
from airloom.datasets import versions
from airloom.errors import AirloomError, RegistryError
from airloom.lineage import subject as subjects
from airloom.lineage.ledger import Ledger, Run
from airloom.lineage.ledger_sql import open_ledger
from airloom.lineage.run_files import texts
from airloom.settings import Settings
from airloom.tracking.tags import Tag

ORDER = ("data", "code", "parameters", "environment", "seed", "hardware")
_ONE = {
    "rows": "row",
    "settings": "setting",
    "lines": "line",
    "parameters": "parameter",
    "packages": "package",
    "seeds": "seed",
    "properties": "property",
}
SHOWN = 200  # lines of a diff in the text


@dataclass(frozen=True)
class Training:
    """One of the two, with the files that its run keeps."""

    name: str
    run: Run
    snapshot: Snapshot
    source: dict[str, str]
    packages: dict[str, str]


def why(settings: Settings, first: str, second: str) -> dict[str, Any]:
    """What differs between two trainings.

    Args:
        settings: of this installation.
        first: a training: an MLflow run's id, a pipeline run's key, a model version or a prediction's id.
        second: the other one.

    Returns:
        `first` and `second` (the trainings' run ids), and for each of `ORDER`: `same`, `size` (a number and what it
        counts, 0 where it is the same), and what differs: `[of the first, of the second]` by name, or for code the
        unified diff by file. `unknown` where one of the two did not record it.

    Raises:
        RegistryError: one of the two names no training.
    """
    ledger = open_ledger(settings)
    a, b = (_training(settings, ledger, target) for target in (first, second))
    found: dict[str, Any] = {"first": a.run.id, "second": b.run.id}
    found["data"] = _data(settings, a.snapshot, b.snapshot)
    found["code"] = _code(a, b)
    found["parameters"] = _pairs(a.run.parameters, b.run.parameters, "parameters")
    found["environment"] = _environment(a, b)
    seeds = [{"seed": one.run.tags[Tag.SEED]} if Tag.SEED in one.run.tags else {} for one in (a, b)]
    found["seed"] = _pairs(seeds[0], seeds[1], "seeds")
    found["hardware"] = _pairs(_hardware(a.run), _hardware(b.run), "properties")
    return found


def _training(settings: Settings, ledger: Ledger, target: str) -> Training:
    subject = subjects.find(ledger, target)
    if subject.version:
        tags = subject.version.tags
        run = ledger.run(tags.get(Tag.TRAIN_RUN, subject.version.run))
    else:
        run, several = subjects.training_of(ledger, subject.run)  # type: ignore[arg-type] # one of the two is set
        if len(several) > 1:
            raise RegistryError(f"{target[:120]} trained {len(several)} candidates", f"name one: {', '.join(several)}")
    if run is None or Tag.SNAPSHOT_RECORD not in run.tags:
        hint = "give a run that trained: a pipeline run, its training, or a model version"
        raise RegistryError(f"{target[:120]!r} trained nothing that MLflow still has", hint)
    lines = texts(settings, run, "environment").get("requirements.txt", "").splitlines()
    packages = dict(line.split("==", 1) for line in lines if "==" in line)
    if lines and lines[0].startswith("# Python "):
        packages["python"] = lines[0].split()[2]
    source = texts(settings, run, "source")
    return Training(target, run, Snapshot.from_dict(json.loads(run.tags[Tag.SNAPSHOT_RECORD])), source, packages)


def _data(settings: Settings, a: Snapshot, b: Snapshot) -> dict[str, Any]:
    asked = [{"split": s.split, "since": s.since, "tags": s.tags} for s in (a, b)]
    other = {k: [asked[0][k], asked[1][k]] for k in asked[0] if asked[0][k] != asked[1][k]}
    if a.version_id == b.version_id and a.dataset == b.dataset:
        return {
            "same": not other,
            "size": _size(len(other), "settings"),
            "versions": [a.version_name, b.version_name],
            **other,
        }
    found: dict[str, Any] = {"same": False, "versions": [a.version_name, b.version_name], **other}
    if a.dataset != b.dataset:
        return found | {"size": _size(sum(a.rows.values()) + sum(b.rows.values()), "rows"), "unknown": "other datasets"}
    try:
        both = [versions.get(settings, s.dataset, s.version) for s in (a, b)]
        return found | _rows(settings, *both)
    except AirloomError as error:  # a version that was deleted, data that are gone: the rest can still be told
        return found | {"size": _size(0, "rows"), "unknown": error.message}


def _rows(settings: Settings, old: Any, new: Any) -> dict[str, Any]:
    """Rows added, removed and changed: a changed row is one that a later commit put into another's place."""
    from airloom.datasets import diff

    made = diff.diff(settings, old, new)
    changed = diff.changed(settings, old, new)
    rows = {name: made["rows"][name] - changed * (name != "kept") for name in ("added", "removed", "kept")}
    size = _size(rows["added"] + rows["removed"] + changed, "rows")
    return {
        "size": size,
        "diff": {name: made[name] for name in ("schema", "labels", "shift")} | {"rows": rows | {"changed": changed}},
    }


def _code(a: Training, b: Training) -> dict[str, Any]:
    files = _sources(a, b)
    lines: dict[str, list[str]] = {}
    for name in sorted({*files[0], *files[1]}):
        old, new = (side.get(name, "").splitlines() for side in files)
        if old != new:
            lines[name] = list(
                difflib.unified_diff(old, new, f"{a.run.id[:8]}/{name}", f"{b.run.id[:8]}/{name}", "", "", 3, "")
            )
    changed = sum(line[:1] in "+-" and line[:3] not in ("+++", "---") for diff in lines.values() for line in diff)
    functions = [one.run.tags.get(Tag.CODE_FUNCTION, "") for one in (a, b)]
    named = {"function": functions} if functions[0] != functions[1] else {}
    hashes = [one.run.tags.get(Tag.CODE_SHA256, "") for one in (a, b)]
    same = not lines and not named and hashes[0] == hashes[1]
    lost = [one.run.id for one, side in zip((a, b), files, strict=True) if not side]
    unknown = {"unknown": f"no source is kept of run {', '.join(lost)}"} if lost else {}
    return {"same": same, "size": _size(changed, "lines"), "files": len(lines), **named, "diff": lines, **unknown}


def _sources(a: Training, b: Training) -> list[dict[str, str]]:
    """Of each the modules that it imported, where both kept them when they ended; else the function's file alone."""
    modules = [{n: t for n, t in one.source.items() if n.startswith("modules/")} for one in (a, b)]
    if all(modules):
        return [{name.removeprefix("modules/"): text for name, text in side.items()} for side in modules]
    return [{n: t for n, t in one.source.items() if "/" not in n and n != "changes.diff"} for one in (a, b)]


def _environment(a: Training, b: Training) -> dict[str, Any]:
    """The packages, and torch as both processes named it: its build (`+cpu`) is rarely among the packages."""
    found = _pairs(a.packages, b.packages, "packages")
    torch = [training.run.tags.get(Tag.TORCH, "") for training in (a, b)]
    if not all(torch) or torch[0] == torch[1]:
        return found
    diff = found.get("diff", {}) | {"torch": torch}
    return found | {"same": False, "size": _size(len(diff), "packages"), "diff": diff}


def _hardware(run: Run) -> dict[str, str]:
    known = dict(json.loads(run.tags.get(Tag.HARDWARE, "{}")))
    return known or {name.removeprefix("airloom."): run.tags[name] for name in (Tag.THREADS,) if name in run.tags}


def _pairs(a: dict[str, str], b: dict[str, str], unit: str) -> dict[str, Any]:
    """What differs by name; where a side recorded nothing at all, nothing can be said: only parameters may be none."""
    if not (a and b) and unit != "parameters":
        return {
            "same": False,
            "size": _size(0, unit),
            "unknown": f"{'one' if a or b else 'neither'} of the two recorded it",
        }
    names = sorted({*a, *b})
    diff = {name: [a.get(name), b.get(name)] for name in names if a.get(name) != b.get(name)}
    return {"same": not diff, "size": _size(len(diff), unit), "diff": diff}


def _size(number: int, unit: str) -> dict[str, Any]:
    return {"number": number, "of": unit}


def render(found: dict[str, Any]) -> str:
    """A paragraph for each kind of difference, in the fixed order."""
    lines = [f"{found['first']} -> {found['second']}"]
    for name in ORDER:
        part = found[name]
        number, of = part["size"].values()
        size = "same" if part["same"] else f"{number:,} {of if number != 1 else _ONE[of]}"
        unknown = f"; {part['unknown']}" if "unknown" in part else ""
        lines.append(f"{name:12} {size}{unknown}")
        if not part["same"]:
            lines += [f"  {line}" for line in _LINES.get(name, _pair_lines)(part)]
    return "\n".join(lines)


def _data_lines(part: dict[str, Any]) -> list[str]:
    lines = [f"{part['versions'][0]} -> {part['versions'][1]}"]
    lines += [f"{name} {part[name][0]} -> {part[name][1]}" for name in ("split", "since", "tags") if name in part]
    made = part.get("diff")
    if made:
        rows = made["rows"]
        parts = (f"{rows[kind]:,} {kind}" for kind in ("added", "removed", "changed", "kept"))
        lines.append(f"rows: {', '.join(parts)}")
        lines += [f"column {name}: {old} -> {new}" for name, (old, new) in made["schema"].items()]
        moved = {name: s["psi"] for name, s in made["shift"].items() if s["psi"] >= 0.1}
        lines += [f"{name} moved, PSI {psi:.2f}" for name, psi in moved.items()]
    return lines


def _code_lines(part: dict[str, Any]) -> list[str]:
    lines = [f"function {part['function'][0]} -> {part['function'][1]}"] if "function" in part else []
    lines += [line for change in part["diff"].values() for line in change]
    return lines[:SHOWN] + ([f"… {len(lines) - SHOWN} more lines; --json has all"] if len(lines) > SHOWN else [])


def _pair_lines(part: dict[str, Any]) -> list[str]:
    return [f"{name}: {_short(old)} -> {_short(new)}" for name, (old, new) in part.get("diff", {}).items()]


def _short(value: Any) -> str:
    return "-" if value is None else str(value)[:120]


_LINES = {"data": _data_lines, "code": _code_lines}
