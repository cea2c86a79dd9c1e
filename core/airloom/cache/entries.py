"""Entries of the cache: tags and an artifact of the MLflow run that the step made. There is no other store.

A run's tag `airloom.cache.<step>` is the key of what the step read, written last; `cache/<step>.json` has the manifest,
what the step returned, and what it read beyond its manifest. Deleting the run deletes the entry.
"""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.cache.manifest import StepManifest
from airloom.contracts import RunContext
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LOOKED_AT = 100  # of the newest entries, for the nearest one
ALIVE = ("FINISHED", "RUNNING")  # a run that failed is no source


@dataclass(frozen=True)
class CacheEntry:
    """A finished step of an earlier run."""

    run: "Run"
    manifest: StepManifest
    value: dict[str, Any]
    read: dict[str, str]  # sha256 by path, of files that the manifest does not name


def name_of(ctx: RunContext, step: str) -> str:
    """The step's name in tags; one run has a study for each candidate."""
    return f"{step}.{ctx.candidate}" if ctx.candidate else step


def keep(
    api: "MlflowClient", run: str, name: str, manifest: StepManifest, value: dict[str, Any], read: dict[str, str]
) -> None:
    """Write an entry; one that is interrupted is none.

    Args:
        api: of MLflow.
        run: the MLflow run that the entry stands in.
        name: of the step, see `name_of`.
        manifest: of what the step read.
        value: what it returned.
        read: sha256 by path of files that it read beyond its manifest.
    """
    from mlflow.entities import RunTag

    text = json.dumps({"manifest": manifest.to_dict(), "value": value, "read": read}, indent=1)
    api.log_text(run, text, _file(name))
    tags = {f"{Tag.CACHE}.{name}.sha256": hashlib.sha256(text.encode()).hexdigest()}
    tags |= {f"{Tag.CACHE}.{name}.parts": json.dumps(manifest.parts), f"{Tag.CACHE}.{name}": manifest.key}
    api.log_batch(run, tags=[RunTag(*item) for item in tags.items()])


def same(api: "MlflowClient", ctx: RunContext, name: str, key: str) -> "list[Run]":
    """Runs whose step read the same, newest first; never of this pipeline run itself.

    Args:
        api: of MLflow.
        ctx: of this pipeline run.
        name: of the step, see `name_of`.
        key: of the manifest.
    """
    return _search(api, ctx, f"tags.`{Tag.CACHE}.{name}` = '{key}'")


def nearest(api: "MlflowClient", ctx: RunContext, name: str, manifest: StepManifest) -> CacheEntry | None:
    """The entry that has most in common with the manifest; of equal ones the newest.

    Args:
        api: of MLflow.
        ctx: of this pipeline run.
        name: of the step, see `name_of`.
        manifest: of what the step is about to read.
    """
    runs = _search(api, ctx, f"tags.`{Tag.CACHE}.{name}` LIKE '%'")
    parts = manifest.parts

    def alike(run: "Run") -> int:
        theirs = json.loads(run.data.tags.get(f"{Tag.CACHE}.{name}.parts", "{}"))
        return sum(theirs.get(part) == digest for part, digest in parts.items())

    for run in sorted(runs, key=alike, reverse=True):
        entry = read(api, run, name)
        if isinstance(entry, CacheEntry):
            return entry
    return None


def read(api: "MlflowClient", run: "Run", name: str) -> CacheEntry | str:
    """The entry of a run, or why there is none that can be trusted."""
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory(prefix="airloom-cache-") as folder:
        try:
            data = Path(api.download_artifacts(run.info.run_id, _file(name), folder)).read_bytes()
        except (MlflowException, OSError):
            return f"the entry of run {run.info.run_id} was collected"
    if hashlib.sha256(data).hexdigest() != run.data.tags.get(f"{Tag.CACHE}.{name}.sha256"):
        return f"the entry of run {run.info.run_id} is damaged"
    values = json.loads(data)
    try:
        return CacheEntry(run, StepManifest.from_dict(values["manifest"]), values["value"], values["read"])
    except TypeError:
        return f"the entry of run {run.info.run_id} was made by another version of Airloom"


def _search(api: "MlflowClient", ctx: RunContext, query: str) -> "list[Run]":
    newest = ["attributes.start_time DESC"]
    runs = api.search_runs([ctx.experiment], query, max_results=LOOKED_AT, order_by=newest)
    others = [r for r in runs if ctx.mlflow_run not in (r.info.run_id, r.data.tags.get(Tag.PARENT))]
    return [run for run in others if run.info.status in ALIVE]


def _file(name: str) -> str:
    return f"cache/{name}.json"
