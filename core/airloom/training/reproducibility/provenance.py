"""What a training came from, as artifacts of its run: a dirty tree's diff, the project's modules, the packages."""

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from airloom.contracts import RunContext
from airloom.files import file_sha256
from airloom.project.git import changes, head, remote, untracked, without_password
from airloom.project.packages import installed
from airloom.project.source import in_project
from airloom.project.watch import imported
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODULES = "source/modules"  # artifacts of a training's run
MOST_NAMES = 7000  # characters; a tag of MLflow holds 8000
_BETWEEN = ", "
MOST_BYTES = 50_000_000  # of a diff: more is data, and belongs into a dataset


def code_tags(project: Path, reference: str, file: Path | None, read: Collection[str] = ()) -> dict[str, str]:
    """What trains, as tags: function or command, sha256 of its file, and under git commit and dirty (`true`, `false`).

    Dirty is a tree whose tracked files are changed, and a training that reads a file which no commit has.

    Args:
        project: the project's root.
        reference: of the function, or the command.
        file: that it stands in.
        read: files that it is known to read, by path from the root.
    """
    tags = {Tag.CODE_FUNCTION: reference, Tag.SOURCE_NAME: reference, Tag.SOURCE_TYPE: "LOCAL"}
    if file is not None:
        tags[Tag.CODE_SHA256] = file_sha256(file)
    commit, dirty = head(project)
    if commit:
        names = {*read, *([_name(project, file)] if file is not None else [])} - {""}
        missing = untracked(project, names)
        address = without_password(remote(project))
        tags |= {Tag.SOURCE_COMMIT: commit} | ({Tag.SOURCE_REPOSITORY: address} if address else {})
        tags |= {Tag.CODE_COMMIT: commit, Tag.CODE_DIRTY: "true" if dirty or missing else "false"}
        tags |= {Tag.CODE_UNTRACKED: _listed(missing)} if missing else {}
    return tags


def pretrained_tag(ctx: RunContext) -> dict[str, str]:
    """The weights that a training begins with, as a tag; none where it begins with none."""
    weights = {name: one.short for name, one in ctx.weights.items()}
    return {Tag.PRETRAINED: json.dumps(weights)} if weights else {}


def note_read(api: "MlflowClient", project: Path, runs: Iterable[str], read: Collection[str]) -> None:
    """After the training: say on its runs which of the files that it read are in no commit.

    Args:
        api: of MLflow.
        project: the project's root.
        runs: ids of the MLflow runs that have the tags of its code.
        read: files that it read, by path from the root.
    """
    missing = untracked(project, read)
    for run_id in runs if missing else ():
        known = api.get_run(run_id).data.tags.get(Tag.CODE_UNTRACKED, "")
        every = sorted({*missing, *filter(None, known.split(_BETWEEN))})
        api.set_tag(run_id, Tag.CODE_UNTRACKED, _listed(every))
        api.set_tag(run_id, Tag.CODE_DIRTY, "true")


def _listed(names: list[str]) -> str:
    """As many as a tag holds."""
    shown = _BETWEEN.join(names)
    return shown if len(shown) <= MOST_NAMES else shown[:MOST_NAMES].rpartition(_BETWEEN)[0] + f"{_BETWEEN}…"


def _name(project: Path, file: Path) -> str:
    """By path from the project's root; empty for a file elsewhere, which the environment has."""
    root, path = project.resolve(), file.resolve()
    return path.relative_to(root).as_posix() if in_project(root, path) else ""


def keep_origin(api: "MlflowClient", project: Path, run_id: str) -> None:
    """Before the training: `source/changes.diff` where the tree is dirty, and `environment/requirements.txt`."""
    packages, diff = installed(), changes(project)
    api.log_text(run_id, packages, "environment/requirements.txt")
    api.set_tag(run_id, Tag.ENVIRONMENT, hashlib.sha256(packages.encode()).hexdigest())
    if diff and len(diff) <= MOST_BYTES:
        with tempfile.TemporaryDirectory(prefix="airloom-source-") as folder:
            path = Path(folder) / "changes.diff"
            path.write_bytes(diff)
            api.log_artifact(run_id, str(path), "source")
        api.set_tag(run_id, Tag.CODE_DIFF, hashlib.sha256(diff).hexdigest())


def keep_modules(api: "MlflowClient", project: Path, run_id: str) -> list[str]:
    """After the training: each of the project's own files that it imported, under `source/modules/`; their names."""
    root, files = project.resolve(), imported(project)
    with tempfile.TemporaryDirectory(prefix="airloom-source-") as folder:
        for path in files:
            copy = Path(folder) / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        api.log_artifacts(run_id, folder, MODULES)
    return [path.relative_to(root).as_posix() for path in files]


def hardware() -> dict[str, str]:
    """Processor, its cores and memory, the devices that this process sees, and how many threads torch may use."""
    import torch

    devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory_gib": f"{psutil.virtual_memory().total / 2**30:.1f}",
        "devices": ", ".join(devices) or "none",
        "threads": str(torch.get_num_threads()),
        "ranks": os.environ.get("WORLD_SIZE", "1"),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
