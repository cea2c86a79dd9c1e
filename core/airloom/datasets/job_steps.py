"""The dataset operations that move data, as jobs: JSON in, JSON out."""

import logging
from typing import Any

from airloom.errors import NothingChanged, ValidationFailed
from airloom.jobs.spec import JobSpec, Resources
from airloom.settings import Settings, load

HOUR = 3600.0


def job_of(settings: Settings, function: str, arguments: dict[str, Any], *, timeout: float = HOUR) -> JobSpec:
    """One of the functions below as a job. An export may write beside its target, wherever that is.

    Args:
        settings: of this installation.
        function: its name; or that of one elsewhere, `package.module:function`.
        arguments: of the function, as JSON.
        timeout: wall time in seconds.
    """
    step = function if ":" in function else f"airloom.datasets.job_steps:{function}"
    writable = [str((settings.project / arguments["target"]).resolve().parent)] if function == "export" else []
    return JobSpec(step=step, arguments=arguments, resources=Resources(time=timeout), writable=writable)


def commit(
    dataset: str, source: str, roles: dict[str, Any], details: dict[str, Any], suite: str | None = None
) -> dict[str, Any]:
    """Commit the rows of a file or folder.

    Args:
        dataset: its name.
        source: path, from the project's root or absolute.
        roles: `type`, `label`, `key`, `split`, `parts`, `classes`, where the dataset is new;
            `reading`, the fields of `ingest.Reading`.
        details: what `commits.commit` takes: `message`, `author`, `mode`, `tags`, `released`, `equal_inputs`,
            `drop_duplicates`.
        suite: path of another expectation suite than the dataset's.

    Returns:
        `{"version": …}`; or `{"unchanged": …}` with the newest version, which has these rows already; or
        `{"refused": text, "report": path}` where the rows are in quarantine.
    """
    from airloom.datasets import commit as commits
    from airloom.datasets import versions
    from airloom.datasets.ingest import Reading
    from airloom.datasets.open_rows import open_rows

    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # hundreds of lines about itself
    settings = load()
    told = roles | {"reading": Reading(**roles.get("reading", {}))}
    rows = open_rows(settings, dataset, settings.project / source, **told)
    chosen = settings.project / suite if suite else None
    try:
        version = commits.commit(settings, dataset, rows, suite=chosen, **{"source": source} | details)
        for note in rows.notes:
            logging.getLogger(__name__).warning("%s", note)
    except NothingChanged:
        return {"unchanged": _named(versions.latest(settings, dataset))}
    except ValidationFailed as refusal:
        return {"refused": str(refusal), "report": refusal.report}
    return {"version": _named(version)}


def compact(dataset: str) -> dict[str, Any]:
    """Store the newest version in fewer shards: `{"version", "revision", "shards", "changed"}`."""
    from airloom.datasets import compact as compacting
    from airloom.datasets import versions

    settings = load()
    try:
        version, manifest = compacting.compact(settings, dataset)
    except NothingChanged:
        version = versions.latest(settings, dataset)
        manifest = versions.manifest_of(settings, version)
        return {
            "version": version.name,
            "revision": manifest.revision,
            "shards": len(manifest.shards),
            "changed": False,
        }
    return {"version": version.name, "revision": manifest.revision, "shards": len(manifest.shards), "changed": True}


def export(name: str, target: str, form: str, split: str) -> dict[str, Any]:
    """Write a version, or a split of a snapshot, for others.

    Args:
        name: `digits@v2`, or the id of a snapshot.
        target: path, from the project's root or absolute; it must not exist.
        form: "parquet", "folder" or "hf".
        split: of the snapshot; "" for a version.

    Returns:
        `{"path", "rows"}`.
    """
    from airloom.datasets.export import export_named

    settings = load()
    path, rows = export_named(settings, name, settings.project / target, form, split)
    return {"path": str(path), "rows": rows}


def _named(version: Any) -> dict[str, Any]:
    return {"name": version.name, **version.to_dict()}
