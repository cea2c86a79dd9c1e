"""What differs between two manifests, in words."""

from typing import TYPE_CHECKING, Any

from airloom.cache.manifest import StepManifest
from airloom.errors import AirloomError
from airloom.names import dataset_version
from airloom.settings import Settings

if TYPE_CHECKING:
    from airloom.contracts import DatasetVersion

MOST = 8  # lines of one kind; the rest is counted
MANY_ROWS = 5_000_000  # of both versions; more are not compared row by row for a sentence
_ABSENT = object()


def changes(settings: Settings, old: StepManifest, new: StepManifest) -> list[str]:
    """A line for each thing that changed, data first; never empty where the keys differ."""
    lines = _snapshot(settings, old.snapshot, new.snapshot)
    lines += _few([_file(*change) for change in _pairs(old.code, new.code)])
    lines += _few([f"input {_file(*change)}" for change in _pairs(old.inputs, new.inputs)])
    lines += _few([f"parameter {_value(*change)}" for change in _pairs(old.parameters, new.parameters)])
    lines += _few([_value(*change) for change in _pairs(old.pipeline, new.pipeline)])
    lines += _few([f"lock: {_value(*change)}" for change in _pairs(old.lock, new.lock)])
    return lines + _few([_value(*change) for change in _pairs(old.other, new.other)])


def _pairs(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    names = [name for name in {**old, **new} if old.get(name, _ABSENT) != new.get(name, _ABSENT)]
    return [(name, old.get(name, _ABSENT), new.get(name, _ABSENT)) for name in sorted(names)]


def _few(lines: list[str]) -> list[str]:
    return lines if len(lines) <= MOST else [*lines[:MOST], f"and {len(lines) - MOST} more of the kind"]


def _file(name: str, old: Any, new: Any) -> str:
    verb = "is new" if old is _ABSENT else "is no longer there" if new is _ABSENT else "changed"
    return f"{name} {verb}"


def _value(name: str, old: Any, new: Any) -> str:
    return f"{name} {'none' if old is _ABSENT else old} -> {'none' if new is _ABSENT else new}"


def _snapshot(settings: Settings, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    lines = []
    if old["dataset"] != new["dataset"]:
        lines.append(f"snapshot: dataset {old['dataset']} -> {new['dataset']}")
    elif old["version_id"] != new["version_id"]:
        names = [dataset_version(snapshot["dataset"], snapshot["version"]) for snapshot in (old, new)]
        lines.append(f"snapshot: {names[0]} -> {names[1]}{_rows(settings, old, new)}")
    if old["tags"] != new["tags"]:
        a, b = (", ".join(snapshot["tags"]) or "none" for snapshot in (old, new))
        lines.append(f"snapshot: tag filter {a} -> {b}")
    if old["since"] != new["since"]:
        lines.append(f"snapshot: since version {old['since'] or 'none'} -> {new['since'] or 'none'}")
    splits = [[snapshot["split"], snapshot.get("by", "")] for snapshot in (old, new)]
    if splits[0] != splits[1]:
        a, b = (f"{split}{f' by {by}' if by else ''}" for split, by in splits)
        lines.append(f"snapshot: split {a} -> {b}")
    return lines


def _rows(settings: Settings, old: dict[str, Any], new: dict[str, Any]) -> str:
    """`, 1 row added`; empty where the old version cannot be looked at."""
    from airloom.datasets import diff, versions

    try:
        pair: list[DatasetVersion] = [
            versions.get(settings, snapshot["dataset"], snapshot["version"]) for snapshot in (old, new)
        ]
        if sum(version.rows for version in pair) > MANY_ROWS:
            counts = {"added": max(0, pair[1].rows - pair[0].rows), "removed": max(0, pair[0].rows - pair[1].rows)}
        else:
            counts = diff.row_changes(settings, *pair)
    except AirloomError:
        return ""
    words = [f"{n} {'row' if n == 1 else 'rows'} {kind}" for kind, n in counts.items() if kind != "kept" and n]
    return "".join(f", {word}" for word in words) or ", the same rows in another order"
