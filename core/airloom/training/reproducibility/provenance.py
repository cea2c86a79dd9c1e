"""What a training came from, as artifacts of its run: a dirty tree's diff, the project's modules, the packages."""

import hashlib
import os
import platform
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from airloom.files import file_sha256
from airloom.project.git import changes, head
from airloom.project.packages import installed
from airloom.project.watch import imported
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient

MOST_BYTES = 50_000_000  # of a diff: more is data, and belongs into a dataset


def code_tags(project: Path, reference: str, file: Path | None) -> dict[str, str]:
    """What trains, as tags: function or command, sha256 of its file, commit and dirty (`true`, `false`) under git."""
    tags = {Tag.CODE_FUNCTION: reference}
    if file is not None:
        tags[Tag.CODE_SHA256] = file_sha256(file)
    commit, dirty = head(project)
    if commit:
        tags |= {Tag.CODE_COMMIT: commit, Tag.CODE_DIRTY: "true" if dirty else "false"}
    return tags


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


def keep_modules(api: "MlflowClient", project: Path, run_id: str) -> None:
    """After the training: each of the project's own files that it imported, under `source/modules/`."""
    with tempfile.TemporaryDirectory(prefix="airloom-source-") as folder:
        for path in imported(project):
            copy = Path(folder) / path.relative_to(project.resolve())
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        api.log_artifacts(run_id, folder, "source/modules")


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
